// What the worker refuses to fetch for a stranger's spec.
#include "worker/agent/https.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace trainyard::agent {
namespace {

absl::Status Fetch(const std::string& url) {
  AttemptControl control;
  return FetchHttps(
      url, 0, [](std::string_view) { return absl::OkStatus(); }, {}, control);
}

// Without it libcurl does not get as far as asking for a socket.
bool HasIpv6() {
  const int handle = socket(AF_INET6, SOCK_STREAM, 0);
  if (handle >= 0) close(handle);
  return handle >= 0;
}

TEST(HttpsTest, OtherSchemesAreRefused) {
  for (const std::string url : {"http://example.com/x", "file:///etc/passwd", "ftp://example.com/x",
                                "-x", "https//x", ""}) {
    const absl::Status status = Fetch(url);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << url;
    EXPECT_THAT(status.ToString(), testing::HasSubstr("https://"));
  }
}

TEST(HttpsTest, LoopbackPrivateAndLinkLocalAddressesAreRefused) {
  for (const std::string host :
       {"127.0.0.1", "127.1", "2130706433", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1",
        "169.254.169.254", "100.64.0.1", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1]", "[fd00::1]",
        "localhost"}) {
    if (host[0] == '[' && !HasIpv6()) continue;
    const absl::Status status = Fetch("https://" + host + ":1/data");
    EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied) << host << ": " << status;
  }
}

TEST(HttpsTest, AStopEndsIt) {
  AttemptControl control;
  control.RequestStop({.reason = "enough"});
  const absl::Status status = FetchHttps(
      "https://127.0.0.1:1/", 0, [](std::string_view) { return absl::OkStatus(); },
      {.private_addresses = true}, control);
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace trainyard::agent
