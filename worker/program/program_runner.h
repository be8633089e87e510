// Runs attempts of programs: other people's code, in whatever language, under the contract of
// docs/programs.md.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "worker/agent/attempt_runner.h"
#include "worker/agent/blob_cache.h"
#include "worker/agent/blob_client.h"
#include "worker/agent/https.h"
#include "worker/program/output.h"

namespace trainyard::program {

enum class Confinement {
  kSandbox,    // bubblewrap around each program
  kContainer,  // this worker has a container of its own
};

struct ProgramOptions {
  Confinement confinement = Confinement::kSandbox;
  bool network = false;                    // whether a sandbox may have it, where the spec asks
  int threads = 0;                         // as OMP_NUM_THREADS; <= 0: not said
  std::string work_folder;                 // the process's own
  std::string python_folder;               // goes onto PYTHONPATH; empty: none
  std::string logits_program;              // as TRAINYARD_LOGITS, for imports; empty: none
  std::vector<std::string> program_paths;  // folders with more programs and packages, first of all
  agent::HttpsOptions https;
  std::chrono::milliseconds term_grace{15'000};  // from SIGTERM to SIGKILL
  OutputLimits output;
};

class ProgramRunner : public agent::AttemptRunner {
 public:
  // This process adopts orphans from now on, and must have no other children.
  ProgramRunner(ProgramOptions options, agent::BlobClient& blobs, agent::BlobCache& cache);

  std::optional<v1::AttemptEnded> Run(const v1::Start& start, agent::Uplink& uplink,
                                      agent::AttemptControl& control) override;

 private:
  const ProgramOptions options_;
  agent::BlobClient& blobs_;
  agent::BlobCache& cache_;
};

}  // namespace trainyard::program
