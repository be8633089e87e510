#include "kernels/cpu/builder.h"

#include <algorithm>

#include "kernels/check.h"
#include "kernels/cpu/dropout.h"
#include "kernels/cpu/loss.h"
#include "kernels/cpu/parallel.h"
#include "kernels/explain.h"

namespace trainyard::kernels::cpu {
namespace {

std::string Dims(const ValueShape& shape) {
  return std::to_string(shape.channels) + "x" + std::to_string(shape.height) + "x" +
         std::to_string(shape.width);
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

}  // namespace trainyard::kernels::cpu
