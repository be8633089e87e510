#include "proto/model_files.h"

#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace trainyard {
namespace {

v1::ModelFile Native(const std::string& name, const std::string& sha256, int64_t bytes) {
  v1::ModelFile file;
  file.set_name(name);
  file.set_sha256(sha256);
  file.set_bytes(bytes);
  return file;
}

std::string Names(const std::vector<const v1::ModelFile*>& files) {
  return absl::StrJoin(files, ", ", [](std::string* out, const v1::ModelFile* file) {
    absl::StrAppend(out, absl::CHexEscape(file->name()));
  });
}

}  // namespace

absl::StatusOr<v1::ModelFile> ChooseModelFile(const v1::Model& model, const std::string& wanted) {
  const std::string found = absl::StrCat("found '", absl::CHexEscape(wanted.substr(0, 200)), "', ");
  if (!model.onnx_sha256().empty()) {
    if (wanted == "onnx") return Native("model.onnx", model.onnx_sha256(), model.onnx_bytes());
    if (wanted == "safetensors") {
      return Native("model.safetensors", model.safetensors_sha256(), model.safetensors_bytes());
    }
    if (model.files().empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("format: ", found, "expected 'onnx' or 'safetensors'"));
    }
  }
  std::vector<const v1::ModelFile*> all, ending;
  for (const v1::ModelFile& file : model.files()) {
    if (file.name() == wanted) return file;
    all.push_back(&file);
    if (absl::EndsWith(file.name(), "." + wanted)) ending.push_back(&file);
  }
  if (ending.size() == 1) return *ending[0];
  for (const v1::ModelFile* file : ending) {
    const std::string name = file->name().substr(file->name().rfind('/') + 1);
    if (name == "model." + wanted || name == "best." + wanted) return *file;
  }
  if (all.empty()) return absl::InvalidArgumentError("the program left no file of its model");
  return absl::InvalidArgumentError(absl::StrCat(
      "file: ", found, ending.empty() ? "expected one of " : "which several have; name one of ",
      Names(ending.empty() ? all : ending)));
}

}  // namespace trainyard
