// Who a call comes from, and the access folders that are handed out.
#include "coordinator/access/access.h"

#include <set>

#include "coordinator/access/private_files.h"
#include "gmock/gmock.h"
#include "tests/coordinator/access/folder.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class AccessTest : public FolderTest {
 protected:
  absl::Status Open(AccessOptions options) {
    access_.reset();
    options.folder = folder_ / "access";
    options.launch_lives = [this](int64_t launch) { return lives_.contains(launch); };
    auto access = Access::Open(std::move(options), &clock_);
    if (access.ok()) access_ = *std::move(access);
    return access.status();
  }
  absl::StatusOr<Caller> Show(const std::string& token, bool tls = true) {
    return access_->Identify({.authorization = {"Bearer " + token}, .tls = tls});
  }
  std::string Line(const fs::path& path) {
    std::string text = Read(path);
    EXPECT_TRUE(text.ends_with("\n")) << path;
    return text.substr(0, text.size() - 1);
  }
  static std::vector<std::string> Names(const AccessFiles& files) {
    std::vector<std::string> names;
    for (const auto& [name, content] : files) names.push_back(name);
    return names;
  }

  SetClock clock_;
  std::set<int64_t> lives_ = {7};
  std::unique_ptr<Access> access_;
};

TEST_F(AccessTest, OnPlainAddressesNobodyIsAskedUnlessItIsWanted) {
  ASSERT_TRUE(Open({}).ok());
  EXPECT_EQ(access_->Identify({})->kind, Caller::Kind::kAnyone);
  EXPECT_EQ(Show("nonsense", /*tls=*/false)->kind, Caller::Kind::kAnyone);
  EXPECT_THAT(access_->admin_folder(), IsEmpty());
  EXPECT_THAT(*access_->Issuer(false)(7), IsEmpty());
  ASSERT_TRUE(Open({.require_token = true}).ok());
  EXPECT_EQ(access_->Identify({}).status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_THAT(Names(*access_->Issuer(false)(7)), ElementsAre("token"));
}

TEST_F(AccessTest, TheFirstStartHandsOutAFolderForPeopleAndOneForWorkers) {
  ASSERT_TRUE(Open({.tls = true, .require_client_certs = true}).ok());
  const fs::path admin = access_->admin_folder(), worker = access_->worker_folder();
  for (const fs::path& folder : {admin, worker}) {
    EXPECT_EQ(Mode(folder), 0700u);
    for (const auto& file : fs::directory_iterator(folder)) EXPECT_EQ(Mode(file.path()), 0600u);
  }
  EXPECT_FALSE(fs::exists(admin / "key.pem"));
  EXPECT_TRUE(
      CheckKeyPair({Read(worker / "cert.pem"), Read(worker / "key.pem")}, access_->client_ca_pem())
          .ok());
  EXPECT_TRUE(CheckKeyPair(access_->server_pair(), Read(admin / "ca.pem")).ok());
  const std::string token = Line(admin / "token");
  EXPECT_EQ(Show(token)->role, v1::Token::ADMIN);
  EXPECT_EQ(Show(Line(worker / "token"))->role, v1::Token::JOIN);

  ASSERT_TRUE(Open({.tls = true}).ok());  // another start: the same tokens, less to show
  EXPECT_EQ(Line(admin / "token"), token);
  EXPECT_FALSE(fs::exists(worker / "key.pem"));
  EXPECT_EQ(access_->tokens().List().size(), 2u);
}

TEST_F(AccessTest, AFolderThatWasMovedAwayStaysAwayUntilNoAdminIsLeft) {
  ASSERT_TRUE(Open({.tls = true}).ok());
  fs::rename(folder_ / "access" / "admin", folder_ / "elsewhere");
  ASSERT_TRUE(Open({.tls = true}).ok());
  EXPECT_THAT(access_->admin_folder(), IsEmpty());
  EXPECT_TRUE(Show(Line(folder_ / "elsewhere" / "token")).ok());
  ASSERT_TRUE(access_->tokens().Revoke("admin").ok());
  ASSERT_TRUE(Open({.tls = true}).ok());
  EXPECT_EQ(Show(Line(fs::path(access_->admin_folder()) / "token"))->name, "admin");
  EXPECT_FALSE(Show(Line(folder_ / "elsewhere" / "token")).ok());
}

TEST_F(AccessTest, ANameThatIsTakenGivesTheFirstTokenAnother) {
  ASSERT_TRUE(Open({}).ok());
  ASSERT_TRUE(access_->tokens().Create("admin", v1::Token::VIEWER, 0).ok());
  ASSERT_TRUE(Open({.tls = true}).ok());
  EXPECT_EQ(Show(Line(fs::path(access_->admin_folder()) / "token"))->name, "admin-2");
}

TEST_F(AccessTest, ALaunchTokenLivesAsLongAsItsLaunch) {
  ASSERT_TRUE(Open({.tls = true, .require_client_certs = true}).ok());
  const auto files = access_->Issuer(true)(7);
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_THAT(Names(*files), ElementsAre("ca.pem", "cert.pem", "key.pem", "token"));
  const std::string token = files->at("token").substr(0, files->at("token").size() - 1);
  const auto caller = Show(token);
  ASSERT_TRUE(caller.ok()) << caller.status();
  EXPECT_EQ(caller->launch, 7);
  EXPECT_FALSE(Show(access_->Issuer(true)(8)->at("token").substr(0, 50)).ok());
  lives_.clear();
  EXPECT_THAT(std::string(Show(token).status().message()), HasSubstr("launch 7 is over"));
  EXPECT_EQ(access_->Recheck(*caller).code(), absl::StatusCode::kUnauthenticated);
}

TEST_F(AccessTest, WorkersShowACertificateWhereItIsRequired) {
  ASSERT_TRUE(Open({.tls = true, .require_client_certs = true}).ok());
  const std::string header = "Bearer " + Line(fs::path(access_->worker_folder()) / "token");
  const CallFacts without{.authorization = {header}, .tls = true};
  EXPECT_EQ(access_->IdentifyWorker(without).status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_TRUE(access_->Identify(without).ok());
  CallFacts with = without;
  with.client_certificate = true;
  EXPECT_TRUE(access_->IdentifyWorker(with).ok());
  EXPECT_TRUE(access_->IdentifyWorker({}).ok()) << "plain, on this machine";
}

TEST_F(AccessTest, AHeaderThatIsNoneOfOursIsRefused) {
  ASSERT_TRUE(Open({.tls = true}).ok());
  const std::string token = Line(fs::path(access_->admin_folder()) / "token");
  const auto identify = [&](std::vector<std::string> headers) {
    return access_->Identify({.authorization = std::move(headers), .tls = true});
  };
  EXPECT_TRUE(identify({"bearer " + token}).ok());
  for (const std::vector<std::string>& headers :
       std::vector<std::vector<std::string>>{{},
                                             {""},
                                             {token},
                                             {"Bearer"},
                                             {"Bearer "},
                                             {"Basic " + token},
                                             {"Bearer  " + token},
                                             {"Bearer " + token + " "},
                                             {"Bearer " + std::string(1 << 20, 'x')},
                                             {"Bearer " + token, "Bearer " + token},
                                             {std::string("Bearer \0", 8) + token}}) {
    const absl::Status status = identify(headers).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnauthenticated);
    EXPECT_THAT(std::string(status.message()), ::testing::Not(HasSubstr(token)));
  }
}

TEST_F(AccessTest, FlagsThatDoNotGoTogetherAreRefusedByName) {
  const auto why = [&](AccessOptions options) {
    const absl::Status status = Open(std::move(options));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(why({.tls = true, .tls_cert = "a"}), HasSubstr("--tls-key"));
  EXPECT_THAT(why({.tls = true, .tls_key = "a"}), HasSubstr("--tls-cert"));
  EXPECT_THAT(why({.tls = true, .tls_ca = "a"}), HasSubstr("--tls-ca"));
  EXPECT_THAT(why({.tls = true, .tls_client_ca = "a"}), HasSubstr("--require-client-certs"));
  EXPECT_THAT(why({.require_client_certs = true}), HasSubstr("only those are TLS"));
  EXPECT_THAT(why({.tls_cert = "a", .tls_key = "b"}), HasSubstr("only those are TLS"));
  EXPECT_THAT(why({.tls = true, .tls_cert = "/none", .tls_key = "b"}), HasSubstr("--tls-cert: "));
  EXPECT_THAT(why({.tls = true, .names = {"a,DNS:b"}}), HasSubstr("a,DNS:b"));
}

class PrivateFilesTest : public FolderTest {};

TEST_F(PrivateFilesTest, AnAccessFolderHoldsWhatIsGivenAndNothingFromBefore) {
  const fs::path folder = folder_ / "a" / "b";
  ASSERT_TRUE(WriteAccessFolder(folder, {{"token", "one"}, {"key.pem", "k"}}).ok());
  fs::permissions(folder, fs::perms::all);
  ASSERT_TRUE(WriteAccessFolder(folder, {{"token", "two"}}).ok());
  EXPECT_EQ(Mode(folder), 0700u);
  EXPECT_EQ(Read(folder / "token"), "two");
  EXPECT_FALSE(fs::exists(folder / "key.pem"));
}

TEST_F(PrivateFilesTest, ADraftLeftBehindIsNoObstacleAndNoWayOut) {
  Write(folder_ / "outside", "kept");
  fs::create_symlink(folder_ / "outside", folder_ / "secret.new");
  ASSERT_TRUE(WritePrivateFile(folder_ / "secret", "s").ok());
  EXPECT_EQ(Read(folder_ / "outside"), "kept");
  EXPECT_EQ(Read(folder_ / "secret"), "s");
  EXPECT_EQ(Mode(folder_ / "secret"), 0600u);
}

}  // namespace
}  // namespace trainyard::coordinator
