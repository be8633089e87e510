#include "cli/client.h"

#include <fmt/format.h>

#include "cli/text.h"
#include "proto/channel_settings.h"

namespace trainyard::cli {
namespace {

constexpr int kMaxMessageBytes = 16 << 20;

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address, const AccessKeys& keys) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
  // A host that vanished without a word is noticed, as workers notice it.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY,
                   0);  // a coordinator is not on the other side of a web proxy
  // Two clients of one process with the same address must not share the fate of one connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return MakeAccessChannel(address, keys, arguments);
}

}  // namespace

Client::Client(std::string address, AccessKeys keys)
    : address_(std::move(address)),
      keys_(std::move(keys)),
      channel_(MakeChannel(address_, keys_)),
      stub_(v1::Trainyard::NewStub(channel_)) {}

absl::Status Client::Connect(Milliseconds limit) {
  RenewIfBroken();
  const auto deadline = std::chrono::system_clock::now() + limit;
  grpc_connectivity_state state = channel_->GetState(true);
  while (state != GRPC_CHANNEL_READY) {
    if (state == GRPC_CHANNEL_TRANSIENT_FAILURE || state == GRPC_CHANNEL_SHUTDOWN)
      return NoConnection();
    if (!channel_->WaitForStateChange(state, deadline)) {
      return Unreachable(fmt::format("no answer within {}", FormatDuration(limit.count())));
    }
    state = channel_->GetState(true);
  }
  return absl::OkStatus();
}

bool Client::Connected() const { return channel_->GetState(false) == GRPC_CHANNEL_READY; }

void Client::RenewIfBroken() {
  const grpc_connectivity_state state = channel_->GetState(false);
  if (state != GRPC_CHANNEL_TRANSIENT_FAILURE && state != GRPC_CHANNEL_SHUTDOWN) return;
  channel_ = MakeChannel(address_, keys_);
  stub_ = v1::Trainyard::NewStub(channel_);
}

absl::Status Client::Unreachable(const std::string& detail) const {
  return absl::UnavailableError(
      fmt::format("no coordinator answers at {}{}\nStart one on this machine with `trainyard up`, "
                  "or name another with "
                  "--coordinator or TRAINYARD_COORDINATOR.",
                  address_, detail.empty() ? "" : " (" + CleanLine(detail, 500) + ")"));
}

absl::Status Client::NoConnection() const {
  const std::string why = WhyUnreachable(channel_, keys_);
  if (why.empty()) return Unreachable("");
  return absl::UnavailableError(fmt::format("no connection to {}: {}", address_, why));
}

absl::Status Client::Explain(const grpc::Status& status) const {
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  const std::string text = CleanLines(status.error_message());
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return absl::OkStatus();
    case grpc::StatusCode::UNAVAILABLE:
      return Unreachable(status.error_message());
    case grpc::StatusCode::UNIMPLEMENTED:
      return absl::UnimplementedError(fmt::format(
          "{} does not know this call ({}); is it a coordinator, and as new as this program?",
          address_, text));
    case grpc::StatusCode::UNAUTHENTICATED:
      return absl::UnauthenticatedError(fmt::format(
          "the coordinator at {} does not let you in: {}\nShow a token with --access DIR, "
          "--token-file FILE, TRAINYARD_ACCESS or TRAINYARD_TOKEN; an admin makes one with "
          "`trainyard token create`.",
          address_, text));
    case grpc::StatusCode::CANCELLED:
      return absl::CancelledError(fmt::format(
          "the coordinator at {} ended the call{}", address_,
          keys_.token.empty() ? "" : "; has the token been revoked, or has it expired?"));
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return absl::DeadlineExceededError(
          fmt::format("the coordinator at {} did not answer in time", address_));
    default:
      return absl::Status(
          code, text.empty() ? fmt::format("the coordinator at {} gave error {} without a word",
                                           address_, status.error_code())
                             : text);
  }
}

}  // namespace trainyard::cli
