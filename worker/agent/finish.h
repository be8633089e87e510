// A job's last attempt: the best checkpoint is tested, exported and published.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "trainyard/v1/worker.pb.h"
#include "worker/agent/attempt_control.h"
#include "worker/agent/blob_client.h"
#include "worker/agent/data_loader.h"
#include "worker/agent/uplink.h"
#include "worker/engine/trainer.h"

namespace trainyard::agent {

// Measures the validation set again, which must give what was reported for the checkpoint's epoch,
// and the test set once; uploads ONNX and safetensors, then reports the model. `trainer` stands at
// the checkpoint. CANCELLED if the attempt was stopped on the way.
absl::Status Finish(const v1::Start& start, const LoadedData& data,
                    const engine::Checkpoint& checkpoint, engine::Trainer& trainer,
                    BlobClient& blobs, Uplink& uplink, AttemptControl& control);

// Uploads a file of the model, again until it is stored; `what` names it in the log.
absl::Status PublishFile(std::string_view bytes, const std::string& sha256, const std::string& what,
                         const v1::Start& start, BlobClient& blobs, Uplink& uplink,
                         AttemptControl& control);

}  // namespace trainyard::agent
