// A call that stays open is ended once its caller would be refused, and never after it is over.
#include "coordinator/access/open_calls.h"

#include <atomic>
#include <future>

#include "gtest/gtest.h"

namespace trainyard::coordinator {
namespace {

constexpr auto kPatience = std::chrono::seconds(60);

Caller Named(const std::string& name) {
  return {.kind = Caller::Kind::kToken, .name = name, .role = v1::Token::VIEWER};
}

TEST(OpenCalls, EndWhenTheTokenIsDeadAndOnlyThoseAndOnce) {
  std::atomic<bool> revoked{false};
  std::atomic<int> rechecks{0};
  OpenCalls calls(
      [&](const Caller& caller) {
        if (caller.name == "kept") ++rechecks;
        return revoked && caller.name == "revoked" ? absl::UnauthenticatedError("revoked")
                                                   : absl::OkStatus();
      },
      std::chrono::milliseconds(1));
  std::promise<absl::Status> ended;
  std::atomic<int> ends{0};
  const auto first = calls.Add(Named("revoked"), [&](const absl::Status& why) {
    if (++ends == 1) ended.set_value(why);
  });
  const auto second = calls.Add(Named("kept"), [](const absl::Status&) { ADD_FAILURE(); });
  auto future = ended.get_future();
  revoked = true;
  ASSERT_EQ(future.wait_for(kPatience), std::future_status::ready);
  EXPECT_EQ(future.get().message(), "revoked");
  const int so_far = rechecks;
  while (rechecks < so_far + 3) std::this_thread::yield();
  EXPECT_EQ(ends, 1);
}

TEST(OpenCalls, ACallThatIsOverIsNotEnded) {
  OpenCalls calls([](const Caller&) { return absl::UnauthenticatedError("dead"); },
                  std::chrono::milliseconds(1));
  for (int i = 0; i < 200; ++i) {
    auto alive = std::make_unique<std::atomic<bool>>(true);
    auto entry = calls.Add(Named("a"), [&alive](const absl::Status&) { EXPECT_TRUE(*alive); });
    if (i % 2 == 0) std::this_thread::sleep_for(std::chrono::microseconds(700));
    entry.reset();
    alive.reset();  // what `end` would touch
  }
}

TEST(OpenCalls, NobodyIsPutOutWhoWasNeverAsked) {
  OpenCalls calls([](const Caller&) { return absl::UnauthenticatedError("dead"); },
                  std::chrono::milliseconds(1));
  EXPECT_EQ(calls.Add(Caller{}, [](const absl::Status&) { ADD_FAILURE(); }), nullptr);
}

}  // namespace
}  // namespace trainyard::coordinator
