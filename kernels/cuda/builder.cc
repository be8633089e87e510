#include "kernels/cuda/builder.h"

#include "kernels/backend.h"
#include "kernels/check.h"

namespace trainyard::kernels::cuda {

Builder::Builder(const Graph& graph, const SpanLayout& spans, int batch, bool training, Plan& plan)
    : graph_(graph),
      spans_(spans),
      batch_(batch),
      training_(training),
      plan_(plan),
      states_(graph.ops.size()) {
  for (const ValueUse& use : UsesOf(graph)) values_.emplace_back(use);
}

void Builder::Build() {
  CheckOps();
  FuseNorms();
  FuseRelus();
  Images();
  const int ops = static_cast<int>(graph_.ops.size());
  int op = 0;
  try {
    for (op = 0; op < ops; ++op) Forward(op);
    op = ops - 1;
    Loss();
    if (training_) {
      for (op = ops - 1; op >= 0; --op) Backward(op);
    }
  } catch (const Error&) {
    RethrowAt(OpLabel(graph_.ops[op]));
  }
  if (training_) Update();
}

Place Builder::logits() const { return values_[graph_.ops.back().output].data; }

void Builder::CheckOps() const {
  for (const Op& op : graph_.ops) {
    if (op.kind == OpKind::kRelu && !(op.negative_slope >= 0 && op.negative_slope < 1)) {
      throw Error(OpLabel(op) + ": has slope " + std::to_string(op.negative_slope) +
                  ", expected 0 or more and less than 1");
    }
  }
  const Op& last = graph_.ops.back();
  const ValueShape& logits = graph_.values[last.output];
  if (logits.channels > 1 && logits.channels != logits.size()) {
    throw Error(OpLabel(last) + ": gives the logits and has " + std::to_string(logits.height) +
                "x" + std::to_string(logits.width) + " pixels, expected one");
  }
}

// Of two batch norms that are added to each other, the later one adds.
void Builder::FuseNorms() {
  for (int i = 0; i < static_cast<int>(graph_.ops.size()); ++i) {
    const Op& op = graph_.ops[i];
    if (op.kind != OpKind::kAdd) continue;
    for (int side : {0, 1}) {
      const Value& added = values_[op.inputs[side]];
      const int producer = added.producer;
      if (added.consumers != 1 || producer < 0) continue;
      if (graph_.ops[producer].kind != OpKind::kBatchNorm) continue;
      // Its backward would give two gradients to the same value at once.
      if (graph_.ops[producer].inputs[0] == op.inputs[1 - side]) continue;
      if (producer > states_[i].norm) states_[i].norm = producer;
    }
    if (states_[i].norm >= 0) states_[states_[i].norm].fused = true;
  }
}

void Builder::FuseRelus() {
  for (int i = 0; i < static_cast<int>(graph_.ops.size()); ++i) {
    const Op& op = graph_.ops[i];
    const Value& out = values_[op.output];
    if (out.consumers != 1 || out.consumer < 0) continue;
    if (graph_.ops[out.consumer].kind != OpKind::kRelu) continue;
    if (op.kind == OpKind::kConv || op.kind == OpKind::kLinear || op.kind == OpKind::kBatchNorm ||
        op.kind == OpKind::kAdd) {
      states_[i].relu = out.consumer;
      states_[out.consumer].fused = true;
    }
  }
}

int Builder::OutputOf(int op) const {
  const int relu = states_[op].relu;
  return graph_.ops[relu < 0 ? op : relu].output;
}

Activation Builder::ActivationOf(int op) const {
  const int relu = states_[op].relu;
  return relu < 0 ? Activation{} : Activation{true, graph_.ops[relu].negative_slope};
}

std::string Builder::Label(int op, const char* what) const {
  return OpLabel(graph_.ops[op]) + " " + what;
}

int64_t Builder::Elements(int value) const { return batch_ * graph_.values[value].size(); }

Place Builder::NewValue(int value) {
  values_[value].data = plan_.AddTensor(Elements(value));
  return values_[value].data;
}

Place Builder::OutputOver(int value, const Value& input) {
  if (input.consumers != 1) return NewValue(value);
  values_[value].data = input.data;
  return input.data;
}

Place Builder::ParameterPlace(int64_t canonical) const {
  if (canonical < 0) return {};
  return {Space::kParameters, spans_.parameters().Place(canonical)};
}

Place Builder::GradientPlace(int64_t canonical) const {
  if (canonical < 0) return {};
  return {Space::kGradients, spans_.parameters().Place(canonical)};
}

Place Builder::StatisticPlace(int64_t canonical) const {
  return {Space::kStatistics, spans_.statistics().Place(canonical)};
}

ConvLayer Builder::LayerOf(int op) const {
  const Op& o = graph_.ops[op];
  const ValueShape &in = graph_.values[o.inputs[0]], &out = graph_.values[o.output];
  ConvLayer layer;
  layer.name = OpLabel(o);
  ConvShape& shape = layer.shape;
  shape.batch = batch_;
  shape.in_h = in.height;
  shape.in_w = in.width;
  shape.in_c = in.channels;
  if (o.kind == OpKind::kLinear) {
    shape.out_h = shape.out_w = 1;
    shape.out_c = static_cast<int>(out.size());
    shape.kernel_h = in.height;
    shape.kernel_w = in.width;
  } else {
    shape.out_h = out.height;
    shape.out_w = out.width;
    shape.out_c = out.channels;
    shape.kernel_h = o.kernel_h;
    shape.kernel_w = o.kernel_w;
    shape.stride_h = o.stride_h;
    shape.stride_w = o.stride_w;
    shape.pad_top = o.pad_top;
    shape.pad_left = o.pad_left;
    shape.groups = o.groups;
    layer.first = o.inputs[0] == 0;
  }
  layer.weights = {Space::kWeights, spans_.parameters().Place(o.offsets.weight)};
  layer.bias = ParameterPlace(o.offsets.bias);
  layer.weight_gradients = GradientPlace(o.offsets.weight);
  return layer;
}

BatchNormShape Builder::NormShapeOf(int value) const {
  const ValueShape& shape = graph_.values[value];
  return {int64_t{batch_} * shape.height * shape.width, shape.channels};
}

PoolShape Builder::PoolShapeOf(const Op& op) const {
  const ValueShape &in = graph_.values[op.inputs[0]], &out = graph_.values[op.output];
  return {batch_,      in.channels, in.height,   in.width,    out.height, out.width,
          op.kernel_h, op.kernel_w, op.stride_h, op.stride_w, op.pad_top, op.pad_left};
}

}  // namespace trainyard::kernels::cuda
