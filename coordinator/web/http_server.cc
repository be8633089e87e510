#include "coordinator/web/http_server.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <list>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "coordinator/address.h"
#include "coordinator/store/files.h"
#include "coordinator/web/http_exchange.h"
#include "coordinator/web/http_stream.h"
#include "coordinator/web/http_tls.h"

namespace trainyard::coordinator {
namespace {

constexpr int kBacklog = 512;
constexpr auto kPauseWithoutResources = std::chrono::milliseconds(20);

std::string PortOf(const std::string& address) { return address.substr(address.rfind(':') + 1); }

absl::StatusOr<UniqueFd> Listen(const std::string& address) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(HostOf(address).c_str(), PortOf(address).c_str(), &hints, &found);
  if (error != 0) {
    return absl::UnavailableError(
        absl::StrCat("--http: cannot listen on ", address, ": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, &freeaddrinfo);
  int failure = 0;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    UniqueFd fd(socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int on = 1;
    if (fd.valid() && setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
        bind(fd.get(), one->ai_addr, one->ai_addrlen) == 0 && listen(fd.get(), kBacklog) == 0) {
      return fd;
    }
    if (failure == 0) failure = errno;
  }
  return absl::UnavailableError(absl::StrCat("--http: cannot listen on ", address, ": ",
                                             std::generic_category().message(failure)));
}

int PortOf(int fd) {
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size);
  return ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6*>(&bound)->sin6_port
                                           : reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
}

class ThreadedServer final : public HttpServer {
 public:
  ThreadedServer(HttpOptions options, std::vector<Route> routes,
                 std::unique_ptr<SSL_CTX, SslDelete> tls, UniqueFd listener)
      : options_(std::move(options)),
        routes_(std::move(routes)),
        tls_(std::move(tls)),
        listener_(std::move(listener)),
        address_(absl::StrCat(options_.address.substr(0, options_.address.rfind(':') + 1),
                              PortOf(listener_.get()))),
        acceptor_([this] { Accept(); }) {}

  ~ThreadedServer() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      for (Connection& connection : connections_) shutdown(connection.fd.get(), SHUT_RDWR);
    }
    shutdown(listener_.get(), SHUT_RDWR);  // wakes the acceptor
    acceptor_.join();
    for (Connection& connection : connections_) connection.thread.join();
  }

  const std::string& address() const override { return address_; }

 private:
  struct Connection {
    UniqueFd fd;
    std::thread thread;
    bool done = false;
  };

  void Accept() {
    while (true) {
      pollfd waited{listener_.get(), POLLIN, 0};
      poll(&waited, 1, -1);
      UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      const int error = errno;
      std::unique_lock lock(mutex_);
      if (stopping_) return;
      if (fd.valid()) {
        Serve(std::move(fd), lock);
      } else if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) {
        changed_.wait_for(lock, kPauseWithoutResources);
      }
    }
  }

  // With the mutex held.
  void Serve(UniqueFd fd, std::unique_lock<std::mutex>& lock) {
    Reap();
    if (connections_.size() >= options_.connections_max) {
      shutdown(connections_.front().fd.get(), SHUT_RDWR);
      changed_.wait(lock, [this] { return stopping_ || AnyDone(); });
      Reap();
    }
    if (stopping_) return;
    Connection& connection = connections_.emplace_back();
    connection.fd = std::move(fd);
    try {
      connection.thread = std::thread([this, &connection] { Run(connection); });
    } catch (const std::system_error&) {  // no more threads: the caller tries again
      connections_.pop_back();
    }
  }

  bool AnyDone() const { return std::ranges::any_of(connections_, &Connection::done); }

  void Reap() {
    for (auto it = connections_.begin(); it != connections_.end();) {
      if (it->done) it->thread.join();
      it = it->done ? connections_.erase(it) : std::next(it);
    }
  }

  void Run(Connection& connection) {
    const auto deadline = std::chrono::steady_clock::now() + options_.request_limit;
    HttpStream stream(connection.fd.get(), tls_.get(), deadline, options_.head_bytes_max);
    if (stream.Handshake()) {
      HttpExchange(routes_, options_.body_bytes_max, &stream).Run();
      stream.Finish();
    }
    shutdown(connection.fd.get(), SHUT_RDWR);
    std::lock_guard lock(mutex_);
    connection.done = true;
    connection.fd = UniqueFd();
    changed_.notify_all();
  }

  const HttpOptions options_;
  const std::vector<Route> routes_;
  const std::unique_ptr<SSL_CTX, SslDelete> tls_;
  const UniqueFd listener_;
  const std::string address_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Connection> connections_;  // the oldest first
  bool stopping_ = false;

  std::thread acceptor_;
};

}  // namespace

absl::Status CheckHttpAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  uint32_t port = 0;
  if (colon != std::string::npos && colon > 0 && absl::SimpleAtoi(PortOf(address), &port) &&
      port <= 65'535) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--http: found '", address, "', expected host:port, such as 127.0.0.1:7702"));
}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(HttpOptions options,
                                                              std::vector<Route> routes) {
  if (auto status = CheckHttpAddress(options.address); !status.ok()) return status;
  std::unique_ptr<SSL_CTX, SslDelete> tls;
  if (!options.tls.cert_pem.empty()) {
    auto made = MakeServerTls(options.tls);
    if (!made.ok()) return made.status();
    tls = *std::move(made);
  }
  auto listener = Listen(options.address);
  if (!listener.ok()) return listener.status();
  return std::make_unique<ThreadedServer>(std::move(options), std::move(routes), std::move(tls),
                                          *std::move(listener));
}

}  // namespace trainyard::coordinator
