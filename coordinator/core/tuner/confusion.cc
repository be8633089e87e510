#include "coordinator/core/tuner/confusion.h"

#include <algorithm>
#include <cmath>

namespace trainyard::core {
namespace {

// Of counts, over the logarithm of how many there could be; 0 for fewer than two.
double Spread(const std::vector<int64_t>& counts) {
  double total = 0;
  for (const int64_t count : counts) total += static_cast<double>(count);
  if (counts.size() < 2 || total <= 0) return 0;
  double entropy = 0;
  for (const int64_t count : counts) {
    if (count <= 0) continue;
    const double share = static_cast<double>(count) / total;
    entropy -= share * std::log(share);
  }
  return entropy / std::log(static_cast<double>(counts.size()));
}

// Per class: images of it, times it was given, images of it that were taken for another.
struct Tallies {
  std::vector<int64_t> truth, given, wrong;
};

void FindNeglected(const Tallies& tallies, Confusion& confusion) {
  constexpr double kSeldom = 0.5;       // of what a class has on average
  constexpr double kSeldomGiven = 0.7;  // of the times that it occurs
  constexpr double kOftenWrong = 2;     // times the rate of all
  const double rate = static_cast<double>(confusion.errors) / static_cast<double>(confusion.images);
  const double usual = static_cast<double>(confusion.images) / confusion.classes;
  int64_t errors = 0;
  for (size_t c = 0; c < tallies.truth.size(); ++c) {
    const auto truth = static_cast<double>(tallies.truth[c]);
    if (truth <= 0) continue;
    const bool seldom =
        truth < kSeldom * usual || static_cast<double>(tallies.given[c]) < kSeldomGiven * truth;
    if (!seldom || static_cast<double>(tallies.wrong[c]) < kOftenWrong * rate * truth) continue;
    confusion.neglected.push_back(static_cast<int>(c));
    errors += tallies.wrong[c];
  }
  confusion.neglected_errors = static_cast<double>(errors) / static_cast<double>(confusion.errors);
}

}  // namespace

Confusion ReadConfusion(const std::vector<int64_t>& matrix) {
  Confusion confusion;
  const auto classes = static_cast<size_t>(std::lround(std::sqrt(matrix.size())));
  if (classes < 2 || classes * classes != matrix.size()) return confusion;
  if (std::ranges::any_of(matrix, [](int64_t count) { return count < 0; })) return confusion;
  Tallies tallies{.truth = std::vector<int64_t>(classes),
                  .given = std::vector<int64_t>(classes),
                  .wrong = std::vector<int64_t>(classes)};
  std::vector<int64_t> errors;
  for (size_t truth = 0; truth < classes; ++truth) {
    for (size_t given = 0; given < classes; ++given) {
      const int64_t count = matrix[truth * classes + given];
      tallies.truth[truth] += count;
      tallies.given[given] += count;
      confusion.images += count;
      if (truth == given) continue;
      errors.push_back(count);
      tallies.wrong[truth] += count;
      confusion.errors += count;
    }
  }
  if (confusion.images == 0) return {};
  confusion.classes = static_cast<int>(classes);
  confusion.error_spread = Spread(errors);
  confusion.prediction_spread = Spread(tallies.given);
  if (confusion.errors > 0) FindNeglected(tallies, confusion);
  return confusion;
}

}  // namespace trainyard::core
