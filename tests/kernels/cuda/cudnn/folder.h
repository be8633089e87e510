// A folder that goes with the test.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace trainyard::kernels::cuda::testing {

struct Folder {
  Folder() : path(::testing::TempDir() + "cudnn-XXXXXX") {
    if (mkdtemp(path.data()) == nullptr) std::abort();
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  Folder(const Folder&) = delete;

  std::string path;
};

}  // namespace trainyard::kernels::cuda::testing
