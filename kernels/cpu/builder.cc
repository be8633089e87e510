#include "kernels/cpu/builder.h"

#include <algorithm>
#include <utility>

#include "kernels/check.h"
#include "kernels/cpu/dropout.h"
#include "kernels/cpu/loss.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd/batch_norm.h"
#include "kernels/explain.h"

namespace trainyard::kernels::cpu {
namespace {

// Arrays by channel that a batch norm's forward and backward make: mean, scale, shift, inverse_std;
// and a, b, c.
constexpr int kNormArrays = 4, kNormGradientArrays = 3;

BatchNorm NormOf(const Op& op, const Layout& layout) {
  return {layout.batch, layout.shape.channels, layout.plane(), op.momentum, op.epsilon};
}

std::string Dims(const ValueShape& shape) {
  return std::to_string(shape.channels) + "x" + std::to_string(shape.height) + "x" +
         std::to_string(shape.width);
}

// Spreads a batch norm's blocks of channels over threads: body(block), over arrays by image.
template <typename Body>
void ForBlocks(const BatchNorm& norm, const Body& body) {
  ParallelFor(Padded(norm.channels) / kBlock, int64_t{norm.batch} * kBlock * 2, body);
}

}  // namespace

Builder::Builder(const Graph& graph, const ParameterLayout& parameters, int batch, Plan& plan)
    : graph_(graph), parameters_(parameters), batch_(batch), plan_(plan) {
  for (const ValueUse& use : UsesOf(graph)) values_.emplace_back(use);
  for (size_t i = 0; i < values_.size(); ++i) values_[i].layout = {batch, graph.values[i]};
  for (const Group& group : GroupsOf(graph)) {
    values_[group.output].group = static_cast<int>(groups_.size());
    groups_.emplace_back().group = group;
  }
}

void Builder::Build() {
  int op = 0;
  try {
    LoadInput();
    for (GroupState& state : groups_) {
      op = state.group.head;
      Forward(state);
    }
    op = static_cast<int>(graph_.ops.size()) - 1;
    Loss();
    for (auto state = groups_.rbegin(); state != groups_.rend(); ++state) {
      op = state->group.head;
      JoinSparse(state->group.output);
      // No gradient: no parameters before it, or nothing after it that the loss depends on.
      const Value& out = values_[state->group.output];
      if (out.needs_gradient && out.gradient.valid()) Backward(*state);
    }
  } catch (const Error& error) {
    throw Error("cpu: " + OpLabel(graph_.ops[op]) + ": " + error.what());
  }
  plan_.Finish();
}

View Builder::ViewPlace::At(const Call& call) const {
  View view;
  view.slope = slope;
  if (!norm.valid()) return view;
  view.mean = call.At(norm);
  view.scale = view.mean + channels;
  view.shift = view.scale + channels;
  return view;
}

std::string Builder::Label(int op, const char* what) const {
  return OpLabel(graph_.ops[op]) + " " + what;
}

Place Builder::Parameter(int64_t canonical) const {
  if (canonical < 0) return {};
  return {Space::kParameters, parameters_.Parameter(canonical)};
}

Place Builder::Gradient(int64_t canonical) const {
  if (canonical < 0) return {};
  return {Space::kGradients, parameters_.Parameter(canonical)};
}

Place Builder::Statistic(int64_t canonical) const {
  return {Space::kStatistics, parameters_.Statistic(canonical)};
}

void Builder::LoadInput() {
  Value& input = values_[0];
  if (parameters_.input_form() == InputForm::kPlain) {
    input.stored = {Space::kInput, 0};
    return;
  }
  if (parameters_.input_form() == InputForm::kFlat) {
    input.layout.shape = {static_cast<int>(graph_.values[0].size()), 1, 1};
  }
  const Layout layout = input.layout;
  const Place to = NewValue(0);
  plan_.AddStep("input to channels last", {to}, [=](Call& call) {
    ParallelFor(layout.batch, layout.image(), [&](int64_t n) {
      ToChannelsLast(layout.plane(), layout.shape.channels, call.input + n * layout.shape.size(),
                     call.At(to) + n * layout.image());
    });
  });
}

Place Builder::NewValue(int value) {
  values_[value].stored = plan_.AddBuffer(values_[value].layout.bytes());
  return values_[value].stored;
}

Place Builder::Active(int value) {
  Value& v = values_[value];
  if (v.view.plain()) return v.stored;
  if (v.active.valid()) return v.active;
  v.active = plan_.AddBuffer(v.layout.bytes());
  plan_.AddStep("value " + std::to_string(value) + " as it reads",
                {v.stored, v.view.norm, v.active},
                [from = v.stored, to = v.active, view = v.view, layout = v.layout](Call& call) {
                  ParallelFor(layout.batch, layout.image(), [&](int64_t n) {
                    Activate(layout.plane(), layout.channels(), call.At(from) + n * layout.image(),
                             view.At(call), call.At(to) + n * layout.image());
                  });
                });
  return v.active;
}

void Builder::DropoutMask(GroupState& state, int op, const Layout& layout) {
  state.keep = plan_.AddBuffer(layout.floats());
  const Op& o = graph_.ops[op];
  const int64_t scratch = DropoutScratchFloats(layout);
  plan_.NeedScratch(scratch, layout.batch);
  plan_.AddStep(Label(op, "mask"), {state.keep}, [=, &o, keep = state.keep](Call& call) {
    if (!call.training) return;
    const float rate = call.scalars->dropout_rates[o.dropout];
    if (rate == 0) return;
    DropoutKeep(layout, *call.scalars, o.layer, rate, call.Scratch(scratch),
                call.At<uint8_t>(keep));
  });
}

void Builder::StoreMoments(GroupState& state, const Layout& layout) {
  const int64_t bytes = int64_t{batch_} * layout.channels() * 4;
  state.means = plan_.AddBuffer(bytes);
  state.m2s = plan_.AddBuffer(bytes);
}

void Builder::NormForward(GroupState& state, const Layout& layout) {
  const Op& o = graph_.ops[state.group.norm];
  const BatchNorm norm = NormOf(o, layout);
  const int channels = layout.channels();
  state.norm = plan_.AddBuffer(int64_t{channels} * kNormArrays * 4);
  const Place gamma = Parameter(o.offsets.weight), beta = Parameter(o.offsets.bias);
  const Place mean = Statistic(o.offsets.running_mean), var = Statistic(o.offsets.running_var);
  const Place means = state.means, m2s = state.m2s, arrays = state.norm;
  plan_.AddStep(Label(state.group.norm, "statistics"), {means, m2s, arrays}, [=](Call& call) {
    const BatchNormParameters parameters{call.At(gamma), call.At(beta), call.At(mean),
                                         call.At(var)};
    float* a = call.At(arrays);
    const BatchNormView view{a, a + channels, a + 2 * channels, a + 3 * channels};
    ForBlocks(norm, [&](int64_t block) {
      if (call.training) {
        BatchNormTraining(norm, call.At(means), call.At(m2s), parameters, view, block);
      } else {
        BatchNormEvaluation(norm, parameters, view, block);
      }
    });
  });
  Value& out = values_[state.group.output];
  out.view = {arrays, channels, state.group.slope(graph_)};
}

void Builder::ExplainGroup(const GroupState& state, const std::string& how) {
  const Group& group = state.group;
  const Op& head = graph_.ops[group.head];
  std::string line = OpWithShapes(graph_, head, group.output) + ": " + how;
  std::vector<int> joined;
  for (int op : {group.pool, group.norm, group.relu, group.dropout}) {
    if (op >= 0 && op != group.head) joined.push_back(op);
  }
  std::sort(joined.begin(), joined.end());
  for (int op : joined) line += ", " + OpLabel(graph_.ops[op]) + " on the way";
  plan_.Explain(line);
}

void Builder::Forward(GroupState& state) {
  switch (graph_.ops[state.group.head].kind) {
    case OpKind::kConv:
      return ConvForward(state);
    case OpKind::kBatchNorm:
      return NormAloneForward(state);
    case OpKind::kRelu:
      return ReluAloneForward(state);
    case OpKind::kMaxPool:
    case OpKind::kAvgPool:
    case OpKind::kGlobalAvgPool:
      return PoolForward(state);
    case OpKind::kDropout:
      return DropoutForward(state);
    case OpKind::kLinear:
      return LinearForward(state);
    case OpKind::kAdd:
      return AddForward(state);
  }
}

void Builder::Loss() {
  const int value = graph_.ops.back().output;
  const ValueShape& shape = graph_.values[value];
  if (shape.channels != graph_.classes) {
    throw Error("found logits of " + Dims(shape) + ", expected " + Dims({graph_.classes, 1, 1}) +
                ": a channel for each class");
  }
  const Place logits = Active(value);
  const Layout layout = values_[value].layout;
  const Place gradient = plan_.AddBuffer(layout.bytes()),
              rows = plan_.AddBuffer(batch_ * int64_t{sizeof(RowLoss)});
  plan_.AddStep("loss", {logits, gradient, rows}, [=, classes = graph_.classes](Call& call) {
    const float smoothing = call.training ? call.scalars->label_smoothing : 0.0f;
    const LossInput input{call.images, call.indices, classes, smoothing};
    const BatchLoss loss =
        SoftmaxCrossEntropy(input, call.At(logits), call.training ? call.At(gradient) : nullptr,
                            call.At<RowLoss>(rows));
    call.loss_sum = loss.sum;
    call.correct = loss.correct;
    if (call.logits.empty()) return;
    for (int64_t n = 0; n < layout.batch; ++n) {
      std::copy_n(call.At(logits) + n * layout.image(), classes, call.logits.begin() + n * classes);
    }
  });
  plan_.BeginBackward();
  GiveGradient(value, gradient);
}

void Builder::Backward(GroupState& state) {
  switch (graph_.ops[state.group.head].kind) {
    case OpKind::kConv:
      return ConvBackward(state);
    case OpKind::kBatchNorm:
    case OpKind::kRelu:
      ApplyView(state, "backward");
      return GiveGradient(graph_.ops[state.group.head].inputs[0],
                          values_[state.group.output].gradient);
    case OpKind::kMaxPool:
    case OpKind::kAvgPool:
    case OpKind::kGlobalAvgPool:
      return PoolBackward(state);
    case OpKind::kDropout:
      return DropoutBackward(state);
    case OpKind::kLinear:
      return LinearBackward(state);
    case OpKind::kAdd:
      return AddBackward(state);
  }
}

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

bool Builder::GradientGrows(int value, int reader) const {
  if (values_[value].sparse.valid()) return true;
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
  for (const SumsPlace& to : sums) {
    uses.insert(uses.end(), {to.stored, to.view.norm, to.sums, to.dots});
  }
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

void Builder::NormBackward(GroupState& state) {
  const Value& out = values_[state.group.output];
  const Layout layout = out.layout;
  const int64_t channels = layout.channels();
  if (!state.sums.valid()) {
    const SumsPlace to = TakeNormSums(state.group.output, 0);
    const Place dy = out.gradient;
    plan_.AddStep(Label(state.group.norm, "sums of its gradient"),
                  {dy, to.stored, to.view.norm, to.sums, to.dots}, [=](Call& call) {
                    ParallelFor(layout.batch, layout.image(), [&](int64_t n) {
                      SumForNorm(layout.plane(), layout.channels(),
                                 call.At(dy) + n * layout.image(), to.At(call, n));
                    });
                  });
  }
  const Op& o = graph_.ops[state.group.norm];
  const BatchNorm norm = NormOf(o, layout);
  state.norm_gradient = plan_.AddBuffer(channels * kNormGradientArrays * 4);
  const Place sums = state.sums, dots = state.dots, arrays = state.norm, to = state.norm_gradient;
  const Place gamma = Parameter(o.offsets.weight), dgamma = Gradient(o.offsets.weight);
  const Place dbeta = Gradient(o.offsets.bias);
  plan_.AddStep(Label(state.group.norm, "coefficients of its gradient"), {sums, dots, arrays, to},
                [=](Call& call) {
                  float* c = call.At(to);
                  const BatchNormGradient gradient{call.At(sums),
                                                   call.At(dots),
                                                   call.At(gamma),
                                                   call.At(arrays) + 3 * channels,
                                                   call.At(dgamma),
                                                   call.At(dbeta),
                                                   c,
                                                   c + channels,
                                                   c + 2 * channels};
                  ForBlocks(norm, [&](int64_t block) { BatchNormBackward(norm, gradient, block); });
                });
}

void Builder::AddNorm(const Call& call, Place coefficients, int channels, GradientView& gradient) {
  gradient.a = call.At(coefficients);
  gradient.b = gradient.a + channels;
  gradient.c = gradient.b + channels;
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
  for (const SumsPlace& to : sums) {
    uses.insert(uses.end(), {to.stored, to.view.norm, to.sums, to.dots});
  }
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
