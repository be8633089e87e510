// An open file that is closed with its owner.
#pragma once

#include <unistd.h>

namespace trainyard::agent {

class OwnedFile {
 public:
  // Below 0: it could not be opened.
  explicit OwnedFile(int handle) : handle_(handle) {}
  ~OwnedFile() {
    if (handle_ >= 0) close(handle_);
  }
  OwnedFile(const OwnedFile&) = delete;
  OwnedFile& operator=(const OwnedFile&) = delete;
  int handle() const { return handle_; }

 private:
  int handle_;
};

}  // namespace trainyard::agent
