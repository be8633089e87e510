// Whose gradient a value has, when it is whole, and what is done to it then.
#include <algorithm>
#include <utility>

#include "kernels/cpu/builder.h"
#include "kernels/cpu/parallel.h"

namespace trainyard::kernels::cpu {

void Builder::GiveGradient(int value, Place gradient) {
  Value& v = values_[value];
  if (!v.needs_gradient) return;
  if (!v.gradient.valid()) {
    v.gradient = gradient;
    return;
  }
  const Place sum = v.gradient;
  plan_.AddStep("gradient of value " + std::to_string(value) + " sum", {sum, gradient},
                [=, count = v.layout.floats()](Call& call) {
                  ParallelSpans(count, [&](int64_t begin, int64_t end) {
                    Accumulate(end - begin, call.At(gradient) + begin, call.At(sum) + begin);
                  });
                });
}

void Builder::GiveSparse(int value, const SparsePlace& sparse) {
  JoinSparse(value);
  values_[value].sparse = sparse;
}

void Builder::JoinSparse(int value) {
  Value& v = values_[value];
  const SparsePlace sparse = std::exchange(v.sparse, {});
  if (!sparse.valid()) return;
  const bool first = !v.gradient.valid();
  if (first) v.gradient = plan_.AddBuffer(v.layout.bytes());
  plan_.AddStep("gradient of some pixels of value " + std::to_string(value),
                {sparse.at, v.gradient}, [=, sum = v.gradient, layout = v.layout](Call& call) {
                  ParallelFor(layout.batch, layout.image(), [&](int64_t n) {
                    float* image = call.At(sum) + n * layout.image();
                    if (first) std::fill_n(image, layout.image(), 0.0f);
                    AddSparse(sparse.At(call), n, PitchOf(layout), image);
                  });
                });
}

NormSums Builder::SumsPlace::At(const Call& call, int64_t image) const {
  const int64_t channels = image * layout.channels();
  return {call.Read(stored) + image * layout.image(), view.At(call), call.At(sums) + channels,
          call.At(dots) + channels};
}

void Builder::SumsPlace::AddUses(std::vector<Place>& uses) const {
  uses.insert(uses.end(), {stored, view.norm, sums, dots});
}

bool Builder::GradientGrows(int value, int reader) const {
  for (int i = 0; i < reader; ++i) {
    const std::vector<int>& inputs = graph_.ops[i].inputs;
    if (std::find(inputs.begin(), inputs.end(), value) != inputs.end()) return true;
  }
  return false;
}

GradientEnd Builder::EndPlace::At(const Call& call) const {
  GradientEnd end;
  end.stored = call.Read(stored);
  end.slope = slope;
  for (const SumsPlace& to : sums) end.sums[end.sums_count++] = to.At(call, 0);
  return end;
}

void Builder::EndPlace::AddUses(std::vector<Place>& uses) const {
  uses.push_back(stored);
  for (const SumsPlace& to : sums) to.AddUses(uses);
}

Builder::EndPlace Builder::TakeEnd(int value, int reader) {
  const Value& v = values_[value];
  EndPlace end;
  if (v.group < 0 || GradientGrows(value, reader)) return end;
  GroupState& state = groups_[v.group];
  if (graph_.ops[state.group.head].kind == OpKind::kAdd) {
    end.slope = state.group.stored_slope(graph_);
    if (end.slope != 1) end.stored = v.stored;
    end.sums = TakeTermsNormSums(state);
    state.gradient_ended = true;
  } else if (const SumsPlace sums = TakeNormSums(value, reader); sums.valid()) {
    end.sums = {sums};
  }
  return end;
}

std::vector<Builder::SumsPlace> Builder::TakeTermsNormSums(const GroupState& sum) {
  std::vector<SumsPlace> all;
  for (int value : graph_.ops[sum.group.head].inputs) {
    if (values_[value].consumers != 1) continue;
    const SumsPlace sums = TakeNormSums(value, sum.group.head);
    if (sums.valid()) all.push_back(sums);
  }
  return all;
}

Builder::SumsPlace Builder::TakeNormSums(int value, int reader) {
  const Value& v = values_[value];
  if (v.group < 0 || groups_[v.group].group.norm < 0 || GradientGrows(value, reader)) return {};
  GroupState& state = groups_[v.group];
  const int64_t bytes = int64_t{batch_} * v.layout.channels() * 4;
  state.sums = plan_.AddBuffer(bytes);
  state.dots = plan_.AddBuffer(bytes);
  return {v.stored, state.sums, state.dots, v.view, v.layout};
}

Builder::ViewPlace Builder::BackwardView(const GroupState& state) const {
  ViewPlace view = values_[state.group.output].view;
  if (view.slope == 1) view.slope = state.group.stored_slope(graph_);
  return view;
}

void Builder::ApplyView(GroupState& state, const char* what, const std::vector<SumsPlace>& sums) {
  const Value& out = values_[state.group.output];
  const bool norm = state.group.norm >= 0;
  if (norm) NormBackward(state);
  const ViewPlace view = BackwardView(state);
  const bool changes = view.slope != 1 || norm;
  if (!changes && sums.empty()) return;
  const Place dy = out.gradient, stored = out.stored, coefficients = state.norm_gradient;
  std::vector<Place> uses = {dy, stored, view.norm, coefficients};
  for (const SumsPlace& to : sums) to.AddUses(uses);
  plan_.AddStep(Label(state.group.head, what), uses, [=, layout = out.layout](Call& call) {
    ParallelFor(layout.batch, layout.image(), [&](int64_t n) {
      GradientView gradient;
      gradient.stored = call.At(stored) + n * layout.image();
      gradient.view = view.At(call);
      if (norm) AddNorm(call, coefficients, view.channels, gradient);
      float* image = call.At(dy) + n * layout.image();
      if (changes) ApplyGradientView(layout.plane(), layout.channels(), gradient, image);
      for (const SumsPlace& to : sums) {
        SumForNorm(layout.plane(), layout.channels(), image, to.At(call, n));
      }
    });
  });
}

}  // namespace trainyard::kernels::cpu
