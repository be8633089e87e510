#include "coordinator/watch/data_fetch.h"

#include <curl/curl.h>
#include <sys/socket.h>

#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "coordinator/source/private_address.h"

namespace trainyard::coordinator {
namespace {

struct Transfer {
  const DataFetchOptions& options;
  const std::function<bool()>& cancelled;
  Blobs::Writer& writer;
  int64_t bytes = 0;
  absl::Status failure;
};

// Called with the address that a name was resolved to, so that no later resolution can differ.
curl_socket_t OpenSocket(void* data, curlsocktype, curl_sockaddr* address) {
  Transfer& transfer = *static_cast<Transfer*>(data);
  if (!transfer.options.private_addresses && IsPrivateAddress(&address->addr)) {
    transfer.failure = absl::InvalidArgumentError(
        "leads to a private or local network, which this coordinator does not allow");
    return CURL_SOCKET_BAD;
  }
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

size_t OnData(char* data, size_t, size_t size, void* user) {
  Transfer& transfer = *static_cast<Transfer*>(user);
  transfer.bytes += static_cast<int64_t>(size);
  if (transfer.bytes > transfer.options.bytes_max) {
    transfer.failure = absl::InvalidArgumentError(
        absl::StrCat("has more than ", transfer.options.bytes_max, " bytes"));
    return 0;
  }
  transfer.failure = transfer.writer.Append({data, size});
  return transfer.failure.ok() ? size : 0;
}

int OnProgress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<Transfer*>(user)->cancelled() ? 1 : 0;
}

void SetUp(CURL* curl, const std::string& url, Transfer& transfer) {
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https");
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 5L);
  curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  // A proxy would be asked for the private addresses that we refuse to open ourselves.
  if (!transfer.options.private_addresses) curl_easy_setopt(curl, CURLOPT_PROXY, "");
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 20L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 100L);  // bytes a second, over
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, 60L);    // so many seconds
  curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, OpenSocket);
  curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, OnData);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, OnProgress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
  if (!transfer.options.certificates.empty()) {
    curl_easy_setopt(curl, CURLOPT_CAINFO, transfer.options.certificates.c_str());
  }
}

absl::Status Explain(CURL* curl, CURLcode result, const Transfer& transfer) {
  if (transfer.cancelled()) return absl::CancelledError("the coordinator is stopping");
  if (!transfer.failure.ok()) return transfer.failure;
  if (result == CURLE_OK) return absl::OkStatus();
  if (result == CURLE_HTTP_RETURNED_ERROR) {
    long code = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    const std::string message = absl::StrCat("the server answers with HTTP status ", code);
    const bool final = code >= 400 && code < 500 && code != 408 && code != 429;
    return final ? absl::InvalidArgumentError(message) : absl::UnavailableError(message);
  }
  if (result == CURLE_UNSUPPORTED_PROTOCOL || result == CURLE_URL_MALFORMAT) {
    return absl::InvalidArgumentError(curl_easy_strerror(result));
  }
  return absl::UnavailableError(curl_easy_strerror(result));
}

absl::Status Fetch(const std::string& url, const std::string& sha256,
                   const DataFetchOptions& options, const std::function<bool()>& cancelled,
                   Blobs* blobs) {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (initialised != CURLE_OK) return absl::InternalError("libcurl does not start");
  auto writer = blobs->Create();
  if (!writer.ok()) return writer.status();
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(),
                                                                 &curl_easy_cleanup);
  if (curl == nullptr) return absl::InternalError("libcurl gives no handle");
  Transfer transfer{options, cancelled, **writer, 0, absl::OkStatus()};
  SetUp(curl.get(), url, transfer);
  const CURLcode result = curl_easy_perform(curl.get());
  if (auto status = Explain(curl.get(), result, transfer); !status.ok()) return status;
  const absl::Status stored = (*writer)->Commit(sha256).status();
  // Of another file, that is: nothing to try again.
  if (absl::IsDataLoss(stored)) return absl::InvalidArgumentError(stored.message());
  return stored;
}

}  // namespace

absl::Status FetchData(const std::string& url, const std::string& sha256,
                       const DataFetchOptions& options, const std::function<bool()>& cancelled,
                       Blobs* blobs) {
  if (!absl::StartsWithIgnoreCase(url, "https://")) {
    return absl::InvalidArgumentError(absl::StrCat(url, ": expected an https:// URL"));
  }
  if (sha256.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(url, ": expected its sha256 beside it"));
  }
  if (blobs->Has(sha256) && blobs->Verify(sha256).ok()) return absl::OkStatus();
  const absl::Status status = Fetch(url, sha256, options, cancelled, blobs);
  if (status.ok()) return status;
  return {status.code(), absl::StrCat(url, ": ", std::string(status.message()))};
}

}  // namespace trainyard::coordinator
