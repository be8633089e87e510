#include "worker/program/epochs.h"

#include <algorithm>
#include <utility>

namespace trainyard::program {

void Epochs::Continue(int done, int64_t step, std::optional<EpochLine> held) {
  done_ = done;
  step_ = said_ = marked_ = step;
  held_ = std::move(held);
  if (held_) held_->step = Mark();  // beyond the checkpoint that it came in
  continued_ = true;
}

Epochs::Verdict Epochs::Add(EpochLine line, std::vector<EpochLine>* rows) {
  const int last = held_ ? held_->epoch : done_;
  if (line.epoch <= last) return Verdict::kRepeated;
  if (line.epoch > last + kGapMax) return Verdict::kBeyond;
  if (held_) rows->push_back(Release());
  any_ = true;
  while (done_ + 1 < line.epoch) {  // it says only every so many
    rows->push_back(EpochLine{.epoch = ++done_, .step = Mark()});
  }
  if (line.step > 0) Step(line.step);
  line.step = Mark();
  judgement_ = {};
  source_ = Source::kPrinted;
  held_ = std::move(line);
  if (HasTarget(*held_)) rows->push_back(Release());
  return Verdict::kTaken;
}

void Epochs::Judge(const Judgement& judgement, Source source) {
  if (std::isnan(judgement.accuracy) && std::isnan(judgement.loss)) return;
  if (source < source_ && judged()) return;
  judgement_ = judgement;
  source_ = source;
}

std::vector<EpochLine> Epochs::End() {
  std::vector<EpochLine> rows;
  if (!held_ && !any_ && !continued_ && judged()) {
    any_ = true;
    held_ = EpochLine{.epoch = 1, .step = Mark()};
  }
  if (held_) rows.push_back(Release());
  return rows;
}

void Epochs::Step(int64_t step) {
  if (step < said_) offset_ = step_;  // it counts anew
  said_ = step;
  step_ = std::max(step_, offset_ + step);
}

int64_t Epochs::Mark() {
  step_ = marked_ = std::max(step_, marked_ + 1);
  return marked_;
}

bool Epochs::HasTarget(const EpochLine& line) const {
  return !std::isnan(metric_ == v1::Target::VAL_LOSS ? line.val_loss : line.val_accuracy);
}

EpochLine Epochs::Release() {
  EpochLine line = *std::exchange(held_, std::nullopt);
  if (std::isnan(line.val_accuracy)) line.val_accuracy = judgement_.accuracy;
  if (std::isnan(line.val_loss)) line.val_loss = judgement_.loss;
  judgement_ = {};
  source_ = Source::kPrinted;
  done_ = line.epoch;
  return line;
}

}  // namespace trainyard::program
