#include "worker/engine/morph/heir.h"

#include <algorithm>
#include <set>
#include <utility>

#include "network/shapes.h"
#include "network/signs.h"
#include "worker/engine/initialise.h"
#include "worker/engine/morph/align.h"

namespace trainyard::engine {
namespace {

using network::BatchNorm;
using network::Conv;
using network::Dense;
using network::Layer;
using network::Relu;
using network::Residual;
using network::Shape;

void CollectGroups(const std::vector<Layer>& layers, std::set<int>* groups) {
  for (const Layer& layer : layers) {
    if (const auto* conv = std::get_if<Conv>(&layer.op)) {
      groups->insert(conv->groups);
    } else if (const auto* residual = std::get_if<Residual>(&layer.op)) {
      CollectGroups(residual->body, groups);
      CollectGroups(residual->shortcut, groups);
    }
  }
}

std::vector<int> GroupsOf(const network::Network& network) {
  std::set<int> groups;
  CollectGroups(network.layers, &groups);
  return {groups.begin(), groups.end()};
}

bool HasFilters(const Layer& layer) {
  return std::holds_alternative<Conv>(layer.op) || std::holds_alternative<Dense>(layer.op);
}

bool HasBias(const Layer& layer) {
  const auto* conv = std::get_if<Conv>(&layer.op);
  return conv != nullptr ? conv->bias : std::get<Dense>(layer.op).bias;
}

FilterShape ShapeOf(const Layer& layer, const Shape& in) {
  const auto* conv = std::get_if<Conv>(&layer.op);
  return conv != nullptr ? FilterShapeOf(*conv, in) : FilterShapeOf(std::get<Dense>(layer.op), in);
}

// Values of channels, by where they come from; of new ones they stay.
void TakeChannels(std::span<const float> from, const std::vector<int>& source,
                  std::span<float> to) {
  if (from.empty() || to.empty()) return;
  for (size_t j = 0; j < source.size(); ++j) {
    if (source[j] != kNew) to[j] = from[source[j]];
  }
}

std::vector<float> Copy(std::span<const float> values) { return {values.begin(), values.end()}; }

void Fill(std::span<float> values, float value) { std::fill(values.begin(), values.end(), value); }

const char* PartName(const Layer& layer) {
  return std::holds_alternative<Dense>(layer.op) ? " units" : " filters";
}

}  // namespace

Heir::Heir(const network::Network& parent, const kernels::ProgramState& given,
           const network::Configuration& child, int threads)
    : parent_(parent),
      child_(child.network),
      given_(given),
      parent_tensors_(network::Parameters(parent)),
      child_tensors_(network::Parameters(child.network)),
      groups_(GroupsOf(child.network)),
      keeps_moments_(child.training.optimizer.kind == network::OptimizerKind::kSgd &&
                     given.moment2.empty()) {
  const network::Training& training = child.training;
  result_.state = InitialState(network::Parameters(child.network), training.initialisation,
                               training.optimizer.kind, training.seed, threads);
}

Inheritance Heir::Run() {
  Flow flow{.parent = parent_.input, .child = child_.input};
  for (int c = 0; c < child_.input.channels; ++c) flow.source.push_back(c);
  Walk(parent_.layers, "layers", child_.layers, "layers", &flow);
  if (!takes_any_) {
    throw kernels::Error(
        "inherited network: found no layer whose weights the new network can take over, expected "
        "at least one conv or dense layer in common");
  }
  for (int c = 0; c < child_.classes; ++c) flow.exact = flow.exact && flow.source[c] == c;
  result_.preserving = flow.exact;
  return std::move(result_);
}

void Heir::Walk(const Layers& parent, const Path& from, const Layers& child, const Path& to,
                Flow* flow) {
  for (const Edit& edit : Align({parent, flow->parent}, {child, flow->child}, flow->non_negative)) {
    const Path p = from + "." + std::to_string(edit.parent);
    const Path c = to + "." + std::to_string(edit.child);
    switch (edit.kind) {
      case Edit::Kind::kMatch:
        Match(parent[edit.parent], p, child[edit.child], c, flow);
        break;
      case Edit::Kind::kInsert:
        Insert(child[edit.child], c, flow);
        break;
      case Edit::Kind::kRemove:
        Remove(parent[edit.parent], p, flow);
        break;
      case Edit::Kind::kMirror:
        Mirror(parent[edit.parent], p, child, to, edit.child, edit.child + edit.length, flow);
        break;
    }
  }
}

void Heir::Match(const Layer& parent, const Path& from, const Layer& child, const Path& to,
                 Flow* flow) {
  const bool non_negative = network::NonNegativeBehind(parent, flow->non_negative);
  if (HasFilters(child)) {
    TakeFilters(DonorOf(parent, from, flow->parent), child, to, flow);
  } else if (const auto* norm = std::get_if<BatchNorm>(&child.op)) {
    MatchNorm(std::get<BatchNorm>(parent.op), from, *norm, to, flow);
  } else if (const auto* residual = std::get_if<Residual>(&child.op)) {
    MatchResidual(std::get<Residual>(parent.op), from, *residual, to, flow);
  } else {
    if (!CanKeep(parent, flow->parent, child, flow->child, flow->non_negative)) {
      Lose(to, "the parent's is another one or gets images of another size", flow);
    }
    if (std::holds_alternative<network::Flatten>(child.op)) {
      Flatten(flow);
    } else {
      flow->parent = network::OutputShape(parent, flow->parent);
      flow->child = network::OutputShape(child, flow->child);
    }
  }
  flow->non_negative = non_negative;
}

void Heir::Insert(const Layer& layer, const Path& path, Flow* flow) {
  const bool identity = CanBeIdentity(layer, flow->child, flow->parent, flow->non_negative);
  if (const auto* residual = std::get_if<Residual>(&layer.op)) {
    InsertResidual(*residual, path, flow);
  } else if (const auto* norm = std::get_if<BatchNorm>(&layer.op)) {
    InsertNorm(*norm, path);
  } else if (std::holds_alternative<Conv>(layer.op) || (identity && HasFilters(layer))) {
    TakeFilters(IdentityDonor(flow->parent), layer, path, flow);
  } else {
    if (!identity) Lose(path, "put in where it cannot be the identity", flow);
    flow->child = network::OutputShape(layer, flow->child);
    const auto size = static_cast<size_t>(flow->child.channels);
    if (size != flow->source.size()) flow->source.assign(size, kNew);
    flow->non_negative = network::NonNegativeBehind(layer, flow->non_negative);
  }
}

void Heir::Remove(const Layer& layer, const Path& path, Flow* flow) {
  if (!IsIdentity(layer, flow->parent, flow->non_negative)) {
    Lose("the parent's " + path, "left out", flow);
  }
  const int channels = flow->parent.channels;
  flow->parent = network::OutputShape(layer, flow->parent);
  if (flow->parent.channels == channels) return;
  // Channels are counted anew: further layers get those in the same places.
  const bool places =
      std::holds_alternative<Conv>(layer.op) || std::holds_alternative<Residual>(layer.op);
  for (size_t j = 0; j < flow->source.size(); ++j) {
    const bool there = places && j < static_cast<size_t>(flow->parent.channels);
    flow->source[j] = there ? static_cast<int>(j) : kNew;
  }
}

void Heir::Mirror(const Layer& dense, const Path& from, const Layers& child, const Path& list,
                  size_t begin, size_t end, Flow* flow) {
  const auto path = [&](size_t i) { return list + "." + std::to_string(i); };
  double slope = 0;
  for (size_t i = begin; i < end; ++i) {
    if (const auto* relu = std::get_if<Relu>(&child[i].op)) slope = relu->negative_slope;
  }
  const auto [both, difference] =
      MirrorDonors(DonorOf(dense, from, flow->parent), slope, HasBias(child[begin]));
  TakeFilters(both, child[begin], path(begin), flow);
  for (size_t i = begin + 1; i + 1 < end; ++i) {
    // The difference of both signs makes the relu the identity.
    flow->non_negative = true;
    Insert(child[i], path(i), flow);
  }
  TakeFilters(difference, child[end - 1], path(end - 1), flow);
  flow->non_negative = false;
}

Donor Heir::DonorOf(const Layer& layer, const Path& path, const Shape& in) const {
  const std::string weight = path + ".weight", bias = path + ".bias";
  Donor donor;
  donor.shape = ShapeOf(layer, in);
  donor.weight = Copy(parent_tensors_.Of(weight, given_.parameters));
  donor.bias = Copy(parent_tensors_.Of(bias, given_.parameters));
  donor.given = true;
  if (!keeps_moments_) return donor;
  donor.weight_moment = Copy(parent_tensors_.Of(weight, given_.moment1));
  donor.bias_moment = Copy(parent_tensors_.Of(bias, given_.moment1));
  return donor;
}

void Heir::TakeFilters(const Donor& donor, const Layer& child, const Path& path, Flow* flow) {
  const FilterShape shape = ShapeOf(child, flow->child);
  const FilterMap map(donor.shape, shape, flow->source, groups_);
  std::vector<float>& moments = result_.state.moment1;
  map.Fill(donor.weight, Taken(path + ".weight"));
  if (!donor.weight_moment.empty()) {
    map.Fill(donor.weight_moment, child_tensors_.Of(path + ".weight", moments));
  }
  TakeChannels(donor.bias, map.outputs(), Taken(path + ".bias"));
  TakeChannels(donor.bias_moment, map.outputs(), child_tensors_.Of(path + ".bias", moments));

  const auto taken = std::count_if(map.outputs().begin(), map.outputs().end(),
                                   [](int source) { return source != kNew; });
  takes_any_ = takes_any_ || (donor.given && taken > 0);
  Say(path, std::to_string(taken) + " of " + std::to_string(shape.outputs) + PartName(child) +
                (donor.given ? " taken over" : " begin as the identity"));
  if (!map.exact()) {
    Lose(path, "its inputs, stride or padding are not the parent's", flow);
  }
  const bool biased =
      std::any_of(donor.bias.begin(), donor.bias.end(), [](float value) { return value != 0; });
  if (biased && !HasBias(child)) Lose(path, "it has no place for the parent's bias", flow);
  flow->source = map.outputs();
  flow->parent = donor.shape.window.out;
  flow->child = shape.window.out;
}

void Heir::MatchNorm(const BatchNorm& parent, const Path& from, const BatchNorm& child,
                     const Path& to, Flow* flow) {
  for (const char* name : {".gamma", ".beta"}) {
    TakeChannels(parent_tensors_.Of(from + name, given_.parameters), flow->source,
                 Taken(to + name));
    if (!keeps_moments_) continue;
    TakeChannels(parent_tensors_.Of(from + name, given_.moment1), flow->source,
                 child_tensors_.Of(to + name, result_.state.moment1));
  }
  for (const char* name : {".running_mean", ".running_var"}) {
    TakeChannels(parent_tensors_.Of(from + name, given_.statistics), flow->source,
                 child_tensors_.Of(to + name, result_.state.statistics));
  }
  if (parent.epsilon == child.epsilon) return;
  // The variance makes up for another epsilon, as long as it stays one.
  const auto more = static_cast<float>(parent.epsilon - child.epsilon);
  const auto variances = child_tensors_.Of(to + ".running_var", result_.state.statistics);
  for (size_t j = 0; j < flow->source.size(); ++j) {
    if (flow->source[j] == kNew) continue;
    variances[j] += more;
    if (variances[j] >= 0) continue;
    variances[j] = 0;
    Lose(to, "its epsilon is above the parent's variance", flow);
  }
}

void Heir::InsertNorm(const BatchNorm& norm, const Path& path) {
  Fill(child_tensors_.Of(path + ".running_var", result_.state.statistics),
       static_cast<float>(1 - norm.epsilon));
  Say(path, "begins as the identity");
}

void Heir::MatchResidual(const Residual& parent, const Path& from, const Residual& child,
                         const Path& to, Flow* flow) {
  Flow shortcut = *flow;
  Walk(parent.body, from + ".body", child.body, to + ".body", flow);
  Walk(parent.shortcut, from + ".shortcut", child.shortcut, to + ".shortcut", &shortcut);
  if (flow->source != shortcut.source && flow->exact && shortcut.exact) {
    Lose(to, "its two sides order their channels in different ways", flow);
  }
  flow->exact = flow->exact && shortcut.exact;
}

void Heir::InsertResidual(const Residual& residual, const Path& path, Flow* flow) {
  const size_t last = Silencer(residual.body);
  if (last == residual.body.size()) {
    Lose(path, "put in with a relu at the end, which zeros would keep from learning", flow);
  } else {
    const Path silenced = path + ".body." + std::to_string(last);
    for (const char* name : {".weight", ".gamma"}) Fill(Taken(silenced + name), 0);
    Say(path, "adds nothing at first");
  }
  Walk({}, "", residual.shortcut, path + ".shortcut", flow);
}

void Heir::Say(const Path& path, const std::string& text) {
  result_.lines.push_back(path + ": " + text);
}

void Heir::Lose(const Path& path, const std::string& reason, Flow* flow) {
  flow->exact = false;
  Say(path, reason + "; the logits change");
}

}  // namespace trainyard::engine
