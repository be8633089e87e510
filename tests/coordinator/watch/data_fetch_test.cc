// Shows that data come from https alone, are held to their hash, and lead nowhere a stranger may
// not go.
#include "coordinator/watch/data_fetch.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace trainyard::coordinator {
namespace {

using ::testing::HasSubstr;

class DataFetchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "trainyard-fetch-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    auto blobs = Blobs::Open(folder_ / "blobs");
    ASSERT_TRUE(blobs.ok()) << blobs.status();
    blobs_ = *std::move(blobs);
    sha256_ = *blobs_->Put("some bytes");
    blobs_->Remove(sha256_);
    StartServer();
    options_.private_addresses = true;
    options_.certificates = folder_ / "certificate.pem";
  }

  void TearDown() override {
    close(to_server_);
    waitpid(server_, nullptr, 0);
    std::filesystem::remove_all(folder_);
  }

  void StartServer() {
    int input[2], output[2];
    ASSERT_EQ(pipe(input), 0);
    ASSERT_EQ(pipe(output), 0);
    server_ = fork();
    if (server_ == 0) {
      dup2(input[0], STDIN_FILENO);
      dup2(output[1], STDOUT_FILENO);
      for (const int fd : {input[0], input[1], output[0], output[1]}) close(fd);
      execlp("python3", "python3", HTTPS_SERVER, folder_.c_str(), nullptr);
      _exit(127);
    }
    close(input[0]);
    close(output[1]);
    to_server_ = input[1];
    FILE* lines = fdopen(output[0], "r");
    ASSERT_EQ(fscanf(lines, "%d", &port_), 1) << "the server did not start";
    fclose(lines);
  }

  absl::Status Fetch(const std::string& path, const std::string& sha256) {
    return FetchData(
        absl::StrCat("https://localhost:", port_, path), sha256, options_,
        [this] { return cancelled_; }, blobs_.get());
  }

  std::filesystem::path folder_;
  std::unique_ptr<Blobs> blobs_;
  std::string sha256_;
  DataFetchOptions options_;
  bool cancelled_ = false;
  pid_t server_ = -1;
  int to_server_ = -1;
  int port_ = 0;
};

TEST_F(DataFetchTest, AFileIsFetchedOnceAndThenKnown) {
  ASSERT_TRUE(Fetch("/moved", sha256_).ok());
  EXPECT_TRUE(blobs_->Verify(sha256_).ok());
  EXPECT_TRUE(Fetch("/no-longer-there", sha256_).ok());
}

TEST_F(DataFetchTest, AnotherHashIsAFinalError) {
  const absl::Status status = Fetch("/file", std::string(64, 'a'));
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(sha256_));
  EXPECT_FALSE(blobs_->Has(sha256_));
}

TEST_F(DataFetchTest, WhatIsNotThereIsFinalAndWhatIsBusyIsNot) {
  EXPECT_TRUE(absl::IsInvalidArgument(Fetch("/nothing", sha256_)));
  EXPECT_TRUE(absl::IsUnavailable(Fetch("/busy", sha256_)));
}

TEST_F(DataFetchTest, ATooLargeFileIsGivenUp) {
  options_.bytes_max = 1 << 20;
  const absl::Status status = Fetch("/endless", std::string(64, 'a'));
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("more than 1048576 bytes"));
}

TEST_F(DataFetchTest, PrivateAddressesAreRefusedUnlessAllowed) {
  options_.private_addresses = false;
  const absl::Status status = Fetch("/file", sha256_);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("private"));
}

TEST_F(DataFetchTest, ARedirectAwayFromHttpsIsNotFollowed) {
  EXPECT_FALSE(Fetch("/insecure", sha256_).ok());
  EXPECT_FALSE(blobs_->Has(sha256_));
}

TEST_F(DataFetchTest, AnUnknownCertificateIsRefused) {
  options_.certificates = "";
  EXPECT_FALSE(Fetch("/file", sha256_).ok());
}

TEST_F(DataFetchTest, OtherSchemesAndMissingHashesAreRefused) {
  const auto never = [] { return false; };
  for (const char* url :
       {"http://localhost/x", "file:///etc/passwd", "", "-x", "ftp://localhost/x"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(FetchData(url, sha256_, options_, never, blobs_.get())))
        << url;
  }
  EXPECT_TRUE(absl::IsInvalidArgument(Fetch("/file", "")));
}

TEST_F(DataFetchTest, AStopEndsIt) {
  cancelled_ = true;
  EXPECT_TRUE(absl::IsCancelled(Fetch("/endless", sha256_)));
}

}  // namespace
}  // namespace trainyard::coordinator
