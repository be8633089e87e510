#include "coordinator/notify/transfer.h"

#include <curl/curl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/source/private_address.h"

namespace trainyard::coordinator {
namespace {

constexpr long kConnectMs = 20'000;
constexpr int64_t kRetryAfterMax = 365 * 86'400;  // seconds

struct ListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using List = std::unique_ptr<curl_slist, ListDeleter>;

List ToList(const std::vector<std::string>& lines) {
  List list;
  for (const std::string& line : lines) {
    list.reset(curl_slist_append(list.release(), line.c_str()));
  }
  return list;
}

size_t Discard(char*, size_t, size_t size, void*) { return size; }

// One use of libcurl, with what all of ours have in common.
class Transfer {
 public:
  Transfer(const Connection& connection, const Cancelled& cancelled)
      : connection_(connection), cancelled_(cancelled), curl_(Handle(), &curl_easy_cleanup) {
    if (curl_ == nullptr) return;
    Set(CURLOPT_ERRORBUFFER, error_);
    Set(CURLOPT_NOSIGNAL, 1L);
    Set(CURLOPT_FOLLOWLOCATION, 0L);
    Set(CURLOPT_CONNECTTIMEOUT_MS, std::min<long>(kConnectMs, connection.timeout_ms));
    Set(CURLOPT_TIMEOUT_MS, static_cast<long>(connection.timeout_ms));
    Set(CURLOPT_OPENSOCKETFUNCTION, OpenSocket);
    Set(CURLOPT_OPENSOCKETDATA, this);
    Set(CURLOPT_WRITEFUNCTION, Discard);
    Set(CURLOPT_NOPROGRESS, 0L);
    Set(CURLOPT_XFERINFOFUNCTION, OnProgress);
    Set(CURLOPT_XFERINFODATA, this);
    Set(CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
    // A proxy would be asked for the private addresses that we refuse to open ourselves.
    if (!connection.private_addresses) Set(CURLOPT_PROXY, "");
    if (!connection.ca.empty()) {
      Set(CURLOPT_CAINFO, connection.ca.c_str());
      Set(CURLOPT_CAPATH, nullptr);
    }
  }

  template <class Value>
  void Set(CURLoption option, Value value) {
    curl_easy_setopt(curl_.get(), option, value);
  }

  // OK once the server has answered, whatever it says.
  absl::Status Perform() {
    if (curl_ == nullptr) return absl::UnavailableError("libcurl does not start");
    result_ = curl_easy_perform(curl_.get());
    if (cancelled_()) return absl::CancelledError("the coordinator is stopping");
    if (result_ != CURLE_OK && refused_) {
      return absl::InvalidArgumentError(
          "leads to a private or local network, which private_addresses does not allow");
    }
    if (result_ == CURLE_OK) return absl::OkStatus();
    return absl::UnavailableError(error_[0] != '\0' ? error_ : curl_easy_strerror(result_));
  }

  long code() const {
    long code = 0;
    curl_easy_getinfo(curl_.get(), CURLINFO_RESPONSE_CODE, &code);
    return code;
  }
  int64_t retry_after_ms() const {
    curl_off_t seconds = 0;
    curl_easy_getinfo(curl_.get(), CURLINFO_RETRY_AFTER, &seconds);
    return std::min<int64_t>(seconds, kRetryAfterMax) * 1'000;
  }
  CURLcode result() const { return result_; }

 private:
  static CURL* Handle() {
    static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
    return initialised == CURLE_OK ? curl_easy_init() : nullptr;
  }
  // Called with the address that a name was resolved to, so that no later resolution can differ.
  static curl_socket_t OpenSocket(void* user, curlsocktype, curl_sockaddr* address) {
    Transfer& transfer = *static_cast<Transfer*>(user);
    if (!transfer.connection_.private_addresses && IsPrivateAddress(&address->addr)) {
      transfer.refused_ = true;
      return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  }
  static int OnProgress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<Transfer*>(user)->cancelled_() ? 1 : 0;
  }

  const Connection& connection_;
  const Cancelled& cancelled_;
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl_;
  CURLcode result_ = CURLE_OK;
  bool refused_ = false;
  char error_[CURL_ERROR_SIZE] = {};
};

Outcome Judge(long code, int64_t retry_after_ms) {
  if (code >= 200 && code < 300) return absl::OkStatus();
  const std::string text = absl::StrCat("the server answers with HTTP status ", code);
  if (code >= 300 && code < 400) {
    return absl::InvalidArgumentError(absl::StrCat(text, "; redirects are not followed"));
  }
  const bool final = code >= 400 && code < 500 && code != 408 && code != 429 && retry_after_ms == 0;
  if (final) return absl::InvalidArgumentError(text);
  return {absl::UnavailableError(text), retry_after_ms};
}

size_t ReadMessage(char* to, size_t, size_t room, void* user) {
  std::string_view& left = *static_cast<std::string_view*>(user);
  const size_t count = std::min(room, left.size());
  std::memcpy(to, left.data(), count);
  left.remove_prefix(count);
  return count;
}

Outcome SendTo(const Mail& mail, bool all_recipients, const Connection& connection,
               const Cancelled& cancelled) {
  Transfer transfer(connection, cancelled);
  const bool tls = mail.encryption == Mail::Encryption::kTls;
  const std::string host = mail.server.find(':') != std::string::npos
                               ? absl::StrCat("[", mail.server, "]")
                               : mail.server;
  const std::string url = absl::StrCat(tls ? "smtps" : "smtp", "://", host, ":", mail.port);
  std::vector<std::string> recipients;
  for (const std::string& to : mail.to) recipients.push_back(absl::StrCat("<", to, ">"));
  const List list = ToList(recipients);
  std::string_view left = mail.message;
  transfer.Set(CURLOPT_URL, url.c_str());
  transfer.Set(CURLOPT_PROTOCOLS_STR, "smtp,smtps");
  transfer.Set(CURLOPT_PROXY, "");
  transfer.Set(CURLOPT_USE_SSL,
               static_cast<long>(mail.encryption == Mail::Encryption::kStartTls ? CURLUSESSL_ALL
                                                                                : CURLUSESSL_NONE));
  if (!mail.user.empty()) {
    transfer.Set(CURLOPT_USERNAME, mail.user.c_str());
    transfer.Set(CURLOPT_PASSWORD, mail.password.c_str());
  }
  transfer.Set(CURLOPT_MAIL_FROM, absl::StrCat("<", mail.from, ">").c_str());
  transfer.Set(CURLOPT_MAIL_RCPT, list.get());
  transfer.Set(CURLOPT_MAIL_RCPT_ALLLOWFAILS, all_recipients ? 0L : 1L);
  transfer.Set(CURLOPT_UPLOAD, 1L);
  transfer.Set(CURLOPT_READFUNCTION, ReadMessage);
  transfer.Set(CURLOPT_READDATA, &left);
  transfer.Set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(mail.message.size()));
  const absl::Status status = transfer.Perform();
  if (!absl::IsUnavailable(status)) return status;
  const long code = transfer.code();
  const bool passing = code >= 400 && code < 500;
  if (code >= 500 || (transfer.result() == CURLE_LOGIN_DENIED && !passing)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the mail server refuses it: ", std::string(status.message())));
  }
  return status;
}

}  // namespace

Outcome Post(const HttpPost& post, const Connection& connection, const Cancelled& cancelled) {
  Transfer transfer(connection, cancelled);
  std::vector<std::string> headers = post.headers;
  headers.push_back("Content-Type: application/json; charset=utf-8");
  headers.push_back("Expect:");
  const List list = ToList(headers);
  transfer.Set(CURLOPT_URL, post.url.c_str());
  transfer.Set(CURLOPT_PROTOCOLS_STR, connection.plain_http ? "http,https" : "https");
  transfer.Set(CURLOPT_USERAGENT, "trainyard");
  transfer.Set(CURLOPT_HTTPHEADER, list.get());
  transfer.Set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(post.body.size()));
  transfer.Set(CURLOPT_POSTFIELDS, post.body.c_str());
  if (auto status = transfer.Perform(); !status.ok()) return status;
  return Judge(transfer.code(), transfer.retry_after_ms());
}

Outcome Send(const Mail& mail, const Connection& connection, const Cancelled& cancelled) {
  Outcome outcome = SendTo(mail, /*all_recipients=*/true, connection, cancelled);
  if (absl::IsInvalidArgument(outcome.status) && mail.to.size() > 1) {
    return SendTo(mail, /*all_recipients=*/false, connection, cancelled);
  }
  return outcome;
}

}  // namespace trainyard::coordinator
