// A trained network as an ONNX model (opset 13) that takes images as they are.
//
//   input   float (batch, channels, height, width): pixels from 0 to 255
//   logits  float (batch, classes)
//
// The normalisation of training is part of the model, as its first nodes; dropout is left out,
// batch normalisation uses the running statistics.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "network/network.h"
#include "worker/engine/checkpoint.h"

namespace trainyard::agent {

// The file's bytes; deterministic. `network` is valid and the checkpoint's own. INVALID_ARGUMENT if
// they do not fit together, or the file would be over protobuf's 2 GiB.
absl::StatusOr<std::string> ExportOnnx(
    const network::Network& network, const engine::Checkpoint& checkpoint, const std::string& name,
    const std::vector<std::pair<std::string, std::string>>& metadata);

}  // namespace trainyard::agent
