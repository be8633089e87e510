// While one of these lives, SIGINT and SIGTERM are noted instead of ending the process; a second
// one of the same kind ends it as usual. One inside another's life changes nothing.
#pragma once

#include <csignal>

namespace trainyard::cli {

class SignalWatch {
 public:
  SignalWatch();
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;
  SignalWatch& operator=(const SignalWatch&) = delete;

  // SIGINT, SIGTERM, or 0 when none has come.
  int caught() const;

 private:
  struct sigaction old_interrupt_;
  struct sigaction old_terminate_;
};

}  // namespace trainyard::cli
