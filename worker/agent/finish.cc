#include "worker/agent/finish.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "network/shapes.h"
#include "proto/spec_convert.h"
#include "spdlog/spdlog.h"
#include "worker/agent/digest.h"
#include "worker/agent/export_onnx.h"
#include "worker/agent/report_buffer.h"
#include "worker/agent/retry.h"

namespace trainyard::agent {
namespace {

using Metadata = std::vector<std::pair<std::string, std::string>>;

void Measure(const LoadedData& data, engine::Trainer& trainer, v1::Model* model) {
  const engine::Evaluation validation = trainer.EvaluateValidation();
  model->set_val_accuracy(validation.accuracy);
  model->set_val_loss(validation.loss);
  if (!data.test) return;
  const engine::Evaluation test = trainer.Evaluate(*data.test);
  model->set_test_accuracy(test.accuracy);
  model->set_test_loss(test.loss);
  model->set_test_count(test.count);
  for (const int64_t count : test.confusion) model->add_confusion(count);
}

// What both files say about the model, for people who find one of them lying around.
Metadata Describe(const v1::Start& start, const v1::Model& model) {
  Metadata metadata = {
      {"trainyard.name", model.name()},
      {"trainyard.job", absl::StrCat(model.job())},
      {"trainyard.trial", absl::StrCat(model.trial())},
      {"trainyard.epoch", absl::StrCat(model.epoch())},
      {"trainyard.network", model.description()},
      {"trainyard.parameters", absl::StrCat(model.parameters())},
      {"trainyard.val_accuracy", absl::StrCat(model.val_accuracy())},
      {"trainyard.val_loss", absl::StrCat(model.val_loss())},
  };
  if (model.test_count() > 0) {
    metadata.emplace_back("trainyard.test_accuracy", absl::StrCat(model.test_accuracy()));
    metadata.emplace_back("trainyard.test_loss", absl::StrCat(model.test_loss()));
  }
  if (start.spec().data().class_names_size() > 0) {
    metadata.emplace_back("trainyard.class_names",
                          absl::StrJoin(start.spec().data().class_names(), "\n"));
  }
  return metadata;
}

}  // namespace

absl::Status PublishFile(std::string_view bytes, const std::string& sha256, const std::string& what,
                         const v1::Start& start, BlobClient& blobs, Uplink& uplink,
                         AttemptControl& control) {
  // A finishing attempt that is stopped starts anew elsewhere: nothing of it is worth storing.
  return Persist(control, Wish::kStop, absl::StrCat("uploading ", what), [&] {
    if (!uplink.WaitForLease(std::chrono::milliseconds(200))) {
      return absl::UnavailableError("the lease is lost");
    }
    return blobs.Upload(bytes, sha256, start.attempt(), control, Wish::kStop);
  });
}

absl::Status Finish(const v1::Start& start, const LoadedData& data,
                    const engine::Checkpoint& checkpoint, engine::Trainer& trainer,
                    BlobClient& blobs, Uplink& uplink, AttemptControl& control) {
  const network::Network net = FromProto(start.configuration().network());
  v1::WorkerMessage message;
  *message.mutable_finished()->mutable_attempt() = start.attempt();
  v1::Model& model = *message.mutable_finished()->mutable_model();
  model.set_job(start.attempt().job());
  model.set_name(start.spec().name());
  model.set_trial(start.trial_number());
  model.set_epoch(checkpoint.epoch);
  model.set_description(network::Describe(net));
  model.set_parameters(network::ParameterCount(net));
  *model.mutable_class_names() = start.spec().data().class_names();

  control.set_phase(v1::PHASE_EVALUATING);
  Measure(data, trainer, &model);

  control.set_phase(v1::PHASE_UPLOADING);
  const Metadata metadata = Describe(start, model);
  absl::StatusOr<std::string> onnx = ExportOnnx(net, checkpoint, model.name(), metadata);
  if (!onnx.ok()) return onnx.status();
  Metadata with_normalisation = metadata;
  with_normalisation.emplace_back("trainyard.normalise_mean",
                                  absl::StrJoin(checkpoint.normalise_mean, " "));
  with_normalisation.emplace_back("trainyard.normalise_inverse_std",
                                  absl::StrJoin(checkpoint.normalise_inverse_std, " "));
  const std::string safetensors = engine::SerializeModel(checkpoint, with_normalisation);
  model.set_onnx_sha256(HashOf(*onnx));
  model.set_onnx_bytes(static_cast<int64_t>(onnx->size()));
  model.set_safetensors_sha256(HashOf(safetensors));
  model.set_safetensors_bytes(static_cast<int64_t>(safetensors.size()));
  absl::Status status =
      PublishFile(*onnx, model.onnx_sha256(), "the ONNX model", start, blobs, uplink, control);
  if (!status.ok()) return status;
  status = PublishFile(safetensors, model.safetensors_sha256(), "the safetensors file", start,
                       blobs, uplink, control);
  if (!status.ok()) return status;
  spdlog::info("{}: val_accuracy {:.4f}, test_accuracy {:.4f} on {} images; model stored",
               Describe(start.attempt()), model.val_accuracy(), model.test_accuracy(),
               model.test_count());
  uplink.Report(std::move(message), control);
  return absl::OkStatus();
}

}  // namespace trainyard::agent
