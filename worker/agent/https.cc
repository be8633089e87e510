#include "worker/agent/https.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <unistd.h>

#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace trainyard::agent {
namespace {

struct Transfer {
  const std::function<absl::Status(std::string_view)>& sink;
  const HttpsOptions& options;
  AttemptControl& control;
  CURL* curl;
  int64_t offset;
  absl::Status failure;
};

bool IsPrivate(uint32_t address) {  // IPv4, host order
  const auto within = [address](uint32_t network, int bits) {
    return (address >> (32 - bits)) == (network >> (32 - bits));
  };
  return within(0x00000000, 8) || within(0x0a000000, 8) || within(0x64400000, 10) ||
         within(0x7f000000, 8) || within(0xa9fe0000, 16) || within(0xac100000, 12) ||
         within(0xc0000000, 24) || within(0xc0a80000, 16) || within(0xc6120000, 15) ||
         within(0xe0000000, 3);
}

bool IsPrivate(const in6_addr& address) {
  const uint8_t* b = address.s6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&address) || IN6_IS_ADDR_V4COMPAT(&address)) {
    return IsPrivate(uint32_t{b[12]} << 24 | uint32_t{b[13]} << 16 | uint32_t{b[14]} << 8 | b[15]);
  }
  // Also unique local, link-local and site-local, multicast, NAT64.
  return IN6_IS_ADDR_LOOPBACK(&address) || IN6_IS_ADDR_UNSPECIFIED(&address) ||
         (b[0] & 0xfe) == 0xfc || (b[0] == 0xfe && (b[1] & 0x80) == 0x80) || b[0] == 0xff ||
         (b[0] == 0x00 && b[1] == 0x64);
}

// Called with the address that a name resolved to, so that no later resolution can differ.
curl_socket_t OpenSocket(void* data, curlsocktype, curl_sockaddr* address) {
  auto& transfer = *static_cast<Transfer*>(data);
  const bool refused =
      (address->family == AF_INET &&
       IsPrivate(ntohl(reinterpret_cast<sockaddr_in*>(&address->addr)->sin_addr.s_addr))) ||
      (address->family == AF_INET6 &&
       IsPrivate(reinterpret_cast<sockaddr_in6*>(&address->addr)->sin6_addr));
  if (refused && !transfer.options.private_addresses) {
    transfer.failure = absl::PermissionDeniedError(
        "it leads to a loopback, private or link-local address, which this worker does not fetch");
    return CURL_SOCKET_BAD;
  }
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

size_t OnData(char* data, size_t, size_t size, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  long code = 0;
  curl_easy_getinfo(transfer.curl, CURLINFO_RESPONSE_CODE, &code);
  if (transfer.offset > 0 && code == 200) {
    transfer.failure = absl::OutOfRangeError("the server sends whole files only");
    return 0;
  }
  transfer.failure = transfer.sink({data, size});
  return transfer.failure.ok() ? size : 0;
}

int OnProgress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<Transfer*>(user)->control.wish() >= Wish::kStop ? 1 : 0;
}

absl::Status Explain(const std::string& url, Transfer& transfer, CURLcode result) {
  if (transfer.control.wish() >= Wish::kStop) {
    return absl::CancelledError(transfer.control.reason());
  }
  long code = 0;
  curl_easy_getinfo(transfer.curl, CURLINFO_RESPONSE_CODE, &code);
  if (!transfer.failure.ok()) {
    return {transfer.failure.code(), absl::StrCat(url, ": ", transfer.failure.message())};
  }
  if (result == CURLE_OK) return absl::OkStatus();
  if (result == CURLE_HTTP_RETURNED_ERROR) {
    const std::string message = absl::StrCat(url, ": HTTP status ", code);
    if (code == 416) return absl::OutOfRangeError(message);
    if (code == 404 || code == 410) return absl::NotFoundError(message);
    return absl::UnavailableError(message);
  }
  const std::string message = absl::StrCat(url, ": ", curl_easy_strerror(result));
  if (result == CURLE_UNSUPPORTED_PROTOCOL || result == CURLE_URL_MALFORMAT) {
    return absl::InvalidArgumentError(message);
  }
  return absl::UnavailableError(message);
}

}  // namespace

absl::Status FetchHttps(const std::string& url, int64_t offset,
                        const std::function<absl::Status(std::string_view)>& sink,
                        const HttpsOptions& options, AttemptControl& control) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (initialised != CURLE_OK) return absl::InternalError("libcurl does not start");
  if (!absl::StartsWithIgnoreCase(url, "https://")) {
    return absl::InvalidArgumentError(absl::StrCat("\"", url, "\": expected an https:// URL"));
  }
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(),
                                                                 &curl_easy_cleanup);
  if (!curl) return absl::InternalError("libcurl gives no handle");
  Transfer transfer{sink, options, control, curl.get(), offset, absl::OkStatus()};
  CURL* c = curl.get();
  curl_easy_setopt(c, CURLOPT_URL, url.c_str());
  curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "https");
  curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, "https");
  curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(c, CURLOPT_MAXREDIRS, 5L);
  curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, 20L);
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 100L);  // bytes a second, over LOW_SPEED_TIME:
  curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, 60L);    // a server that has gone silent
  curl_easy_setopt(c, CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(offset));
  curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, OpenSocket);
  curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, &transfer);
  curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, OnData);
  curl_easy_setopt(c, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, OnProgress);
  curl_easy_setopt(c, CURLOPT_XFERINFODATA, &transfer);
  if (!options.certificates.empty()) {
    curl_easy_setopt(c, CURLOPT_CAINFO, options.certificates.c_str());
  }
  return Explain(url, transfer, curl_easy_perform(c));
}

}  // namespace trainyard::agent
