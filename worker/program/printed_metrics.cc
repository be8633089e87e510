// What programs print without knowing of us.
#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "worker/program/lines.h"
#include "worker/program/metrics.h"

namespace trainyard::program {
namespace {

struct Pair {
  std::string name;  // lower case, one _ for what stands between its words
  double value = kUnsaid;
  bool percent = false;
};

bool IsWord(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_'; }

// The number at the start of `text`, taken off; nothing if there is none.
std::optional<double> TakeNumber(std::string_view& text) {
  size_t length = 0;
  while (length < text.size() && (IsWord(text[length]) || text[length] == '.' ||
                                  text[length] == '-' || text[length] == '+')) {
    ++length;
  }
  // A sentence's full stop, the dash before the next pair: not the number's.
  while (length > 0 && !IsWord(text[length - 1])) --length;
  double value = 0;
  if (length == 0 || !absl::SimpleAtod(std::string(text.substr(0, length)), &value))
    return std::nullopt;
  text.remove_prefix(length);
  return value;
}

// The name that ends where `text` ends: up to three words before the sign.
std::string NameBefore(std::string_view text) {
  text = Trim(text);
  std::string name;
  for (int words = 0; words < 3; ++words) {
    size_t start = text.size();
    while (start > 0 && IsWord(text[start - 1])) --start;
    const std::string_view word = text.substr(start);
    if (word.empty() || !absl::ascii_isalpha(static_cast<unsigned char>(word[0]))) break;
    name = name.empty() ? std::string(word) : std::string(word) + "_" + name;
    if (start == 0 || text[start - 1] != ' ') break;
    text = text.substr(0, start - 1);
  }
  return absl::AsciiStrToLower(name);
}

// Each `name=value` and `name: value` of the line.
std::vector<Pair> PairsOf(std::string_view line) {
  std::vector<Pair> pairs;
  for (size_t at = line.find_first_of("=:"); at < line.size();
       at = line.find_first_of("=:", at + 1)) {
    Pair pair;
    pair.name = NameBefore(line.substr(0, at));
    std::string_view rest = Trim(line.substr(at + 1));
    const std::optional<double> value = TakeNumber(rest);
    if (!value || pair.name.empty()) continue;
    pair.value = *value;
    rest = Trim(rest);
    pair.percent = rest.starts_with('%');
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

// A share, given as such or in percent.
double Share(const Pair& pair) {
  const double value = pair.percent || pair.value > 1 ? pair.value / 100 : pair.value;
  return value >= 0 && value <= 1 ? value : kUnsaid;
}

bool EndsWith(const std::string& name, std::string_view end) { return name.ends_with(end); }
bool IsAccuracy(const std::string& name) {
  return EndsWith(name, "accuracy") || EndsWith(name, "acc");
}
bool IsLoss(const std::string& name) { return EndsWith(name, "loss"); }
bool IsHeldOut(const std::string& name) {
  return name.starts_with("val") || name.find("_val") != std::string::npos;
}
bool IsTest(const std::string& name) { return name.find("test") != std::string::npos; }

// The number after the word "epoch", 0: none. `Epoch 3/10`, `epoch: 3`, `[epoch 3]`, `epoch=3`.
int EpochIn(std::string_view line) {
  const std::string lower = absl::AsciiStrToLower(std::string(line));
  const size_t at = lower.find("epoch");
  if (at == std::string::npos || (at > 0 && IsWord(lower[at - 1]))) return 0;
  size_t digit = at + 5;
  while (digit < lower.size() &&
         std::string_view(" :=#[(").find(lower[digit]) != std::string::npos) {
    ++digit;
  }
  int epoch = 0;
  while (digit < lower.size() && absl::ascii_isdigit(static_cast<unsigned char>(lower[digit])) &&
         epoch <= kEpochsMax) {
    epoch = epoch * 10 + (lower[digit++] - '0');
  }
  return epoch <= kEpochsMax ? epoch : 0;
}

// Of a progress line, "12/100 [====>...] - loss: 0.3": how many there are; 0: it is none.
int64_t BatchesOf(std::string_view line) {
  line = Trim(line);
  const size_t slash = line.find('/');
  if (slash == 0 || slash > 12 || slash == std::string_view::npos) return 0;
  int64_t done = 0;
  if (!absl::SimpleAtoi(std::string(line.substr(0, slash)), &done)) return 0;
  return std::strtoll(std::string(line.substr(slash + 1, 12)).c_str(), nullptr, 10);
}

void AddTo(EpochLine& epoch, const Pair& pair) {
  const auto loss = [&](double& slot) {
    slot = std::isfinite(pair.value) ? pair.value : kUnsaid;
    epoch.diverged = epoch.diverged || std::isnan(slot);
  };
  if (IsAccuracy(pair.name)) {
    (IsHeldOut(pair.name) || IsTest(pair.name) ? epoch.val_accuracy : epoch.accuracy) = Share(pair);
  } else if (IsLoss(pair.name)) {
    loss(IsHeldOut(pair.name) || IsTest(pair.name) ? epoch.val_loss : epoch.loss);
  } else if (pair.name == "lr" || pair.name == "learning_rate") {
    epoch.learning_rate = pair.value;
  }
}

}  // namespace

std::vector<Said> PrintedMetrics::Add(std::string_view line) {
  if (Trim(line).starts_with('{')) {
    std::string problem;  // other people's JSON is none
    return ParseMetricsLine(line, &problem);
  }
  std::vector<Said> said;
  const int epoch = EpochIn(line);
  const int64_t batches = BatchesOf(line);
  const std::vector<Pair> pairs = PairsOf(line);
  // The same number alone on its line, after its progress: "Epoch 1/1" of the next fit.
  const bool anew =
      epoch == printed_ && batches_ > 0 && line.find('/') != line.npos && pairs.empty();
  if (epoch > 0 && (!open_ || epoch != printed_ || anew)) {
    said = Complete();
    if (epoch <= printed_) offset_ += printed_;  // the next fit
    printed_ = epoch;
    batches_ = 0;
    open_ = EpochLine{.epoch = std::min(offset_ + epoch, kEpochsMax)};
  }
  if (open_ && batches > 0 && batches_ == 0) batches_ = batches;
  // A line that is the open epoch's own. An evaluation shows other batches.
  const bool own = open_ && (epoch > 0 || (batches > 0 && batches == batches_));
  // One that says an accuracy outside of the epoch's own lines: what the program has now is worth
  // it.
  const auto judges = [](const Pair& pair) {
    return IsAccuracy(pair.name) && !IsHeldOut(pair.name) && !pair.name.starts_with("train");
  };
  const bool judging = !own && std::any_of(pairs.begin(), pairs.end(), judges);
  Judgement judgement;
  for (const Pair& pair : pairs) {
    const bool loss = IsLoss(pair.name);
    const bool epochs_own = own || IsHeldOut(pair.name) || (loss && batches == 0 && !judging);
    if (open_ && epochs_own) {
      AddTo(*open_, pair);
    } else if (judges(pair) || IsHeldOut(pair.name)) {
      if (IsAccuracy(pair.name)) judgement.accuracy = Share(pair);
    }
    if (loss && judging && std::isfinite(pair.value)) judgement.loss = pair.value;
  }
  if (std::isnan(judgement.accuracy)) return said;
  if (open_) {
    judgement_ = judgement;
  } else {
    said.push_back(judgement);
  }
  return said;
}

std::vector<Said> PrintedMetrics::End() { return Complete(); }

std::vector<Said> PrintedMetrics::Complete() {
  std::vector<Said> said;
  if (open_ && std::isnan(open_->val_accuracy)) open_->val_accuracy = judgement_.accuracy;
  if (open_ && std::isnan(open_->val_loss)) open_->val_loss = judgement_.loss;
  judgement_ = {};
  const auto given = [](double value) { return !std::isnan(value); };
  if (open_ && (given(open_->loss) || given(open_->accuracy) || given(open_->val_loss) ||
                given(open_->val_accuracy) || open_->diverged)) {
    said.push_back(*open_);
  }
  open_.reset();
  return said;
}

std::optional<Judgement> ParseAccuracyFile(std::string_view text) {
  Judgement judgement;
  std::string_view number = Trim(text);
  if (const std::optional<double> value = TakeNumber(number)) {
    judgement.accuracy = Share(Pair{"", *value, Trim(number).starts_with('%')});
  }
  for (const Pair& pair : PairsOf(text)) {
    if (IsAccuracy(pair.name)) judgement.accuracy = Share(pair);
    if (IsLoss(pair.name) && std::isfinite(pair.value)) judgement.loss = pair.value;
  }
  if (std::isnan(judgement.accuracy) && std::isnan(judgement.loss)) return std::nullopt;
  return judgement;
}

}  // namespace trainyard::program
