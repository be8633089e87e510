// An attempt's epochs as they go to the coordinator: in order, without gaps, each once, and with a
// validation value wherever there is one.
//
// An epoch that lacks the target's value is held back until the next one comes; a judgement of what
// the program has meanwhile, or at the end, becomes its validation value.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "trainyard/v1/spec.pb.h"
#include "worker/program/metrics.h"

namespace trainyard::program {

// Where the judgement comes from; a better source is not overruled by a worse one.
enum class Source { kPrinted, kFile, kSaid };

class Epochs {
 public:
  explicit Epochs(v1::Target::Metric metric) : metric_(metric) {}

  // Continues after `done` epochs and `step` steps, with what a stopped attempt had held back.
  void Continue(int done, int64_t step, std::optional<EpochLine> held);

  // The rows that may be reported now; their steps grow from each to the next. Epochs that were
  // reported already are passed over. More than a few missing before it: the line is refused.
  static constexpr int kGapMax = 1'000;
  enum class Verdict { kTaken, kRepeated, kBeyond };
  Verdict Add(EpochLine line, std::vector<EpochLine>* rows);
  void Judge(const Judgement& judgement, Source source);
  // The program has ended by itself: what is held, or an epoch 1 that is a judgement alone.
  std::vector<EpochLine> End();

  // Progress: steps only grow, also where the program counts anew.
  void Step(int64_t step);
  int64_t step() const { return step_; }
  // A step beyond all that were marked before: of a row, or of what is stored between rows.
  int64_t Mark();

  int done() const { return done_; }  // reported, the earlier attempts' included
  bool any() const { return any_; }   // of this attempt
  const std::optional<EpochLine>& held() const { return held_; }
  bool judged() const { return !std::isnan(judgement_.accuracy) || !std::isnan(judgement_.loss); }

 private:
  bool HasTarget(const EpochLine& line) const;
  EpochLine Release();

  const v1::Target::Metric metric_;
  int done_ = 0;
  bool any_ = false;
  bool continued_ = false;
  std::optional<EpochLine> held_;
  Judgement judgement_;
  Source source_ = Source::kPrinted;
  int64_t step_ = 0;
  int64_t marked_ = 0;
  int64_t said_ = 0;    // the last step as the program counts
  int64_t offset_ = 0;  // what is added to that
};

}  // namespace trainyard::program
