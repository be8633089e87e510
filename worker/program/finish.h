// A job's last attempt, of a program: what it made is published as it is.
#pragma once

#include "absl/status/status.h"
#include "trainyard/v1/worker.pb.h"
#include "worker/agent/attempt_control.h"
#include "worker/agent/blob_client.h"
#include "worker/agent/uplink.h"
#include "worker/program/pack.h"

namespace trainyard::program {

// Uploads the files of the checkpoint that was unpacked, then reports the model. CANCELLED if the
// attempt was stopped on the way.
absl::Status Finish(const v1::Start& start, const Workspace& space, const State& state,
                    agent::BlobClient& blobs, agent::Uplink& uplink,
                    agent::AttemptControl& control);

}  // namespace trainyard::program
