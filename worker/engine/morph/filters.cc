#include "worker/engine/morph/filters.h"

#include <algorithm>

#include "network/shapes.h"

namespace trainyard::engine {
namespace {

int Middle(int child, int parent) { return child / 2 - parent / 2; }

}  // namespace

FilterShape FilterShapeOf(const network::Conv& conv, const network::Shape& in) {
  return {conv.filters, in.channels, conv.groups, WindowOf(conv, in)};
}

FilterShape FilterShapeOf(const network::Dense& dense, const network::Shape& in) {
  const network::Shape out{dense.units, 1, 1};
  return {dense.units,
          in.channels,
          1,
          {.kernel = {1, 1}, .stride = {1, 1}, .padding = {}, .in = in, .out = out}};
}

FilterMap::FilterMap(const FilterShape& parent, const FilterShape& child,
                     const std::vector<int>& source, const std::vector<int>& groups)
    : parent_(parent), child_(child), inputs_(static_cast<size_t>(child.groups)) {
  const int per_group = child.inputs / child.groups;
  for (int i = 0; i < child.inputs; ++i) {
    if (source[i] != kNew) inputs_[i / per_group].push_back({source[i], i % per_group});
  }
  for (std::vector<Input>& inputs : inputs_) std::sort(inputs.begin(), inputs.end());

  outputs_ = MapChannels(parent.outputs, child.outputs, groups);
  if (parent.groups > 1 && child.groups > 1 && !Fits(outputs_)) outputs_ = MapWithinGroups();
  for (int o = 0; o < child.outputs; ++o) {
    int& from = outputs_[o];
    if (from != kNew && InputsOf(ChildGroup(o), ParentGroup(from)).empty()) from = kNew;
  }
  const auto place = PlaceIn(child.window, parent.window);
  exact_ = place && Fits(outputs_);
  at_ = place.value_or(
      network::Extent{Middle(child.window.kernel.height, parent.window.kernel.height),
                      Middle(child.window.kernel.width, parent.window.kernel.width)});
}

std::span<const FilterMap::Input> FilterMap::InputsOf(int child_group, int parent_group) const {
  const std::vector<Input>& all = inputs_[child_group];
  const int per_group = parent_.inputs / parent_.groups;
  const auto begin = std::lower_bound(all.begin(), all.end(), Input{parent_group * per_group, 0});
  const auto end = std::lower_bound(begin, all.end(), Input{(parent_group + 1) * per_group, 0});
  return {begin, end};
}

bool FilterMap::Complete(int child_group, int parent_group) const {
  int distinct = 0, last = kNew;
  for (const Input& input : InputsOf(child_group, parent_group)) {
    distinct += input.parent != last;
    last = input.parent;
  }
  return distinct == parent_.inputs / parent_.groups;
}

// Whether each output finds all that its parent's reads.
bool FilterMap::Fits(const std::vector<int>& outputs) const {
  int checked_child = kNew, checked_parent = kNew;
  for (int o = 0; o < child_.outputs; ++o) {
    if (outputs[o] == kNew) continue;
    const int child_group = ChildGroup(o), parent_group = ParentGroup(outputs[o]);
    if (child_group == checked_child && parent_group == checked_parent) continue;
    if (!Complete(child_group, parent_group)) return false;
    checked_child = child_group;
    checked_parent = parent_group;
  }
  return true;
}

// Every group of the child takes the outputs of those of the parent's groups whose inputs it has.
std::vector<int> FilterMap::MapWithinGroups() const {
  const int parent_outputs = parent_.outputs / parent_.groups;
  const auto child_outputs = static_cast<size_t>(child_.outputs / child_.groups);
  const int parent_inputs = parent_.inputs / parent_.groups;
  std::vector<int> outputs;
  for (int group = 0; group < child_.groups; ++group) {
    std::vector<int> candidates;
    for (const bool complete : {true, false}) {
      int last = kNew;
      for (const Input& input : inputs_[group]) {
        const int from = input.parent / parent_inputs;
        if (candidates.size() >= child_outputs) break;
        if (from == last || (complete && !Complete(group, from))) continue;
        last = from;
        for (int o = 0; o < parent_outputs; ++o) candidates.push_back(from * parent_outputs + o);
      }
      if (!candidates.empty()) break;
    }
    candidates.resize(child_outputs, kNew);
    outputs.insert(outputs.end(), candidates.begin(), candidates.end());
  }
  return outputs;
}

void FilterMap::Fill(std::span<const float> parent, std::span<float> child) const {
  const auto parent_row = static_cast<size_t>(parent_.inputs / parent_.groups * parent_.taps());
  const auto child_row = static_cast<size_t>(child_.inputs / child_.groups * child_.taps());
  for (int o = 0; o < child_.outputs; ++o) {
    if (outputs_[o] == kNew) continue;
    FillRow(o, parent.subspan(static_cast<size_t>(outputs_[o]) * parent_row, parent_row),
            child.subspan(static_cast<size_t>(o) * child_row, child_row));
  }
}

void FilterMap::FillRow(int output, std::span<const float> from, std::span<float> to) const {
  std::fill(to.begin(), to.end(), 0.0f);
  const int parent_group = ParentGroup(outputs_[output]);
  const int first = parent_group * (parent_.inputs / parent_.groups);
  const network::Extent& small = parent_.window.kernel;
  const network::Extent& large = child_.window.kernel;
  const std::span<const Input> inputs = InputsOf(ChildGroup(output), parent_group);
  for (size_t begin = 0, end = 0; begin < inputs.size(); begin = end) {
    while (end < inputs.size() && inputs[end].parent == inputs[begin].parent) ++end;
    const float* weights = from.data() + (inputs[begin].parent - first) * parent_.taps();
    for (int y = 0; y < small.height; ++y) {
      for (int x = 0; x < small.width; ++x) {
        const int row = y + at_.height, column = x + at_.width;
        if (row < 0 || row >= large.height || column < 0 || column >= large.width) continue;
        const float weight = weights[y * small.width + x];
        const float share = weight / static_cast<float>(end - begin);
        for (size_t i = begin; i < end; ++i) {
          to[inputs[i].child * child_.taps() + row * large.width + column] = share;
        }
      }
    }
  }
}

}  // namespace trainyard::engine
