// The weights of a conv or dense layer from those of a smaller or larger one.
//
// An output of the child that repeats one of the parent's gets its weights, in the middle of zeros
// where its kernel is larger: inputs that repeat the same one of the parent's share its weight, and
// inputs that are new get zero. Outputs that are new keep the fresh weights that they came with.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "worker/engine/morph/flow.h"
#include "worker/engine/morph/window.h"

namespace trainyard::engine {

// A dense layer is a conv of one pixel.
struct FilterShape {
  int outputs = 0, inputs = 0;  // of all groups
  int groups = 1;
  Window window;

  int64_t taps() const { return int64_t{window.kernel.height} * window.kernel.width; }
};

FilterShape FilterShapeOf(const network::Conv& conv, const network::Shape& in);
FilterShape FilterShapeOf(const network::Dense& dense, const network::Shape& in);

class FilterMap {
 public:
  // `source` is that of the inputs; `groups` as for MapChannels.
  FilterMap(const FilterShape& parent, const FilterShape& child, const std::vector<int>& source,
            const std::vector<int>& groups);

  // By the child's outputs, as Flow::source.
  const std::vector<int>& outputs() const { return outputs_; }
  // Whether sourced outputs give what the parent's do, given inputs that do.
  bool exact() const { return exact_; }

  // Both in canonical layout. Moments go the same way as weights.
  void Fill(std::span<const float> parent, std::span<float> child) const;

 private:
  // An input of a group of the child that repeats one of the parent's.
  struct Input {
    int parent, child;  // child: within its group
    auto operator<=>(const Input&) const = default;
  };

  int ParentGroup(int output) const { return output / (parent_.outputs / parent_.groups); }
  int ChildGroup(int output) const { return output / (child_.outputs / child_.groups); }
  // Those of the inputs that a group of the child has of a group of the parent.
  std::span<const Input> InputsOf(int child_group, int parent_group) const;
  bool Complete(int child_group, int parent_group) const;
  bool Fits(const std::vector<int>& outputs) const;
  std::vector<int> MapWithinGroups() const;
  void FillRow(int output, std::span<const float> from, std::span<float> to) const;

  const FilterShape parent_, child_;
  std::vector<std::vector<Input>> inputs_;  // by the child's group, in order
  std::vector<int> outputs_;
  network::Extent at_;  // the parent's kernel within the child's; may begin outside
  bool exact_ = true;
};

}  // namespace trainyard::engine
