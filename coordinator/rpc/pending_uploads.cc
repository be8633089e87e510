#include "coordinator/rpc/pending_uploads.h"

namespace trainyard::coordinator {
namespace {

// An upload whose worker died before it reported stays pending until somebody reports the same
// bytes. So many may; then the oldest is forgotten, which by then is no upload in flight.
constexpr size_t kPendingMax = 10'000;

}  // namespace

void PendingUploads::Begin(const std::string& sha256) {
  std::lock_guard lock(mutex_);
  ++pending_[sha256];
  order_.push_back(sha256);
  if (order_.size() > kPendingMax) {
    pending_.erase(order_.front());
    order_.pop_front();
  }
}

void PendingUploads::End(const std::string& sha256) {
  std::lock_guard lock(mutex_);
  pending_.erase(sha256);
  std::erase(order_, sha256);
}

void PendingUploads::UnlessPending(const std::string& sha256, const std::function<void()>& remove) {
  std::lock_guard lock(mutex_);
  if (!pending_.contains(sha256)) remove();
}

}  // namespace trainyard::coordinator
