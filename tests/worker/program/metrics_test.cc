// What programs say: by the contract, wrongly, and as people print it anyway.
#include "worker/program/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace trainyard::program {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

template <typename What>
What Only(const std::string& line) {
  std::string problem;
  const std::vector<Said> said = ParseMetricsLine(line, &problem);
  EXPECT_EQ(problem, "") << line;
  if (said.size() != 1 || !std::holds_alternative<What>(said[0])) {
    ADD_FAILURE() << line << ": " << said.size() << " said";
    return {};
  }
  return std::get<What>(said[0]);
}

std::string ProblemOf(const std::string& line) {
  std::string problem;
  ParseMetricsLine(line, &problem);
  return problem;
}

TEST(MetricsTest, AnEpochHasAllThatWasSaidAndNothingElse) {
  const auto epoch =
      Only<EpochLine>(R"({"epoch": 3, "step": 1290, "loss": 0.5, "val_accuracy": 0.91,)"
                      R"( "checkpoint": "epoch-00003"})");
  EXPECT_EQ(epoch.epoch, 3);
  EXPECT_EQ(epoch.step, 1290);
  EXPECT_EQ(epoch.val_accuracy, 0.91);
  EXPECT_EQ(epoch.checkpoint, "epoch-00003");
  EXPECT_TRUE(std::isnan(epoch.val_loss));
  EXPECT_FALSE(epoch.diverged);
  EXPECT_FALSE(Only<EpochLine>(R"({"epoch": 1, "loss": 1, "val_loss": null})").diverged);
}

TEST(MetricsTest, PythonsNaNIsALossThatDiverged) {
  EXPECT_TRUE(Only<EpochLine>(R"({"epoch": 1, "loss": NaN})").diverged);
  EXPECT_TRUE(Only<EpochLine>(R"({"epoch": 1, "val_loss": -Infinity})").diverged);
  EXPECT_EQ(Only<NoteLine>(R"({"note": "NaN is \"NaN\" here"})").text, R"(NaN is "NaN" here)");
}

TEST(MetricsTest, TheOtherLines) {
  EXPECT_EQ(Only<StepLine>(R"({"step": 700})").step, 700);
  EXPECT_EQ(Only<PhaseLine>(R"({"phase": "evaluating"})").phase, v1::PHASE_EVALUATING);
  EXPECT_EQ(Only<Judgement>(R"({"result": {"accuracy": 0.5}})").accuracy, 0.5);
  EXPECT_EQ(Only<ErrorLine>(R"({"error": "no place for a layer"})").text, "no place for a layer");
  const auto model =
      Only<ModelLine>(R"({"model": {"description": "dense 10", "parameters": 7850,)"
                      R"( "changes": [{"path": "dense.units", "from": "10", "to": "20"}, 5]}})");
  EXPECT_EQ(model.parameters, 7850);
  ASSERT_THAT(model.changes, SizeIs(1));
  EXPECT_EQ(model.changes[0].to(), "20");
}

TEST(MetricsTest, GarbageIsToldWithWhatWasExpectedAndNeverThrows) {
  for (const std::string& line :
       {std::string("hello"), std::string("[1, 2]"), std::string("{\"epoch\": 3"),
        std::string("\xff\xfe{}"), std::string("{}"), std::string("{\"other\": 1}"),
        std::string(60'000, '['), std::string("{\"epoch\": \"three\"}"),
        std::string("{\"epoch\": 0}"), std::string("{\"epoch\": 1e99}"),
        std::string("{\"epoch\": 2.5}"), std::string("{\"step\": -1}"),
        std::string("{\"phase\": \"sleeping\"}"), std::string("{\"result\": 0.9}"),
        std::string("{\"model\": []}"), std::string("{\"note\": {}}")}) {
    EXPECT_THAT(ProblemOf(line), HasSubstr("expected")) << line.substr(0, 50);
  }
  EXPECT_THAT(ProblemOf(R"({"epoch": 1, "accuracy": 91.2})"),
              HasSubstr("\"accuracy\": found 91.2, expected a number from 0 to 1"));
  EXPECT_THAT(ProblemOf(R"({"epoch": 1, "checkpoint": "../../etc"})"), HasSubstr("without /"));
}

std::vector<EpochLine> EpochsOf(const std::vector<std::string>& lines, Judgement* judgement) {
  std::vector<EpochLine> epochs;
  PrintedMetrics printed;
  const auto take = [&](const std::vector<Said>& said) {
    for (const Said& one : said) {
      if (const auto* epoch = std::get_if<EpochLine>(&one)) epochs.push_back(*epoch);
      if (const auto* found = std::get_if<Judgement>(&one)) *judgement = *found;
    }
  };
  for (const std::string& line : lines) take(printed.Add(line));
  take(printed.End());
  return epochs;
}

TEST(PrintedMetricsTest, KerasProgressLinesAndTheEvaluationAfterwards) {
  Judgement judgement;
  const auto epochs = EpochsOf(
      {"Epoch 1/2", "12/100 ---- 1s 5ms/step - accuracy: 0.3000 - loss: 2.1000",
       "100/100 ---- 2s 5ms/step - accuracy: 0.5000 - loss: 1.5000 - val_accuracy: 0.6000 - "
       "val_loss: 1.2000",
       "Epoch 2/2",
       "100/100 - 2s - loss: 1.0000 - accuracy: 0.7000 - val_loss: 0.9000 - val_accuracy: 0.7500",
       "20/20 - 0s - loss: 0.8500 - accuracy: 0.7600", "Test accuracy: 0.76"},
      &judgement);
  ASSERT_THAT(epochs, SizeIs(2));
  EXPECT_EQ(epochs[0].loss, 1.5);
  EXPECT_EQ(epochs[0].val_accuracy, 0.6);
  EXPECT_EQ(epochs[1].epoch, 2);
  EXPECT_EQ(epochs[1].accuracy, 0.7) << "not the evaluation's";
  EXPECT_EQ(epochs[1].val_loss, 0.9);
}

TEST(PrintedMetricsTest, AnEpochWithoutValidationTakesWhatIsPrintedOfATest) {
  Judgement judgement;
  const auto epochs = EpochsOf(
      {"Epoch 1", "-------", "loss: 2.303494  [   64/60000]", "loss: 1.100000  [12864/60000]",
       "Test Error:", " Accuracy: 64.1%, Avg loss: 0.79", "Epoch 2", "loss: 0.9"},
      &judgement);
  ASSERT_THAT(epochs, SizeIs(2));
  EXPECT_EQ(epochs[0].loss, 1.1);
  EXPECT_DOUBLE_EQ(epochs[0].val_accuracy, 0.641);
  EXPECT_EQ(epochs[0].val_loss, 0.79);
  EXPECT_TRUE(std::isnan(epochs[1].val_accuracy));
}

TEST(PrintedMetricsTest, NameAndValueOnOneLineWithTheEpoch) {
  Judgement judgement;
  const auto epochs = EpochsOf({"epoch=1 loss=0.5 val_acc=0.8 lr=0.01", "[epoch 2] loss=nan",
                                "Epoch: 3 | Train Loss: 0.3 | Test Acc: 91.2%"},
                               &judgement);
  ASSERT_THAT(epochs, SizeIs(3));
  EXPECT_EQ(epochs[0].val_accuracy, 0.8);
  EXPECT_EQ(epochs[0].learning_rate, 0.01);
  EXPECT_TRUE(epochs[1].diverged);
  EXPECT_DOUBLE_EQ(epochs[2].val_accuracy, 0.912);
}

TEST(PrintedMetricsTest, ASecondFitCountsOn) {
  Judgement judgement;
  const auto epochs =
      EpochsOf({"Epoch 1/1", "5/5 - loss: 2.0", "Epoch 1/1", "5/5 - loss: 1.0"}, &judgement);
  ASSERT_THAT(epochs, SizeIs(2));
  EXPECT_EQ(epochs[1].epoch, 2);
}

TEST(PrintedMetricsTest, AJudgementAloneIsOneAndOrdinaryTextIsNone) {
  Judgement judgement;
  EXPECT_THAT(EpochsOf({"accuracy=0.875"}, &judgement), IsEmpty());
  EXPECT_EQ(judgement.accuracy, 0.875);
  Judgement none;
  EXPECT_THAT(EpochsOf({"2026-11-25 12:00:01 INFO loading", "epochs: 10", "http://host:80/x",
                        "num_epoch=3", "train accuracy: 0.99", "{not json", "======"},
                       &none),
              IsEmpty());
  EXPECT_TRUE(std::isnan(none.accuracy));
}

TEST(AccuracyFileTest, ANumberAPercentageOrAName) {
  EXPECT_EQ(ParseAccuracyFile("0.91\n")->accuracy, 0.91);
  EXPECT_DOUBLE_EQ(ParseAccuracyFile("91.5%")->accuracy, 0.915);
  EXPECT_EQ(ParseAccuracyFile("accuracy = 0.8\nloss = 0.4\n")->loss, 0.4);
  EXPECT_FALSE(ParseAccuracyFile("very good"));
  EXPECT_FALSE(ParseAccuracyFile(""));
}

}  // namespace
}  // namespace trainyard::program
