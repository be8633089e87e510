// Runs attempts with the engine: data, checkpoint, training, and for a finishing attempt test and
// export.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "kernels/backend.h"
#include "worker/agent/attempt_runner.h"
#include "worker/agent/blob_cache.h"
#include "worker/agent/blob_client.h"
#include "worker/agent/https.h"
#include "worker/engine/dataset_cache.h"

namespace trainyard::agent {

struct NativeOptions {
  kernels::BackendOptions backend;  // the precision is the job's
  std::string why_no_gpu = {};      // for jobs that need one, where the backend is not "cuda"
  std::string work_folder;          // the process's own
  HttpsOptions https;
  // Where data sets are kept decoded, and how much of them; 0 bytes: none are; nothing said: see
  // DecodedBytesMax.
  std::string decoded_folder = {};
  std::optional<int64_t> decoded_bytes_max = 0;
};

// As the options say, else 20 GiB where the folder is on a local disk, and nothing elsewhere, with
// a line of log: that may be a home with a quota, and is slow to read from.
int64_t DecodedBytesMax(const NativeOptions& options);

// What a checkpoint is bound to: the trial's configuration and data, as SHA-256. Paths are part of
// it, the rest of the job (target, budget, how often checkpoints are made) is not.
std::string SpecHash(const v1::Start& start);

class NativeRunner : public AttemptRunner {
 public:
  NativeRunner(NativeOptions options, BlobClient& blobs, BlobCache& cache)
      : options_(std::move(options)),
        blobs_(blobs),
        cache_(cache),
        decoded_(options_.decoded_folder, DecodedBytesMax(options_)) {}

  std::optional<v1::AttemptEnded> Run(const v1::Start& start, Uplink& uplink,
                                      AttemptControl& control) override;

 private:
  const NativeOptions options_;
  BlobClient& blobs_;
  BlobCache& cache_;
  const engine::DatasetCache decoded_;
};

}  // namespace trainyard::agent
