// How events and the live block look.
#include "cli/event_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "cli/live_view.h"
#include "cli/text.h"
#include "tests/cli/scripted_server.h"

namespace trainyard::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kStartMs = 1'714'564'800'000;

std::string RenderAll(EventLines& lines) {
  std::string out;
  int64_t time_ms = kStartMs;
  for (v1::Event event : SampleEvents(v1::JOB_STATE_SUCCEEDED)) {
    event.set_time_ms(time_ms += 1000);
    out += lines.Render(event);
  }
  return out;
}

TEST(EventLines, InAPipeEachEventIsOnePlainLine) {
  setenv("TZ", "UTC", 1);
  EventLines lines(Style{}, false);
  EXPECT_EQ(RenderAll(lines),
            "12:00:01  job           job 7: fashion\n"
            "12:00:02  trial         trial 1: conv 8, dense 10\n"
            "12:00:03  attempt       attempt 1 on host/1\n"
            "12:00:04  epoch         trial 1  epoch  1  val 0.8500  loss 0.4000  train 0.8000  "
            "12,346 images/s  4.2 s  train "
            "loss 0.5000  lr 0.05\n"
            "12:00:05  lost          killed by signal 9\n"
            "12:00:06  restart       attempt 2 from step 469\n"
            "12:00:07  epoch         trial 1  epoch  2  val 0.8712  loss 0.4000  train 0.8000  "
            "12,346 images/s  4.2 s  train "
            "loss 0.5000  lr 0.05  best\n"
            "12:00:08  tweak         both accuracies are low, so the network gets more room "
            "[network.layers[0].conv.filters 8 "
            "-> 16]\n"
            "12:00:09  epoch         trial 2  epoch  1  val 0.9123  loss 0.4000  train 0.8000  "
            "12,346 images/s  4.2 s  train "
            "loss 0.5000  lr 0.05  best\n"
            "12:00:10  target met    val_accuracy 0.9123 >= 0.91\n"
            "12:00:11  job ended     said by the coordinator\n");
}

TEST(EventLines, OnATerminalLinesStayWithinItsWidth) {
  for (const int width : {60, 80, 100, 200}) {
    Style style;
    style.terminal = style.unicode = true;
    style.width = width;
    EventLines lines(style, true);
    std::istringstream out(RenderAll(lines));
    for (std::string line; std::getline(out, line);)
      EXPECT_LE(Width(line), std::min(width, 100)) << line;
  }
}

TEST(EventLines, UnknownKindsAndHostileTextAreHarmless) {
  v1::Event event =
      MakeEvent("\x1b[31mnew\nkind", "first\nsecond\x1b[2J" + std::string(1 << 20, 'x'));
  const std::string line = EventLines(Style{}, true).Render(event);
  EXPECT_LT(line.size(), 6000u);
  EXPECT_THAT(line, AllOf(HasSubstr("new kind"), HasSubstr("first second"), HasSubstr("KiB more)"),
                          Not(HasSubstr("\x1b"))));
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
}

TEST(EventLines, ManyCheckpointsAreOneLineAnAttemptUnlessAskedFor) {
  const v1::Event checkpoint = MakeEvent("checkpoint", "checkpoint at step 50", 1);
  EventLines lines(Style{}, false);
  EXPECT_THAT(lines.Render(checkpoint), HasSubstr("at step 50"));
  EXPECT_EQ(lines.Render(checkpoint), "");
  lines.Render(MakeEvent("attempt_restarted", "attempt 2", 1));
  EXPECT_THAT(lines.Render(checkpoint), HasSubstr("at step 50"));
  lines.ShowCheckpoints();
  EXPECT_THAT(lines.Render(checkpoint), HasSubstr("at step 50"));
}

TEST(EventLines, RanksByLossWhereLossIsTheTarget) {
  EventLines lines(Style{}, false);
  lines.RankByLoss();
  v1::Event event = MakeEvent("epoch", "");
  event.mutable_epoch()->set_val_loss(0.5);
  lines.Render(event);
  event.mutable_epoch()->set_val_loss(0.4);
  EXPECT_THAT(lines.Render(event), HasSubstr("best"));
  event.mutable_epoch()->set_val_loss(0.45);
  EXPECT_THAT(lines.Render(event), Not(HasSubstr("best")));
}

std::vector<std::string> BlockAfter(size_t events, bool unicode) {
  std::ostringstream out;
  Style style;
  style.terminal = true;
  style.unicode = unicode;
  LiveView view(out, style);
  view.SetJob(SampleJob());
  const auto all = SampleEvents(v1::JOB_STATE_SUCCEEDED);
  for (size_t i = 0; i < events; ++i) view.Add(all[i]);
  return view.Block(SampleJob().created_ms() + 65'000);
}

TEST(LiveView, ShowsProgressCurveBestAndTarget) {
  EXPECT_THAT(
      BlockAfter(9, true),
      ::testing::ElementsAre(
          HasSubstr("────"), "job 7  fashion  training  trial 2 of 8  1 min 05 s",
          HasSubstr("━━━━━━━─────────────────────  epoch 1 of 4  12,346 images/s"),
          "  0.9123 ┤     ██", HasSubstr("┤     ██"), HasSubstr("┤  ▃▃ ██"), "  0.8500 ┤▁▁██ ██",
          "best val_accuracy 0.9123 (trial 2, epoch 1), target val_accuracy >= 0.91"));
  EXPECT_THAT(BlockAfter(7, false), ::testing::Contains(HasSubstr("0.0388 to go")));
}

TEST(LiveView, ARestartShowsAndARepeatedEpochIsNotDrawnTwice) {
  EXPECT_THAT(BlockAfter(5, true), ::testing::Contains(HasSubstr("restarting")));
  EXPECT_THAT(BlockAfter(6, true), ::testing::Contains(HasSubstr("1 restart")));
  std::ostringstream out;
  LiveView view(out, Style{});
  view.SetJob(SampleJob());
  v1::Event epoch = MakeEvent("epoch", "", 1);
  epoch.mutable_epoch()->set_trial(1);
  for (const int number : {1, 2, 1, 2}) {
    epoch.mutable_epoch()->set_epoch(number);
    epoch.mutable_epoch()->set_val_accuracy(0.8 + number * 0.01);
    view.Add(epoch);
  }
  EXPECT_THAT(view.Block(0), ::testing::Contains("  0.8100 |..::"))
      << "two epochs, two columns each";
}

TEST(LiveView, TroubleWithTheConnectionStandsInTheBlock) {
  std::ostringstream out;
  LiveView view(out, Style{});
  view.SetJob(SampleJob());
  view.SetTrouble("coordinator out of reach");
  EXPECT_THAT(view.Block(0), ::testing::Contains(HasSubstr("coordinator out of reach")));
}

TEST(LiveView, SurvivesValuesThatAreNoNumbers) {
  std::ostringstream out;
  LiveView view(out, Style{});
  view.SetJob(SampleJob());
  v1::Event epoch = MakeEvent("epoch", "", 1);
  epoch.mutable_epoch()->set_trial(1);
  for (const double value : {double{NAN}, double{INFINITY}, -double{INFINITY}, 0.5, 1e300}) {
    epoch.mutable_epoch()->set_epoch(epoch.epoch().epoch() + 1);
    epoch.mutable_epoch()->set_val_accuracy(value);
    epoch.mutable_epoch()->set_images_per_second(value);
    view.Add(epoch);
    EXPECT_FALSE(view.Block(0).empty());
  }
}

}  // namespace
}  // namespace trainyard::cli
