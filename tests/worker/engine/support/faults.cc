#include "tests/worker/engine/support/faults.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <utility>

namespace trainyard::engine {
namespace {

std::atomic<WithFaults*> current = nullptr;

// libc's own, or that of a sanitizer.
template <class Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

WithFaults::WithFaults(Faults given) : faults(std::move(given)) { current = this; }
WithFaults::~WithFaults() { current = nullptr; }

}  // namespace trainyard::engine

using trainyard::engine::current;
using trainyard::engine::Next;
using trainyard::engine::WithFaults;

extern "C" {

int fstatfs(int file, struct statfs* status) noexcept {
  const int result = Next<int(int, struct statfs*)>("fstatfs")(file, status);
  const WithFaults* with = current;
  if (with != nullptr && with->faults.file_system) status->f_type = *with->faults.file_system;
  return result;
}

int statvfs(const char* path, struct statvfs* status) noexcept {
  const int result = Next<int(const char*, struct statvfs*)>("statvfs")(path, status);
  const WithFaults* with = current;
  if (with != nullptr && with->faults.disk) with->faults.disk(status);
  return result;
}

int fcntl(int file, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  const WithFaults* with = current;
  const bool locks = command == F_OFD_SETLK || command == F_OFD_SETLKW;
  if (locks && with != nullptr && with->faults.lock_error) {
    errno = *with->faults.lock_error;
    return -1;
  }
  return static_cast<int>(syscall(SYS_fcntl, file, command, argument));
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                   void* argument) noexcept {
  WithFaults* with = current;
  if (with != nullptr) {
    const auto& most = with->faults.threads_max;
    if (most && with->threads_started_ >= *most) return EAGAIN;
    ++with->threads_started_;
  }
  return Next<int(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*)>("pthread_create")(
      thread, attributes, run, argument);
}

}  // extern "C"
