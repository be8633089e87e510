#include "worker/agent/blob_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "proto/channel_settings.h"
#include "worker/agent/digest.h"

namespace trainyard::agent {

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& target, const AccessKeys& keys) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // no sharing between channels
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2'000);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
                   3'000);  // how long one try to connect may take
  return MakeAccessChannel(target, keys, arguments);
}

absl::Status FromGrpc(const grpc::Status& status) {
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

BlobClient::BlobClient(std::shared_ptr<grpc::Channel> channel)
    : stub_(v1::WorkerGateway::NewStub(std::move(channel))) {}

absl::Status BlobClient::Fetch(const std::string& sha256, int64_t offset, const Sink& sink,
                               AttemptControl& control, Wish until) {
  grpc::ClientContext context;
  AttemptControl::Interrupt interrupt(control, until, [&context] { context.TryCancel(); });
  v1::FetchBlobRequest request;
  request.set_sha256(sha256);
  request.set_offset(offset);
  std::unique_ptr<grpc::ClientReader<v1::BlobChunk>> reader = stub_->FetchBlob(&context, request);

  absl::Status failure;
  int64_t total = -1;
  int64_t position = offset;
  v1::BlobChunk chunk;
  while (failure.ok() && reader->Read(&chunk)) {
    if (total < 0) total = chunk.total_bytes();
    position += static_cast<int64_t>(chunk.data().size());
    if (position > total) {
      failure = absl::DataLossError(absl::StrCat("blob ", sha256, ": more than the announced ",
                                                 total, " bytes came from the coordinator"));
    } else {
      failure = sink(chunk.data());
    }
  }
  if (!failure.ok()) context.TryCancel();
  const grpc::Status status = reader->Finish();
  if (!failure.ok()) return failure;
  if (!status.ok()) return FromGrpc(status);
  if (total >= 0 && position != total) {
    return absl::DataLossError(absl::StrCat("blob ", sha256, ": the coordinator announced ", total,
                                            " bytes and sent ", position));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> BlobClient::FetchToMemory(const std::string& sha256,
                                                      AttemptControl& control, Wish until) {
  std::string bytes;
  const absl::Status status = Fetch(
      sha256, 0,
      [&bytes](std::string_view chunk) {
        bytes.append(chunk);
        return absl::OkStatus();
      },
      control, until);
  if (!status.ok()) return status;
  if (const std::string found = HashOf(bytes); found != sha256) {
    return absl::DataLossError(
        absl::StrCat("blob ", sha256, ": ", bytes.size(), " bytes came whose SHA-256 is ", found));
  }
  return bytes;
}

absl::Status BlobClient::Upload(std::string_view bytes, const std::string& sha256,
                                const v1::AttemptRef& attempt, AttemptControl& control,
                                Wish until) {
  grpc::ClientContext context;
  AttemptControl::Interrupt interrupt(control, until, [&context] { context.TryCancel(); });
  v1::UploadBlobResponse response;
  auto writer = stub_->UploadBlob(&context, &response);
  v1::UploadBlobRequest request;
  request.set_sha256(sha256);
  request.set_total_bytes(static_cast<int64_t>(bytes.size()));
  *request.mutable_attempt() = attempt;
  size_t position = 0;
  do {
    const size_t size = std::min<size_t>(kBlobChunkBytes, bytes.size() - position);
    request.set_data(bytes.data() + position, size);
    if (!writer->Write(request)) break;  // Finish() tells why; it may well be "I have it already"
    request.Clear();
    position += size;
  } while (position < bytes.size());
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  if (!status.ok()) return FromGrpc(status);
  if (response.bytes() != static_cast<int64_t>(bytes.size())) {
    return absl::DataLossError(absl::StrCat("blob ", sha256, ": sent ", bytes.size(),
                                            " bytes, the coordinator stored ", response.bytes()));
  }
  return absl::OkStatus();
}

}  // namespace trainyard::agent
