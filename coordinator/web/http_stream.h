// One connection as the HTTP library reads and writes it: plain or TLS, no longer than a deadline,
// and no more bytes than were allowed. What the library itself has no bound for (slow senders, many
// or long headers, chunks) ends here.
#pragma once

#include <httplib.h>

#include <array>
#include <chrono>
#include <memory>
#include <string>

#include "coordinator/web/http_tls.h"

namespace trainyard::coordinator {

class HttpStream final : public httplib::Stream {
 public:
  using Deadline = std::chrono::steady_clock::time_point;

  // `fd` is the caller's, and does not block. Without `tls` it is plain.
  HttpStream(int fd, SSL_CTX* tls, Deadline deadline, size_t bytes_max);

  // To be called first. False: this is not TLS, or not in time.
  bool Handshake();
  // From here on so many bytes may be read.
  void AllowMore(size_t bytes) { bytes_left_ = bytes; }
  // Says that all was written, and gives the other side a moment to take it: closing while
  // something unread has arrived would take the answer back.
  void Finish();

  bool late() const { return late_; }              // the deadline was what ended reading
  bool over_limit() const { return over_limit_; }  // the number of bytes was

  bool is_readable() const override { return true; }
  bool is_writable() const override { return true; }
  ssize_t read(char* out, size_t size) override;
  ssize_t write(const char* data, size_t size) override;
  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  // Only compared with what select() can take, which is not used here.
  socket_t socket() const override { return 0; }

 private:
  ssize_t Receive(char* out, size_t size);
  // Whether what kept the last operation from going on has passed; false: it failed for good, or
  // the deadline came first.
  bool Passed(ssize_t result, short wanted, Deadline deadline);

  const int fd_;
  const std::unique_ptr<SSL, SslDelete> ssl_;
  const Deadline deadline_;
  size_t bytes_left_;
  bool late_ = false;
  bool over_limit_ = false;
  // The library asks for one byte at a time.
  std::array<char, 4096> buffer_;
  size_t buffer_begin_ = 0, buffer_end_ = 0;
};

}  // namespace trainyard::coordinator
