// Runs attempts with the engine: data, checkpoint, training, and for a finishing attempt test and
// export.
#pragma once

#include <string>

#include "kernels/backend.h"
#include "worker/agent/attempt_runner.h"
#include "worker/agent/blob_cache.h"
#include "worker/agent/blob_client.h"
#include "worker/agent/https.h"

namespace trainyard::agent {

struct NativeOptions {
  kernels::BackendOptions backend;  // the precision is the job's
  std::string why_no_gpu = {};      // for jobs that need one, where the backend is not "cuda"
  std::string work_folder;          // the process's own
  HttpsOptions https;
};

// What a checkpoint is bound to: the trial's configuration and data, as SHA-256. Paths are part of
// it, the rest of the job (target, budget, how often checkpoints are made) is not.
std::string SpecHash(const v1::Start& start);

class NativeRunner : public AttemptRunner {
 public:
  NativeRunner(NativeOptions options, BlobClient& blobs, BlobCache& cache)
      : options_(std::move(options)), blobs_(blobs), cache_(cache) {}

  std::optional<v1::AttemptEnded> Run(const v1::Start& start, Uplink& uplink,
                                      AttemptControl& control) override;

 private:
  const NativeOptions options_;
  BlobClient& blobs_;
  BlobCache& cache_;
};

}  // namespace trainyard::agent
