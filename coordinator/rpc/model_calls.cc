// Published models: the list, and their files.
#include <algorithm>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "coordinator/rpc/client_service.h"
#include "coordinator/rpc/request_checks.h"
#include "coordinator/rpc/status.h"
#include "proto/channel_settings.h"
#include "proto/model_files.h"

namespace trainyard::coordinator {

grpc::Status ClientService::ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                                       v1::ListModelsResponse* response) {
  auto models = parts_.loop->ListModels();
  if (!models.ok()) return ToGrpc(models.status());
  for (v1::Model& model : *models) *response->add_models() = std::move(model);
  return grpc::Status::OK;
}

grpc::Status ClientService::GetModel(grpc::ServerContext*, const v1::GetModelRequest* request,
                                     grpc::ServerWriter<v1::GetModelResponse>* writer) {
  if (auto status = CheckId("job", request->job()); !status.ok()) return ToGrpc(status);
  const auto job = parts_.loop->GetJob(core::JobId{request->job()});
  if (!job.ok()) return ToGrpc(job.status());
  const bool native = request->format() == "onnx" || request->format() == "safetensors";
  if (!native && !job->spec().has_program()) {
    return ToGrpc(absl::InvalidArgumentError(absl::StrCat(
        "format: found ", ForPeople(request->format()), ", expected 'onnx' or 'safetensors'")));
  }
  if (!job->has_model()) {
    return ToGrpc(absl::FailedPreconditionError(absl::StrCat(
        "job ", request->job(), " is ", v1::JobState_Name(job->state()), " and has no model")));
  }
  const auto chosen = ChooseModelFile(job->model(), request->format());
  if (!chosen.ok()) return ToGrpc(chosen.status());
  const std::string& sha256 = chosen->sha256();
  if (auto status = parts_.blobs->Verify(sha256); !status.ok()) return ToGrpc(status);
  const auto path = parts_.blobs->Path(sha256);
  if (!path.ok()) return ToGrpc(path.status());
  std::ifstream file(*path, std::ios::binary);
  v1::GetModelResponse response;
  *response.mutable_model() = job->model();
  do {
    response.mutable_data()->resize(kBlobChunkBytes);
    file.read(response.mutable_data()->data(), kBlobChunkBytes);
    response.mutable_data()->resize(file.gcount());
    if (!writer->Write(response)) return {grpc::StatusCode::CANCELLED, "the caller has left"};
    response.clear_model();
  } while (file);
  if (file.eof()) return grpc::Status::OK;
  return ToGrpc(absl::DataLossError(absl::StrCat("cannot read ", path->string())));
}

}  // namespace trainyard::coordinator
