#include "coordinator/web/http_stream.h"

#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace trainyard::coordinator {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kAnswerLimit{2'000};  // to write one, even where reading took all the time
constexpr milliseconds kFarewellLimit{1'000};
constexpr size_t kFarewellBytes = 256 << 10;

SSL* NewSsl(SSL_CTX* tls, int fd) {
  if (tls == nullptr) return nullptr;
  SSL* ssl = SSL_new(tls);
  if (ssl != nullptr) SSL_set_fd(ssl, fd);
  return ssl;
}

}  // namespace

HttpStream::HttpStream(int fd, SSL_CTX* tls, Deadline deadline, size_t bytes_max)
    : fd_(fd), ssl_(NewSsl(tls, fd)), deadline_(deadline), bytes_left_(bytes_max) {}

bool HttpStream::Passed(ssize_t result, short wanted, Deadline deadline) {
  if (ssl_ != nullptr) {
    const int error = SSL_get_error(ssl_.get(), static_cast<int>(result));
    ERR_clear_error();
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) return false;
    wanted = error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
  } else if (result == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
    return false;
  }
  const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
  pollfd waited{fd_, wanted, 0};
  if (left.count() > 0 && poll(&waited, 1, static_cast<int>(left.count())) != 0) return true;
  late_ = true;
  return false;
}

bool HttpStream::Handshake() {
  if (ssl_ == nullptr) return true;
  while (true) {
    const int result = SSL_accept(ssl_.get());
    if (result == 1) return true;
    if (!Passed(result, POLLIN, deadline_)) return false;
  }
}

ssize_t HttpStream::Receive(char* out, size_t size) {
  while (true) {
    const ssize_t got = ssl_ != nullptr ? SSL_read(ssl_.get(), out, static_cast<int>(size))
                                        : recv(fd_, out, size, 0);
    if (got > 0) return got;
    if (!Passed(got, POLLIN, deadline_)) return -1;
  }
}

ssize_t HttpStream::read(char* out, size_t size) {
  if (bytes_left_ == 0) over_limit_ = true;
  if (late_ || over_limit_) return -1;
  if (steady_clock::now() >= deadline_) late_ = true;  // even where bytes keep arriving
  if (late_) return -1;
  if (buffer_begin_ == buffer_end_) {
    const ssize_t got = Receive(buffer_.data(), buffer_.size());
    if (got <= 0) return got;
    buffer_begin_ = 0;
    buffer_end_ = static_cast<size_t>(got);
  }
  const size_t count = std::min({size, buffer_end_ - buffer_begin_, bytes_left_});
  std::memcpy(out, buffer_.data() + buffer_begin_, count);
  buffer_begin_ += count;
  bytes_left_ -= count;
  return static_cast<ssize_t>(count);
}

ssize_t HttpStream::write(const char* data, size_t size) {
  const Deadline deadline = std::max(deadline_, steady_clock::now() + kAnswerLimit);
  while (size > 0) {
    const ssize_t written = ssl_ != nullptr ? SSL_write(ssl_.get(), data, static_cast<int>(size))
                                            : send(fd_, data, size, MSG_NOSIGNAL);
    if (written > 0) return written;
    if (!Passed(written, POLLOUT, deadline)) return -1;
  }
  return 0;
}

void HttpStream::Finish() {
  if (ssl_ != nullptr && !late_) SSL_shutdown(ssl_.get());
  ERR_clear_error();
  shutdown(fd_, SHUT_WR);
  const Deadline deadline = steady_clock::now() + kFarewellLimit;
  for (size_t taken = 0; taken < kFarewellBytes;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    pollfd waited{fd_, POLLIN, 0};
    if (left.count() <= 0 || poll(&waited, 1, static_cast<int>(left.count())) <= 0) return;
    const ssize_t got = recv(fd_, buffer_.data(), buffer_.size(), 0);
    if (got <= 0) return;
    taken += static_cast<size_t>(got);
  }
}

}  // namespace trainyard::coordinator
