// Shows that a new tip is taken up once, that errors are shown and do not stop the watching, and
// that what may pass is tried again.
#include "coordinator/watch/project_watcher.h"

#include <filesystem>
#include <functional>
#include <thread>

#include "coordinator/store/records.h"
#include "gtest/gtest.h"

namespace trainyard::coordinator {
namespace {

constexpr char kShoes[] = "/srv/shoes.git";
constexpr auto kPatience = std::chrono::seconds(60);

// Repositories that say what the test wants.
class ScriptedPreparer final : public SourcePreparer {
 public:
  void Cancel() override {}
  absl::Status CheckUrl(const std::string&) const override { return absl::OkStatus(); }
  absl::StatusOr<std::string> Tip(const std::string& url, const std::string&) override {
    std::lock_guard lock(mutex_);
    ++tips_[url];
    return tip_;
  }
  absl::StatusOr<core::JobRequest> FromRepository(const std::string& url, const std::string& commit,
                                                  const SpecWishes&) override {
    std::lock_guard lock(mutex_);
    ++prepared_;
    if (!failure_.ok()) return failure_;
    core::JobRequest request;
    request.name = "job";
    request.source = url;
    request.spec_hash = commit;
    request.snapshot_sha256 = std::string(64, '0');
    request.configuration.network.input = {1, 4, 4};
    request.configuration.network.classes = 2;
    request.configuration.network.layers.push_back({network::Flatten{}});
    request.configuration.network.layers.push_back({network::Dense{2, true}});
    return request;
  }
  absl::StatusOr<core::JobRequest> FromSnapshot(const std::string&, const std::string&,
                                                const SpecWishes&) override {
    return absl::UnimplementedError("not asked for here");
  }
  absl::StatusOr<v1::Detection> Detect(const v1::DetectRequest&) override {
    return absl::UnimplementedError("not asked for here");
  }
  absl::StatusOr<Accepted> AcceptUpload(const std::string&) override {
    return absl::UnimplementedError("not asked for here");
  }

  void SetTip(absl::StatusOr<std::string> tip) {
    std::lock_guard lock(mutex_);
    tip_ = std::move(tip);
  }
  void SetFailure(absl::Status failure) {
    std::lock_guard lock(mutex_);
    failure_ = std::move(failure);
  }
  int tips(const std::string& url) {
    std::lock_guard lock(mutex_);
    return tips_[url];
  }
  int prepared() {
    std::lock_guard lock(mutex_);
    return prepared_;
  }

 private:
  std::mutex mutex_;
  absl::StatusOr<std::string> tip_ = absl::NotFoundError("nothing was pushed yet");
  absl::Status failure_;
  std::map<std::string, int> tips_;
  int prepared_ = 0;
};

class PreparingOnly final : public Performer {
 public:
  void Perform(const core::Effect& effect, const core::State& state) override {
    if (const auto* prepare = std::get_if<core::PrepareSource>(&effect)) {
      watcher->Prepare(*prepare, state.projects.at(prepare->project));
    }
  }
  void LoopBroken(const absl::Status& why) override { ADD_FAILURE() << why; }
  ProjectWatcher* watcher = nullptr;
};

class ProjectWatcherTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "trainyard-watch-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    auto records = Records::Open(folder_);
    ASSERT_TRUE(records.ok()) << records.status();
    records_ = *std::move(records);
    const Loop::Options options;
    auto loop = Loop::Open(options, records_.get(), &performer_);
    ASSERT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
    watcher_ = std::make_unique<ProjectWatcher>(WatcherOptions{5, 5, 2}, loop_.get(), &preparer_);
    performer_.watcher = watcher_.get();
    loop_->Start();
    project_ = Add("shoes", kShoes);
  }
  void TearDown() override {
    loop_->Stop();
    watcher_.reset();
    loop_.reset();
    records_.reset();
    std::filesystem::remove_all(folder_);
  }

  core::ProjectId Add(const std::string& name, const std::string& url) {
    const auto added = loop_->Ask(core::ProjectAdded{{}, name, url, "main"}, kPatience);
    EXPECT_TRUE(added.ok()) << added.status();
    return core::ProjectId{added.ok() ? added->id : 0};
  }
  bool WaitFor(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
  }
  size_t Jobs() {
    return loop_->Read([](const core::State& state) { return state.jobs.size(); });
  }
  std::string LastError() {
    return loop_->Read(
        [&](const core::State& state) { return state.projects.at(project_).last_error; });
  }
  // Two more looks have begun and so one has ended: what was there to be seen was seen.
  bool LookTwice(const std::string& url = kShoes) {
    const int before = preparer_.tips(url);
    return WaitFor([&] { return preparer_.tips(url) >= before + 2; });
  }

  std::filesystem::path folder_;
  ScriptedPreparer preparer_;
  PreparingOnly performer_;
  std::unique_ptr<Records> records_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<ProjectWatcher> watcher_;
  core::ProjectId project_;
};

TEST_F(ProjectWatcherTest, ANewTipBecomesOneJob) {
  preparer_.SetTip(std::string(40, 'a'));
  ASSERT_TRUE(WaitFor([&] { return Jobs() == 1; }));
  ASSERT_TRUE(LookTwice());
  EXPECT_EQ(Jobs(), 1u);
  EXPECT_EQ(preparer_.prepared(), 1);
  preparer_.SetTip(std::string(40, 'b'));
  ASSERT_TRUE(WaitFor([&] { return Jobs() == 2; }));
}

TEST_F(ProjectWatcherTest, AnErrorIsShownUntilItHasPassedAndDoesNotStopTheWatching) {
  ASSERT_TRUE(WaitFor([&] { return watcher_->ErrorOf(project_) == "nothing was pushed yet"; }));
  preparer_.SetTip(absl::UnavailableError("no route to host"));
  ASSERT_TRUE(WaitFor([&] { return watcher_->ErrorOf(project_) == "no route to host"; }));
  preparer_.SetTip(std::string(40, 'a'));
  ASSERT_TRUE(WaitFor([&] { return watcher_->ErrorOf(project_).empty(); }));
  ASSERT_TRUE(WaitFor([&] { return Jobs() == 1; }));
}

TEST_F(ProjectWatcherTest, ACommitThatCannotBeTakenUpIsRefusedWithItsReasonAndNotTriedAgain) {
  preparer_.SetFailure(absl::InvalidArgumentError("trainyard.yaml:3:1: no such key"));
  preparer_.SetTip(std::string(40, 'a'));
  ASSERT_TRUE(WaitFor([&] { return LastError() == "trainyard.yaml:3:1: no such key"; }));
  ASSERT_TRUE(LookTwice());
  EXPECT_EQ(preparer_.prepared(), 1);
  preparer_.SetFailure(absl::OkStatus());
  preparer_.SetTip(std::string(40, 'b'));
  ASSERT_TRUE(WaitFor([&] { return Jobs() == 1; }));
}

TEST_F(ProjectWatcherTest, WhatMayPassIsTriedAgain) {
  preparer_.SetFailure(absl::UnavailableError("connection reset"));
  preparer_.SetTip(std::string(40, 'a'));
  ASSERT_TRUE(WaitFor([&] { return preparer_.prepared() >= 1; }));
  EXPECT_EQ(Jobs(), 0u);
  preparer_.SetFailure(absl::OkStatus());
  ASSERT_TRUE(WaitFor([&] { return Jobs() == 1; }));
}

TEST_F(ProjectWatcherTest, ARemovedProjectIsAskedNoMore) {
  ASSERT_TRUE(LookTwice());
  ASSERT_TRUE(loop_->Ask(core::ProjectRemoved{{}, project_}, kPatience).ok());
  EXPECT_EQ(watcher_->Poke("shoes"), 0);
  // A look may be under way; while another project is looked at again and again, no other begins.
  Add("boots", "/srv/boots.git");
  ASSERT_TRUE(LookTwice("/srv/boots.git"));
  const int tips = preparer_.tips(kShoes);
  ASSERT_TRUE(LookTwice("/srv/boots.git"));
  EXPECT_EQ(preparer_.tips(kShoes), tips);
}

TEST_F(ProjectWatcherTest, AHintNamesProjectsByNameOrUrl) {
  EXPECT_EQ(watcher_->Poke("shoes"), 1);
  EXPECT_EQ(watcher_->Poke("/srv/shoes.git"), 1);
  EXPECT_EQ(watcher_->Poke("boots"), 0);
  Add("boots", "git@example.org:team/boots.git");
  EXPECT_EQ(watcher_->Poke("https://example.org/team/boots"), 1) << "the same repository";
}

// Polls an hour apart.
TEST_F(ProjectWatcherTest, AHintIsFollowedAtOnceAndIsNamedAsWhatSawThePush) {
  watcher_.reset();
  preparer_.SetTip(std::string(40, 'a'));
  watcher_ = std::make_unique<ProjectWatcher>(WatcherOptions{3'600'000, 3'600'000, 2}, loop_.get(),
                                              &preparer_);
  performer_.watcher = watcher_.get();
  ASSERT_TRUE(WaitFor([&] { return Jobs() == 1; }));
  EXPECT_EQ(watcher_->LastSeen(project_).by, "poll");
  preparer_.SetTip(std::string(40, 'b'));
  watcher_->Poke({project_}, "hook github");
  ASSERT_TRUE(WaitFor([&] { return Jobs() == 2; }));
  EXPECT_EQ(watcher_->LastSeen(project_).by, "hook github");
  EXPECT_GT(watcher_->LastSeen(project_).wall_ms, 0);
  // One that finds nothing new leaves what was seen.
  const int looks = preparer_.tips(kShoes);
  watcher_->Poke({project_}, "hook push");
  ASSERT_TRUE(WaitFor([&] { return preparer_.tips(kShoes) > looks; }));
  EXPECT_EQ(watcher_->LastSeen(project_).by, "hook github");
}

TEST(IsLocal, TellsPathsFromHosts) {
  for (const char* here : {"/srv/shoes.git", "file:///srv/shoes.git", "./shoes", "shoes"}) {
    EXPECT_TRUE(IsLocal(here)) << here;
  }
  for (const char* there : {"https://example.org/shoes", "git@example.org:shoes", "ssh://h/x"}) {
    EXPECT_FALSE(IsLocal(there)) << there;
  }
}

}  // namespace
}  // namespace trainyard::coordinator
