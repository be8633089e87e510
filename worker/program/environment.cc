#include "worker/program/environment.h"

#include <cstdlib>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

extern char** environ;

namespace trainyard::program {

std::string ProgramPath(const ProgramOptions& options) {
  std::string path;
  for (const std::string& folder : options.program_paths) {
    std::error_code error;
    const std::string programs = folder + "/bin";
    const bool has = std::filesystem::is_directory(programs, error);
    absl::StrAppend(&path, has ? programs : folder, ":");
  }
  const char* own = std::getenv("PATH");
  return absl::StrCat(path, own != nullptr ? own : "/usr/local/bin:/usr/bin:/bin");
}

std::vector<std::string> ProgramEnvironment(const v1::Start& start, const ProgramOptions& options,
                                            const Workspace& space,
                                            const std::string& resume_from) {
  std::vector<std::string> environment = {
      "PATH=" + ProgramPath(options),
      "HOME=" + space.home,
      "TMPDIR=" + space.tmp,
      "LANG=C.UTF-8",
      "PYTHONUNBUFFERED=1",
      "KERAS_HOME=" + space.home + "/.keras",
      "TF_CPP_MIN_LOG_LEVEL=2",
      "TRAINYARD_METRICS_FILE=" + space.metrics,
      "TRAINYARD_PARAMS_FILE=" + space.params,
      "TRAINYARD_DATA_DIR=" + space.data,
      "TRAINYARD_CHECKPOINT_DIR=" + space.checkpoints,
      "TRAINYARD_OUTPUT_DIR=" + space.output,
      absl::StrCat("TRAINYARD_JOB=", start.attempt().job()),
      absl::StrCat("TRAINYARD_TRIAL=", start.trial_number()),
      absl::StrCat("TRAINYARD_ATTEMPT=", start.attempt_number()),
  };
  if (!options.python_folder.empty()) environment.push_back("PYTHONPATH=" + options.python_folder);
  if (!options.logits_program.empty()) {
    environment.push_back("TRAINYARD_LOGITS=" + options.logits_program);
  }
  if (options.threads > 0) {
    environment.push_back(absl::StrCat("OMP_NUM_THREADS=", options.threads));
  }
  if (!resume_from.empty()) environment.push_back("TRAINYARD_RESUME_FROM=" + resume_from);
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (absl::StartsWith(*variable, "CUDA_VISIBLE_DEVICES=") ||
        absl::StartsWith(*variable, "NVIDIA_")) {
      environment.emplace_back(*variable);
    }
  }
  return environment;
}

}  // namespace trainyard::program
