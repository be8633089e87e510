// What the tests of the pools file start from.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "coordinator/launch/pools_file.h"
#include "tests/coordinator/source/temp_folder.h"

namespace trainyard::coordinator {

// A folder with the PEM files that pools name; reads text as if it were pools.yaml there.
class PoolsFolder {
 public:
  PoolsFolder() {
    for (const char* name : {"ca.pem", "cert.pem", "key.pem"}) folder_.Write(name, "PEM");
  }

  const TempFolder& folder() const { return folder_; }
  absl::StatusOr<std::vector<PoolConfig>> Read(const std::string& text) const {
    return ReadPoolsText(text, folder_ / "pools.yaml");
  }
  std::vector<PoolConfig> Accepted(const std::string& text) const {
    auto pools = Read(text);
    EXPECT_TRUE(pools.ok()) << pools.status().message() << "\n" << text;
    return pools.ok() ? *pools : std::vector<PoolConfig>();
  }
  // The message, with the file's folder left out.
  std::string Refusal(const std::string& text) const {
    auto pools = Read(text);
    EXPECT_EQ(pools.status().code(), absl::StatusCode::kInvalidArgument) << text.substr(0, 2'000);
    std::string message(pools.status().message());
    const std::string here = folder_.path().string() + "/";
    for (size_t at; (at = message.find(here)) != message.npos;) message.erase(at, here.size());
    return message;
  }

 private:
  TempFolder folder_;
};

}  // namespace trainyard::coordinator
