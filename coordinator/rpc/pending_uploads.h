// Blobs that were uploaded and that no committed checkpoint tells of yet: they must not be deleted,
// whatever an older checkpoint with the same bytes is being dropped for.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>

namespace trainyard::coordinator {

// Thread-safe.
class PendingUploads {
 public:
  // Before the blob comes to exist.
  void Begin(const std::string& sha256);
  // The report about it is committed, or the upload failed.
  void End(const std::string& sha256);
  // Calls `remove` unless the blob is pending; no upload of it begins meanwhile.
  void UnlessPending(const std::string& sha256, const std::function<void()>& remove);

 private:
  std::mutex mutex_;
  std::map<std::string, int> pending_;
  std::deque<std::string> order_;  // oldest first, bounded
};

}  // namespace trainyard::coordinator
