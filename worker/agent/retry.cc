#include "worker/agent/retry.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"

namespace trainyard::agent {

Backoff::Backoff(std::chrono::milliseconds first, std::chrono::milliseconds longest)
    : first_(first), longest_(longest), next_(first), random_(std::random_device{}()) {}

std::chrono::milliseconds Backoff::Next() {
  const int64_t most = next_.count();
  next_ = std::min(longest_, next_ * 2);
  return std::chrono::milliseconds(
      std::uniform_int_distribution<int64_t>(most / 2, std::max<int64_t>(most, 1))(random_));
}

bool MayPass(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnauthenticated:
      return true;
    default:
      return false;
  }
}

absl::Status Persist(AttemptControl& control, Wish until, std::string_view what,
                     const std::function<absl::Status()>& attempt) {
  Backoff backoff(std::chrono::milliseconds(100), std::chrono::seconds(5));
  std::string last_message;
  for (;;) {
    const absl::Status status = control.wish() < until ? attempt() : absl::OkStatus();
    if (control.wish() >= until) {
      return absl::CancelledError(absl::StrCat(std::string(what), ": ", control.reason()));
    }
    if (status.ok() || !MayPass(status)) return status;
    const std::string message(status.message());
    if (message != last_message) {  // once for each cause, not once a second
      spdlog::warn("{}: {}; trying again until it works", what, message);
      last_message = message;
    }
    control.Sleep(backoff.Next(), until);
  }
}

}  // namespace trainyard::agent
