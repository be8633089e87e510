// Those who watch the loop see every event once and in order.
#include <thread>

#include "coordinator/loop.h"
#include "tests/coordinator/loop_fixture.h"

namespace trainyard::coordinator {
namespace {

using namespace std::chrono_literals;

// ---- Watching ----

TEST_F(LoopTest, WatchersSeeEveryEventOnceInOrderWhereverTheyBeginAndHoweverTheyRead) {
  Close();
  options_.recent_max = 8;  // so that most is read from the records
  Open();
  constexpr int kProjects = 60;
  std::vector<core::ProjectId> projects;
  for (int i = 0; i < kProjects; ++i) projects.push_back(AddProject(std::to_string(i)));
  std::vector<std::thread> watchers;
  std::vector<std::vector<int64_t>> seen(6);
  for (size_t w = 0; w < seen.size(); ++w) {
    watchers.emplace_back([&, w] {
      const auto watch = loop_->WatchEvents({}, 0, {});
      while (seen[w].size() < kProjects) {
        if (!watch->Wait(kLong)) break;
        const auto events = watch->Take(1 + static_cast<int>(w) * 3);
        ASSERT_TRUE(events.ok()) << events.status();
        for (const v1::Event& event : *events) seen[w].push_back(event.cursor());
      }
    });
  }
  std::vector<std::thread> posters;
  for (size_t p = 0; p < 3; ++p) {
    posters.emplace_back([&, p] {
      for (size_t i = p; i < kProjects; i += 3) loop_->Post(core::PushSeen{projects[i], "c"});
    });
  }
  for (std::thread& thread : posters) thread.join();
  for (std::thread& thread : watchers) thread.join();
  std::vector<int64_t> expected;
  for (int64_t cursor = 1; cursor <= kProjects; ++cursor) expected.push_back(cursor);
  for (const auto& cursors : seen) EXPECT_EQ(cursors, expected);

  // From the middle, also after a restart.
  Close();
  Open();
  const auto late = loop_->WatchEvents({}, 55, {})->Take(100);
  ASSERT_EQ(late->size(), 5u);
  EXPECT_EQ(late->front().cursor(), 56);
}

TEST_F(LoopTest, AWatchOfOneJobSeesThatJobOnly) {
  Close();
  options_.recent_max = 3;
  Open();
  for (int i = 1; i <= 6; ++i) Submit(i);
  for (const int64_t after : {0, 5, 9}) {
    const auto watch = loop_->WatchEvents({6}, after, {});
    std::vector<v1::Event> events;
    while (watch->Wait(0ms)) {
      const auto page = watch->Take(2);
      ASSERT_TRUE(page.ok());
      events.insert(events.end(), page->begin(), page->end());
    }
    ASSERT_FALSE(events.empty());
    for (const v1::Event& event : events) EXPECT_EQ(event.job(), 6);
    EXPECT_EQ(events.front().kind(), "job_created");
    EXPECT_EQ(watch->cursor(), loop_->last_cursor());
  }
}

TEST_F(LoopTest, NewsIsAnnouncedAndNeverToAWatchThatIsGone) {
  std::mutex mutex;
  std::condition_variable changed;
  int calls = 0;
  auto watch = loop_->WatchEvents({}, 0, [&] {
    std::lock_guard lock(mutex);
    ++calls;
    changed.notify_all();
  });
  const core::ProjectId project = AddProject("a");
  loop_->Post(core::PushSeen{project, "c1"});
  {
    std::unique_lock lock(mutex);
    EXPECT_TRUE(changed.wait_for(lock, kLong, [&] { return calls > 0; }));
  }
  watch.reset();
  const int before = calls;
  loop_->Post(core::PushSeen{project, "c2"});
  Drain();
  EXPECT_EQ(calls, before);
}

TEST_F(LoopTest, ACursorOfOtherRecordsIsRefused) {
  EXPECT_EQ(loop_->WatchEvents({}, 17, {})->Take(1).status().code(), absl::StatusCode::kOutOfRange);
}

TEST_F(LoopTest, AWatchEndsWithTheLoopAfterEverythingWasTaken) {
  const core::ProjectId project = AddProject("a");
  loop_->Post(core::PushSeen{project, "c"});
  Drain();
  std::atomic<int> news{0};
  const auto watch = loop_->WatchEvents({}, 0, [&] { ++news; });
  loop_->Stop();
  EXPECT_EQ(news, 1);
  ASSERT_EQ(watch->Take(10)->size(), 1u);
  EXPECT_TRUE(absl::IsUnavailable(watch->Take(10).status()));
  EXPECT_FALSE(watch->Wait(kLong));
}

}  // namespace
}  // namespace trainyard::coordinator
