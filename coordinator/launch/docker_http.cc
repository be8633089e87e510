#include "coordinator/launch/docker_http.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cctype>
#include <condition_variable>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/address.h"

namespace trainyard::coordinator {
namespace {

constexpr size_t kBodyMax = size_t{16} << 20;
constexpr long kConnectMs = 5'000;

struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

// A host and a port, and nothing that a URL could hold besides.
bool IsAuthority(std::string_view text) {
  return text.find(':') != std::string_view::npos &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) || std::string_view("-_.:[]").find(c) != std::string_view::npos;
         });
}

// Whether `text` begins so, which is then taken off.
bool TakeStart(std::string_view* text, std::string_view start) {
  if (!text->starts_with(start)) return false;
  text->remove_prefix(start.size());
  return true;
}

bool IsTlsError(CURLcode result) {
  switch (result) {
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return true;
    default:
      return false;
  }
}

// With TLS 1.3 a client whose certificate is refused takes the connection for made, and hears of it
// by an alert when it reads, or only by the end of the connection.
bool IsCutOff(CURLcode result) {
  return result == CURLE_RECV_ERROR || result == CURLE_SEND_ERROR || result == CURLE_GOT_NOTHING;
}

// A host that is no longer there must not be taken for one that is silent.
int OnSocket(void*, curl_socket_t fd, curlsocktype) {
  const int probes = 3, milliseconds = 5'000;
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof(milliseconds));
  return CURL_SOCKOPT_OK;
}

}  // namespace

struct HttpLoop::Transfer {
  ~Transfer() { curl_easy_cleanup(easy); }

  Id id = 0;
  HttpRequest request;
  std::optional<HttpStream> stream;
  Done done;
  HttpReply reply;
  bool opened = false;     // on_open was called
  bool enough = false;     // on_data said so
  bool cancelled = false;  // nobody wants to hear of it any more
  bool too_large = false;
  CURL* const easy = curl_easy_init();
  std::unique_ptr<curl_slist, FreeList> headers;
  char error[CURL_ERROR_SIZE] = "";

  static size_t OnHeader(char* data, size_t, size_t size, void* user) {
    Transfer& self = *static_cast<Transfer*>(user);
    if (self.cancelled) return 0;
    if (std::string_view(data, size) != "\r\n") return size;  // the last one
    curl_easy_getinfo(self.easy, CURLINFO_RESPONSE_CODE, &self.reply.status);
    if (self.stream && self.reply.status == 200 && !self.opened) {
      self.opened = true;
      if (self.stream->on_open) self.stream->on_open();
    }
    return size;
  }

  static size_t OnBody(char* data, size_t, size_t size, void* user) {
    Transfer& self = *static_cast<Transfer*>(user);
    if (self.cancelled) return 0;
    if (self.opened) {
      self.enough = !self.stream->on_data({data, size});
      return self.enough ? 0 : size;
    }
    self.too_large = self.reply.body.size() + size > kBodyMax;
    if (self.too_large) return 0;
    self.reply.body.append(data, size);
    return size;
  }
};

std::string PercentEncode(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string encoded;
  for (const unsigned char c : text) {
    if (std::isalnum(c) || std::string_view("-_.~/").find(c) != std::string_view::npos) {
      encoded += static_cast<char>(c);
    } else {
      encoded += {'%', kHex[c >> 4], kHex[c & 15]};
    }
  }
  return encoded;
}

absl::StatusOr<std::unique_ptr<HttpLoop>> HttpLoop::Open(const DockerHost& host) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (initialised != CURLE_OK) return absl::InternalError("libcurl does not start");
  std::string_view rest = host.url;
  const bool tls = !host.tls_ca.empty() || !host.tls_cert.empty() || !host.tls_key.empty();
  auto loop = std::unique_ptr<HttpLoop>(new HttpLoop(host));
  if (loop->multi_ == nullptr) return absl::InternalError("libcurl gives no handle");
  if (TakeStart(&rest, "unix://")) {
    if (!rest.starts_with('/')) {
      return absl::InvalidArgumentError(
          absl::StrCat(host.url, ": expected an absolute path behind unix://"));
    }
    loop->base_ = "http://docker";  // a name must be there for the Host header
    loop->socket_ = std::string(rest);
  } else if (TakeStart(&rest, "tcp://") && IsAuthority(rest)) {
    if (!tls && !IsLoopback(std::string(rest))) {
      return absl::InvalidArgumentError(absl::StrCat(
          host.url, ": without TLS only an address of this machine may be named, such as ",
          "127.0.0.1; expected ca, cert and key"));
    }
    if (tls && (host.tls_ca.empty() || host.tls_cert.empty() || host.tls_key.empty())) {
      return absl::InvalidArgumentError(
          absl::StrCat(host.url, ": expected ca, cert and key, all three"));
    }
    loop->base_ = absl::StrCat(tls ? "https://" : "http://", std::string(rest));
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat(host.url, ": expected unix:///PATH or tcp://HOST:PORT"));
  }
  loop->thread_ = std::thread([loop = loop.get()] { loop->Run(); });
  return loop;
}

HttpLoop::HttpLoop(const DockerHost& host) : host_(host), multi_(curl_multi_init()) {}

HttpLoop::~HttpLoop() {
  if (thread_.joinable()) {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    curl_multi_wakeup(multi_);
    thread_.join();
  }
  curl_multi_cleanup(multi_);
}

void HttpLoop::Start(HttpRequest request, Done done) {
  auto transfer = std::make_unique<Transfer>();
  transfer->request = std::move(request);
  transfer->done = std::move(done);
  Add(std::move(transfer));
}

HttpLoop::Id HttpLoop::StartStream(HttpRequest request, HttpStream stream, Done done) {
  auto transfer = std::make_unique<Transfer>();
  transfer->request = std::move(request);
  transfer->request.timeout = {};
  transfer->stream = std::move(stream);
  transfer->done = std::move(done);
  return Add(std::move(transfer));
}

HttpLoop::Id HttpLoop::Add(std::unique_ptr<Transfer> transfer) {
  {
    std::lock_guard lock(mutex_);
    if (!stopping_) {
      const Id id = transfer->id = ++last_id_;
      added_.push_back(std::move(transfer));
      curl_multi_wakeup(multi_);
      return id;
    }
  }
  transfer->done(absl::CancelledError("the launcher is being closed"));
  return 0;
}

void HttpLoop::Cancel(Id id) {
  if (const auto found = transfers_.find(id); found != transfers_.end()) {
    found->second->cancelled = true;
    // Not here: this may be a callback of that very transfer.
    After({}, [this, id] {
      const auto gone = transfers_.find(id);
      if (gone == transfers_.end()) return;
      curl_multi_remove_handle(multi_, gone->second->easy);
      transfers_.erase(gone);
    });
    return;
  }
  std::lock_guard lock(mutex_);
  std::erase_if(added_, [id](const auto& transfer) { return transfer->id == id; });
}

absl::StatusOr<HttpReply> HttpLoop::Call(HttpRequest request) {
  std::mutex mutex;
  std::condition_variable changed;
  std::optional<absl::StatusOr<HttpReply>> reply;
  Start(std::move(request), [&](absl::StatusOr<HttpReply> got) {
    std::lock_guard lock(mutex);
    reply = std::move(got);
    changed.notify_all();
  });
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return reply.has_value(); });
  return *std::move(reply);
}

void HttpLoop::After(std::chrono::milliseconds delay, std::function<void()> task) {
  std::lock_guard lock(mutex_);
  tasks_.emplace(Clock::now() + delay, std::move(task));
  curl_multi_wakeup(multi_);
}

void HttpLoop::Configure(Transfer& transfer) const {
  CURL* const easy = transfer.easy;
  const HttpRequest& request = transfer.request;
  curl_easy_setopt(easy, CURLOPT_URL, absl::StrCat(base_, request.path).c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, kConnectMs);
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout.count()));
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 2L);
  curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 1L);
  if (socket_.empty()) curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, OnSocket);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.error);
  curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfer);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, Transfer::OnHeader);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, Transfer::OnBody);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  if (request.method != "GET") {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.c_str());
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    curl_slist* headers =
        curl_slist_append(nullptr, absl::StrCat("Content-Type: ", request.content_type).c_str());
    transfer.headers.reset(curl_slist_append(headers, "Expect:"));
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer.headers.get());
  }
  if (!socket_.empty()) curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, socket_.c_str());
  if (!host_.tls_ca.empty()) {
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(easy, CURLOPT_CAINFO, host_.tls_ca.c_str());
    curl_easy_setopt(easy, CURLOPT_CAPATH, nullptr);
    curl_easy_setopt(easy, CURLOPT_SSLCERT, host_.tls_cert.c_str());
    curl_easy_setopt(easy, CURLOPT_SSLKEY, host_.tls_key.c_str());
  }
}

void HttpLoop::Begin(std::unique_ptr<Transfer> transfer) {
  Configure(*transfer);
  curl_multi_add_handle(multi_, transfer->easy);
  transfers_[transfer->id] = std::move(transfer);
}

void HttpLoop::Run() {
  while (true) {
    const int wait_ms = RunTasks();
    std::vector<std::unique_ptr<Transfer>> added;
    {
      std::lock_guard lock(mutex_);
      if (stopping_) break;
      added.swap(added_);
    }
    for (auto& transfer : added) Begin(std::move(transfer));
    int running = 0;
    curl_multi_perform(multi_, &running);
    FinishTransfers();
    curl_multi_poll(multi_, nullptr, 0, wait_ms, nullptr);
  }
  const absl::Status closing = absl::CancelledError("the launcher is being closed");
  for (auto& [id, transfer] : transfers_) {
    curl_multi_remove_handle(multi_, transfer->easy);
    if (!transfer->cancelled) transfer->done(closing);
  }
  transfers_.clear();
  std::vector<std::unique_ptr<Transfer>> added;
  {
    std::lock_guard lock(mutex_);
    added.swap(added_);
  }
  for (auto& transfer : added) transfer->done(closing);
}

int HttpLoop::RunTasks() {
  while (true) {
    std::function<void()> task;
    {
      std::lock_guard lock(mutex_);
      if (tasks_.empty() || stopping_) return 60'000;
      const auto next = tasks_.begin();
      const auto wait = next->first - Clock::now();
      if (wait > Clock::duration::zero()) {
        const auto wait_ms = std::chrono::ceil<std::chrono::milliseconds>(wait).count();
        return static_cast<int>(std::min<int64_t>(wait_ms, 60'000));
      }
      task = std::move(next->second);
      tasks_.erase(next);
    }
    task();
  }
}

void HttpLoop::FinishTransfers() {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi_, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode result = message->data.result;
    Transfer* transfer = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
    curl_multi_remove_handle(multi_, transfer->easy);
    const std::unique_ptr<Transfer> finished = std::move(transfers_.at(transfer->id));
    transfers_.erase(finished->id);
    if (finished->cancelled) continue;
    if (result == CURLE_OK || finished->enough) {
      finished->done(std::move(finished->reply));
    } else {
      finished->done(Explain(*finished, result));
    }
  }
}

absl::Status HttpLoop::Explain(const Transfer& transfer, int result) const {
  const auto code = static_cast<CURLcode>(result);
  const std::string text = transfer.error[0] != '\0' ? transfer.error : curl_easy_strerror(code);
  if (transfer.too_large) {
    return absl::UnavailableError(absl::StrCat("the answer to ", transfer.request.path,
                                               " has more than ", kBodyMax, " bytes"));
  }
  long connects = 0;
  curl_easy_getinfo(transfer.easy, CURLINFO_NUM_CONNECTS, &connects);
  if (!host_.tls_ca.empty() && IsCutOff(code) && connects > 0 && transfer.reply.status == 0) {
    return absl::UnavailableError(
        absl::StrCat("TLS: the host ended the connection when it had seen our certificate ",
                     host_.tls_cert, ": ", text));
  }
  if (!host_.tls_ca.empty() && IsTlsError(code)) {
    return absl::UnavailableError(absl::StrCat("TLS: ", text));
  }
  if (result == CURLE_COULDNT_CONNECT) {
    long error = 0;
    curl_easy_getinfo(transfer.easy, CURLINFO_OS_ERRNO, &error);
    return absl::UnavailableError(absl::StrCat(
        "cannot connect: ", error != 0 ? std::strerror(static_cast<int>(error)) : text));
  }
  if (result == CURLE_OPERATION_TIMEDOUT) {
    return absl::UnavailableError(absl::StrCat("no answer in time: ", text));
  }
  return absl::UnavailableError(text);
}

}  // namespace trainyard::coordinator
