// Running a program over a data set without training.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kernels/backend.h"

namespace trainyard::engine {

struct Scores {
  double loss_sum = 0;
  int64_t correct = 0;
  bool whole = true;  // false: `go_on` ended it early, and the sums are of no use
};

// Forward over images[indices] in batches of `batch_size`, in order, so that sums come out the same
// each time. `logits` is empty or has indices.size() * classes floats. `go_on` is asked before
// each batch; an empty function is always yes.
Scores Score(kernels::Program& program, const kernels::ImageSet& images,
             std::span<const int32_t> indices, int batch_size, std::span<float> logits,
             const std::function<bool()>& go_on);

// Counts row-major (truth, prediction); the prediction is the first of the largest logits.
std::vector<int64_t> Confusion(std::span<const float> logits, std::span<const int32_t> labels,
                               std::span<const int32_t> indices, int classes);

}  // namespace trainyard::engine
