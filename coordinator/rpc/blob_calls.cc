// FetchBlob and UploadBlob: blobs in chunks, on a thread for each transfer.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <fstream>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "coordinator/rpc/assignment.h"
#include "coordinator/rpc/request_checks.h"
#include "coordinator/rpc/status.h"
#include "coordinator/rpc/worker_gateway.h"
#include "proto/channel_settings.h"

namespace trainyard::coordinator {
namespace {

absl::Status TooManyTransfers(int limit) {
  return absl::ResourceExhaustedError(
      absl::StrCat(limit, " transfers run already: try again later"));
}

}  // namespace

grpc::Status WorkerGateway::FetchBlob(grpc::ServerContext* context,
                                      const v1::FetchBlobRequest* request,
                                      grpc::ServerWriter<v1::BlobChunk>* writer) {
  const auto visitor = LetIn(*context);
  if (!visitor.ok()) return ToGrpc(visitor.status());
  const auto open = Keep(*visitor, [context](const absl::Status&) { context->TryCancel(); });
  const absl::Cleanup leave = [this] { --transfers_; };
  if (++transfers_ > options_.transfers_max)
    return ToGrpc(TooManyTransfers(options_.transfers_max));
  if (auto status = CheckSha256("sha256", request->sha256()); !status.ok()) return ToGrpc(status);
  if (auto status = CheckFetch(*visitor, request->sha256()); !status.ok()) return ToGrpc(status);
  // Hashed before it is sent, so that a torn checkpoint is set aside here, where another one can be
  // chosen. A continued transfer was hashed when it began.
  if (request->offset() == 0) {
    const absl::Status status = blobs_->Verify(request->sha256());
    if (absl::IsDataLoss(status) || absl::IsNotFound(status)) {
      loop_->Post(core::CheckpointBroken{request->sha256(), std::string(status.message())});
    }
    if (!status.ok()) return ToGrpc(status);
  }
  return ToGrpc(SendFile(request->sha256(), request->offset(), writer));
}

absl::Status WorkerGateway::SendFile(const std::string& sha256, int64_t offset,
                                     grpc::ServerWriter<v1::BlobChunk>* writer) {
  const auto path = blobs_->Path(sha256);
  if (!path.ok()) return path.status();
  const auto size = blobs_->Size(sha256);
  if (!size.ok()) return size.status();
  if (offset < 0 || offset > *size) {
    return absl::InvalidArgumentError(
        absl::StrCat("offset: found ", offset, ", expected 0 to ", *size));
  }
  std::ifstream file(*path, std::ios::binary);
  file.seekg(offset);
  v1::BlobChunk chunk;
  chunk.set_total_bytes(*size);
  int64_t left = *size - offset;
  do {
    const int64_t count = std::min<int64_t>(left, kBlobChunkBytes);
    chunk.mutable_data()->resize(count);
    if (count > 0 && !file.read(chunk.mutable_data()->data(), count)) {
      return absl::DataLossError(absl::StrCat(path->string(), ": cannot read at offset ",
                                              *size - left, " of ", *size, " bytes"));
    }
    if (!writer->Write(chunk)) return absl::CancelledError("the worker has left");
    chunk.clear_total_bytes();
    left -= count;
  } while (left > 0);
  return absl::OkStatus();
}

absl::Status WorkerGateway::CheckFetch(const Visitor& visitor, const std::string& sha256) const {
  if (!visitor.launch) return absl::OkStatus();
  const core::LaunchId launch{*visitor.launch};
  const bool needs =
      loop_->Read([&](const core::State& state) { return NeedsBlob(state, launch, sha256); });
  if (needs) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat("blob ", sha256, ": no attempt that a worker of ",
                                                  visitor.caller.Describe(),
                                                  " holds is made of it"));
}

absl::Status WorkerGateway::CheckClaim(const Visitor& visitor,
                                       const v1::AttemptRef& attempt) const {
  const bool holds = loop_->Read([&](const core::State& state) {
    const auto found = state.attempts.find(core::AttemptId{attempt.attempt()});
    if (found == state.attempts.end() || !found->second.held() ||
        found->second.fencing.value != attempt.fencing()) {
      return false;
    }
    const auto worker = state.workers.find(found->second.worker);
    return !visitor.launch ||
           (worker != state.workers.end() && worker->second.launch.value == *visitor.launch);
  });
  if (holds) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("attempt ", attempt.attempt(), " with fencing ", attempt.fencing(),
                   " holds nothing any more: its uploads are refused"));
}

grpc::Status WorkerGateway::UploadBlob(grpc::ServerContext* context,
                                       grpc::ServerReader<v1::UploadBlobRequest>* reader,
                                       v1::UploadBlobResponse* response) {
  const auto visitor = LetIn(*context);
  if (!visitor.ok()) return ToGrpc(visitor.status());
  const auto open = Keep(*visitor, [context](const absl::Status&) { context->TryCancel(); });
  const absl::Cleanup leave = [this] { --transfers_; };
  if (++transfers_ > options_.transfers_max)
    return ToGrpc(TooManyTransfers(options_.transfers_max));
  v1::UploadBlobRequest first;
  if (!reader->Read(&first)) {
    return ToGrpc(absl::InvalidArgumentError("found no message, expected sha256 and total_bytes"));
  }
  if (auto status = CheckSha256("sha256", first.sha256()); !status.ok()) return ToGrpc(status);
  if (first.total_bytes() < 0 || first.total_bytes() > options_.blob_bytes_max) {
    return ToGrpc(absl::InvalidArgumentError(absl::StrCat(
        "total_bytes: found ", first.total_bytes(), ", expected 0 to ", options_.blob_bytes_max)));
  }
  if (auto status = CheckClaim(*visitor, first.attempt()); !status.ok()) return ToGrpc(status);
  pending_uploads_.Begin(first.sha256());
  const absl::Status status = Receive(*visitor, first, reader, response);
  if (!status.ok()) {
    pending_uploads_.End(first.sha256());
    spdlog::warn("upload of blob {} by attempt {} failed: {}", first.sha256(),
                 first.attempt().attempt(), std::string(status.message()));
  }
  return ToGrpc(status);
}

absl::Status WorkerGateway::Receive(const Visitor& visitor, const v1::UploadBlobRequest& first,
                                    grpc::ServerReader<v1::UploadBlobRequest>* reader,
                                    v1::UploadBlobResponse* response) {
  auto writer = blobs_->Create();
  if (!writer.ok()) return writer.status();
  int64_t bytes = 0;
  v1::UploadBlobRequest message = first;
  do {
    if (message.data().size() > kBlobChunkBytes) {
      return absl::InvalidArgumentError(absl::StrCat("data: found a chunk of ",
                                                     message.data().size(),
                                                     " bytes, expected at most ", kBlobChunkBytes));
    }
    bytes += static_cast<int64_t>(message.data().size());
    if (bytes > first.total_bytes()) break;
    if (auto status = (*writer)->Append(message.data()); !status.ok()) return status;
  } while (reader->Read(&message));
  if (bytes != first.total_bytes()) {
    return absl::DataLossError(absl::StrCat("blob ", first.sha256(), ": ", bytes,
                                            " bytes came, expected ", first.total_bytes()));
  }
  // Asked again: the attempt may have been given away during a long upload.
  if (auto status = CheckClaim(visitor, first.attempt()); !status.ok()) return status;
  if (auto committed = (*writer)->Commit(first.sha256()); !committed.ok())
    return committed.status();
  response->set_bytes(bytes);
  return absl::OkStatus();
}

}  // namespace trainyard::coordinator
