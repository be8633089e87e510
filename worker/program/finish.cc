#include "worker/program/finish.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "worker/agent/digest.h"
#include "worker/agent/finish.h"
#include "worker/agent/report_buffer.h"
#include "worker/engine/mapped_file.h"
#include "worker/program/lines.h"

namespace trainyard::program {
namespace {

constexpr size_t kNameBytesMax = 200;

}  // namespace

absl::Status Finish(const v1::Start& start, const Workspace& space, const State& state,
                    agent::BlobClient& blobs, agent::Uplink& uplink,
                    agent::AttemptControl& control) {
  v1::WorkerMessage message;
  *message.mutable_finished()->mutable_attempt() = start.attempt();
  v1::Model& model = *message.mutable_finished()->mutable_model();
  model.set_job(start.attempt().job());
  model.set_name(start.spec().name());
  model.set_trial(start.trial_number());
  model.set_epoch(state.epoch);
  model.set_description(state.description);
  model.set_parameters(state.parameters);
  model.set_val_accuracy(state.val_accuracy);
  model.set_val_loss(state.val_loss);

  control.set_phase(v1::PHASE_UPLOADING);
  for (const Published& file : FilesToPublish(space, state)) {
    const std::optional<engine::MappedFile> mapped = engine::MappedFile::Open(file.path);
    if (!mapped) continue;  // empty
    const std::string sha256 = agent::HashOf(mapped->bytes());
    const absl::Status status =
        agent::PublishFile(mapped->bytes(), sha256, file.name, start, blobs, uplink, control);
    if (!status.ok()) return status;
    v1::ModelFile& published = *model.add_files();
    published.set_name(CleanText(file.name, kNameBytesMax));
    published.set_sha256(sha256);
    published.set_bytes(static_cast<int64_t>(mapped->bytes().size()));
  }
  spdlog::info("{}: {} files of the model stored", agent::Describe(start.attempt()),
               model.files_size());
  uplink.Report(std::move(message), control);
  return absl::OkStatus();
}

}  // namespace trainyard::program
