// Which file of a published model is meant: the same answer at the coordinator, which sends it, and
// at the command line, which checks it.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "trainyard/v1/resources.pb.h"

namespace trainyard {

// `wanted`: "onnx" or "safetensors" of a native model; of a program's the name of a file, or the
// ending of one ("keras"): where several have it, the one called model or best. INVALID_ARGUMENT,
// with the names that there are.
absl::StatusOr<v1::ModelFile> ChooseModelFile(const v1::Model& model, const std::string& wanted);

}  // namespace trainyard
