#include "worker/engine/morph/flow.h"

#include <algorithm>
#include <numeric>

namespace trainyard::engine {

std::vector<int> MapChannels(int parent, int child, const std::vector<int>& groups) {
  int blocks = 1;
  for (const int g : groups) {
    if (parent % g == 0 && child % g == 0) blocks = std::lcm(blocks, g);
  }
  const int from = parent / blocks, to = child / blocks;
  std::vector<int> source(static_cast<size_t>(child), kNew);
  for (int j = 0; j < child; ++j) {
    if (j % to < from) source[j] = j / to * from + j % to;
  }
  return source;
}

void Flatten(Flow* flow) {
  const network::Shape& p = flow->parent;
  const network::Shape& c = flow->child;
  std::vector<int> source;
  source.reserve(static_cast<size_t>(c.size()));
  for (const int channel : flow->source) {
    for (int y = 0; y < c.height; ++y) {
      for (int x = 0; x < c.width; ++x) {
        const int64_t row = int64_t{y} * p.height / c.height;
        const int64_t column = int64_t{x} * p.width / c.width;
        const int64_t pixel = row * p.width + column;
        source.push_back(channel == kNew
                             ? kNew
                             : static_cast<int>(channel * int64_t{p.height} * p.width + pixel));
      }
    }
  }
  flow->exact = flow->exact && p.height == c.height && p.width == c.width;
  flow->source = std::move(source);
  flow->parent = {static_cast<int>(p.size()), 1, 1};
  flow->child = {static_cast<int>(c.size()), 1, 1};
}

}  // namespace trainyard::engine
