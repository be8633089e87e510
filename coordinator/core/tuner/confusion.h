// What a confusion matrix says about the labels and the classes.
#pragma once

#include <cstdint>
#include <vector>

namespace trainyard::core {

struct Confusion {
  int classes = 0;  // 0: there is no matrix, or it is none
  int64_t images = 0;
  int64_t errors = 0;
  // How evenly the errors spread over all pairs of (truth, prediction): entropy over its largest
  // value. 1: any class is taken for any other alike, as with wrong labels; networks confuse what
  // looks alike.
  double error_spread = 0;
  double prediction_spread = 0;  // likewise of the predictions over the classes; 0: always the same
  // Classes that the network neglects: seldom in the data, or given far less often than they occur,
  // and wrong at least twice as often as the rest.
  std::vector<int> neglected;
  double neglected_errors = 0;  // their share of all errors
};

// `matrix`: row-major (truth, prediction). Not square, negative or empty: no classes.
Confusion ReadConfusion(const std::vector<int64_t>& matrix);

}  // namespace trainyard::core
