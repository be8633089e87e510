#include "worker/engine/evaluation.h"

#include <algorithm>

namespace trainyard::engine {

Scores Score(kernels::Program& program, const kernels::ImageSet& images,
             std::span<const int32_t> indices, int batch_size, std::span<float> logits,
             const std::function<bool()>& go_on) {
  Scores scores;
  const size_t classes = indices.empty() ? 0 : logits.size() / indices.size();
  if (!indices.empty()) program.Expect(images, indices);
  for (size_t at = 0; at < indices.size(); at += static_cast<size_t>(batch_size)) {
    if (go_on && !go_on()) {
      scores.whole = false;
      return scores;
    }
    const size_t count = std::min(static_cast<size_t>(batch_size), indices.size() - at);
    const kernels::EvaluationResult result =
        program.Evaluate(images, indices.subspan(at, count),
                         logits.empty() ? logits : logits.subspan(at * classes, count * classes));
    scores.loss_sum += result.loss_sum;
    scores.correct += result.correct;
  }
  return scores;
}

std::vector<int64_t> Confusion(std::span<const float> logits, std::span<const int32_t> labels,
                               std::span<const int32_t> indices, int classes) {
  const auto width = static_cast<size_t>(classes);
  std::vector<int64_t> counts(width * width, 0);
  for (size_t i = 0; i < indices.size(); ++i) {
    const std::span<const float> row = logits.subspan(i * width, width);
    const auto prediction =
        static_cast<size_t>(std::max_element(row.begin(), row.end()) - row.begin());
    ++counts[static_cast<size_t>(labels[indices[i]]) * width + prediction];
  }
  return counts;
}

}  // namespace trainyard::engine
