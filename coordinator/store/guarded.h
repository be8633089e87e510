// For the files that implement Records.
#pragma once

#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>

#include "absl/status/status.h"
#include "coordinator/store/database.h"

namespace trainyard::coordinator {

// Calls work() with the mutex held; what is thrown becomes a status that says what could not be
// done.
template <typename Work>
auto Guarded(std::mutex& mutex, const Database& database, const char* doing, Work work)
    -> decltype(work()) {
  std::lock_guard lock(mutex);
  try {
    return work();
  } catch (const SQLite::Exception& error) {
    return Database::ToStatus(error, doing, database.path());
  } catch (const std::exception& error) {
    return absl::InternalError("cannot " + std::string(doing) + " in " + database.path().string() +
                               ": " + error.what());
  }
}

}  // namespace trainyard::coordinator
