// Source: a folder uploaded, and a job made of it or of a repository.
#include <spdlog/spdlog.h>

#include "absl/strings/str_cat.h"
#include "coordinator/rpc/client_service.h"
#include "coordinator/rpc/request_checks.h"
#include "coordinator/rpc/status.h"
#include "proto/channel_settings.h"

namespace trainyard::coordinator {
namespace {

constexpr int kOverridesMax = 256;

// Of a request that names a source.
template <typename Request>
absl::Status CheckSource(const Request& request) {
  if (request.snapshot_sha256().empty() == request.url().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("found ", request.url().empty() ? "neither" : "both",
                     " snapshot_sha256 and url, expected one of them"));
  }
  if (!request.snapshot_sha256().empty()) {
    if (auto status = CheckSha256("snapshot_sha256", request.snapshot_sha256()); !status.ok()) {
      return status;
    }
  }
  if (auto status = CheckTextSize("url", request.url()); !status.ok()) return status;
  return CheckTextSize("revision", request.revision());
}

absl::Status CheckSubmit(const v1::SubmitJobRequest& request) {
  if (auto status = CheckSource(request); !status.ok()) return status;
  if (request.overrides_size() > kOverridesMax) {
    return absl::InvalidArgumentError(absl::StrCat("overrides: found ", request.overrides_size(),
                                                   ", expected at most ", kOverridesMax));
  }
  for (const std::string& text : request.overrides()) {
    if (auto status = CheckTextSize("overrides", text); !status.ok()) return status;
  }
  const std::pair<const char*, const std::string*> texts[] = {
      {"source", &request.source()},
      {"commit", &request.commit()},
      {"target", &request.target()},
      {"request_id", &request.request_id()},
      {"import_path", &request.import_path()}};
  for (const auto& [field, text] : texts) {
    if (auto status = CheckTextSize(field, *text); !status.ok()) return status;
  }
  if (!request.import_path().empty() && !request.target().empty()) {
    return absl::InvalidArgumentError("found both import_path and target, expected one of them");
  }
  return absl::OkStatus();
}

// A commit is named by its hash in hex, 40 digits or (SHA-256 repositories) 64.
absl::Status CheckCommit(const std::string& commit) {
  const bool hex = commit.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (commit.empty() || (hex && (commit.size() == 40 || commit.size() == 64))) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("commit: found ", ForPeople(commit), ", expected 40 lower-case hex digits"));
}

}  // namespace

grpc::Status ClientService::UploadSource(grpc::ServerContext* context,
                                         grpc::ServerReader<v1::UploadSourceRequest>* reader,
                                         v1::UploadSourceResponse* response) {
  auto writer = parts_.blobs->Create();
  if (!writer.ok()) return ToGrpc(writer.status());
  int64_t bytes = 0;
  v1::UploadSourceRequest request;
  while (reader->Read(&request)) {
    if (request.data().size() > kBlobChunkBytes) {
      return ToGrpc(
          absl::InvalidArgumentError(absl::StrCat("data: found a chunk of ", request.data().size(),
                                                  " bytes, expected at most ", kBlobChunkBytes)));
    }
    bytes += static_cast<int64_t>(request.data().size());
    if (bytes > options_.source_bytes_max) {
      return ToGrpc(absl::InvalidArgumentError(absl::StrCat(
          "the folder has more than ", options_.source_bytes_max >> 20,
          " MiB: keep data outside of it, under one of the data roots, and name it by its path")));
    }
    if (auto status = (*writer)->Append(request.data()); !status.ok()) return ToGrpc(status);
  }
  // A caller who left looks like one who is done: keep no half of a folder.
  if (context->IsCancelled()) return {grpc::StatusCode::CANCELLED, "the upload was cut off"};
  auto uploaded = (*writer)->Commit("");
  if (!uploaded.ok()) return ToGrpc(uploaded.status());
  auto accepted = parts_.preparer->AcceptUpload(*uploaded);
  if (!accepted.ok()) return ToGrpc(accepted.status());
  response->set_snapshot_sha256(accepted->sha256);
  response->set_files(accepted->files);
  return grpc::Status::OK;
}

grpc::Status ClientService::SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest* request,
                                      v1::SubmitJobResponse* response) {
  if (auto status = CheckSubmit(*request); !status.ok()) return ToGrpc(status);
  if (auto status = CheckCommit(request->commit()); !status.ok()) return ToGrpc(status);
  const SpecWishes wishes{{request->overrides().begin(), request->overrides().end()},
                          request->target(),
                          request->import_path(),
                          request->manual()};
  const bool uploaded = request->url().empty();
  auto prepared =
      uploaded
          ? parts_.preparer->FromSnapshot(request->snapshot_sha256(), request->source(), wishes)
          : parts_.preparer->FromRepository(request->url(), request->revision(), wishes);
  if (!prepared.ok()) return ToGrpc(prepared.status());
  if (uploaded) {
    prepared->commit = request->commit();
    prepared->source = request->source();
  }
  prepared->request_key = request->request_id();
  prepared->manual = request->manual();
  prepared->again = request->again();
  const auto answer =
      parts_.loop->Ask(core::JobSubmitted{{}, *std::move(prepared)}, options_.answer_limit);
  if (!answer.ok()) return ToGrpc(answer.status());
  response->set_job(answer->id);
  response->set_existed(answer->existed);
  return grpc::Status::OK;
}

grpc::Status ClientService::Detect(grpc::ServerContext*, const v1::DetectRequest* request,
                                   v1::Detection* response) {
  if (auto status = CheckSource(*request); !status.ok()) return ToGrpc(status);
  auto found = parts_.preparer->Detect(*request);
  if (!found.ok()) return ToGrpc(found.status());
  *response = *std::move(found);
  return grpc::Status::OK;
}

}  // namespace trainyard::coordinator
