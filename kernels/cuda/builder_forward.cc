#include "kernels/cuda/augment_batch.h"
#include "kernels/cuda/builder.h"
#include "kernels/cuda/dropout.h"
#include "kernels/cuda/elementwise.h"

namespace trainyard::kernels::cuda {

void Builder::Images() {
  const ValueShape& in = graph_.values[0];
  const ImageBatch shape{batch_, in.channels, in.height, in.width};
  const Place x = NewValue(0);
  plan_.AddTypedStep("load images", {x}, [=](const Call& call, auto type) {
    using T = decltype(type);
    AugmentBatch(shape, call.source, call.indices, call.table, call.step, call.At<T>(x),
                 call.stream);
  });
}

void Builder::Forward(int op) {
  switch (graph_.ops[op].kind) {
    case OpKind::kConv:
    case OpKind::kLinear:
      return ForwardConv(op);
    case OpKind::kBatchNorm:
      return ForwardNorm(op);
    case OpKind::kRelu:
      return ForwardRelu(op);
    case OpKind::kMaxPool:
    case OpKind::kAvgPool:
      return ForwardPool(op);
    case OpKind::kGlobalAvgPool:
      return ForwardGlobalPool(op);
    case OpKind::kDropout:
      return ForwardDropout(op);
    case OpKind::kAdd:
      return ForwardAdd(op);
  }
}

void Builder::ForwardConv(int op) {
  const Place x = values_[graph_.ops[op].inputs[0]].data, y = NewValue(OutputOf(op));
  AddConvForward(LayerOf(op), ActivationOf(op), x, y, plan_);
}

void Builder::ForwardNorm(int op) {
  const Op& o = graph_.ops[op];
  const BatchNormShape shape = NormShapeOf(o.inputs[0]);
  const Place x = values_[o.inputs[0]].data, saved = plan_.AddFloats(2 * shape.channels);
  const Place mean = StatisticPlace(o.offsets.running_mean);
  const Place var = StatisticPlace(o.offsets.running_var);
  const float momentum = o.momentum, epsilon = o.epsilon;
  states_[op].saved = saved;
  if (training_) {
    const Place workspace = plan_.AddFloats(BatchNormWorkspace(shape));
    plan_.AddTypedStep(
        Label(op, "statistics"), {x, saved, workspace}, [=](const Call& call, auto type) {
          using T = decltype(type);
          BatchNormStatistics(shape, call.At<T>(x), momentum, epsilon, call.At(workspace),
                              call.At(saved), call.At(mean), call.At(var), call.stream);
        });
  } else {
    plan_.AddStep(Label(op, "running statistics"), {saved}, [=](const Call& call) {
      BatchNormFromRunning(shape.channels, call.At(mean), call.At(var), epsilon, call.At(saved),
                           call.stream);
    });
  }
  if (!states_[op].fused) ApplyNorm(op, OutputOf(op), ActivationOf(op), {});
}

void Builder::ApplyNorm(int op, int output, Activation activation, Place residual) {
  const Op& o = graph_.ops[op];
  const BatchNormShape shape = NormShapeOf(o.inputs[0]);
  const Place x = values_[o.inputs[0]].data, saved = states_[op].saved, y = NewValue(output);
  const Place gamma = ParameterPlace(o.offsets.weight), beta = ParameterPlace(o.offsets.bias);
  plan_.AddTypedStep(Label(op, residual.valid() ? "apply and add" : "apply"),
                     {x, saved, residual, y}, [=](const Call& call, auto type) {
                       using T = decltype(type);
                       BatchNormApply(shape, call.At<T>(x), call.At(saved), call.At(gamma),
                                      call.At(beta), call.At<T>(residual), activation,
                                      call.At<T>(y), call.stream);
                     });
}

void Builder::ForwardRelu(int op) {
  if (states_[op].fused) return;
  const Op& o = graph_.ops[op];
  const Value& in = values_[o.inputs[0]];
  const Place x = in.data, y = OutputOver(o.output, in);
  const Activation activation{true, o.negative_slope};
  const int64_t count = Elements(o.output);
  plan_.AddTypedStep(Label(op, "forward"), {x, y}, [=](const Call& call, auto type) {
    using T = decltype(type);
    ActivationForward(call.At<T>(x), activation, count, call.At<T>(y), call.stream);
  });
}

void Builder::ForwardPool(int op) {
  const Op& o = graph_.ops[op];
  const PoolShape shape = PoolShapeOf(o);
  const Place x = values_[o.inputs[0]].data, y = NewValue(o.output);
  if (o.kind == OpKind::kAvgPool) {
    plan_.AddTypedStep(Label(op, "forward"), {x, y}, [=](const Call& call, auto type) {
      using T = decltype(type);
      AvgPoolForward(shape, call.At<T>(x), call.At<T>(y), call.stream);
    });
    return;
  }
  const bool keeps = training_ && values_[o.inputs[0]].needs_gradient;
  const Place index = keeps ? plan_.AddBuffer(MaxPoolIndexBytes(shape)) : Place{};
  states_[op].saved = index;
  plan_.AddTypedStep(Label(op, "forward"), {x, y, index}, [=](const Call& call, auto type) {
    using T = decltype(type);
    MaxPoolForward(shape, call.At<T>(x), call.At<T>(y), call.At<char>(index), call.stream);
  });
}

void Builder::ForwardGlobalPool(int op) {
  const Op& o = graph_.ops[op];
  const ValueShape& in = graph_.values[o.inputs[0]];
  const Place x = values_[o.inputs[0]].data, y = NewValue(o.output);
  plan_.AddTypedStep(Label(op, "forward"), {x, y},
                     [=, batch = batch_, pixels = in.height * in.width, channels = in.channels](
                         const Call& call, auto type) {
                       using T = decltype(type);
                       GlobalAvgPoolForward(batch, pixels, channels, call.At<T>(x), call.At<T>(y),
                                            call.stream);
                     });
}

void Builder::ForwardDropout(int op) {
  const Op& o = graph_.ops[op];
  const Value& in = values_[o.inputs[0]];
  if (!training_) {
    // The same tensor under another number; who reads one reads the other.
    Value& out = values_[o.output];
    out.data = in.data;
    out.consumers += in.consumers - 1;
    return;
  }
  const Place x = in.data, y = OutputOver(o.output, in);
  AddDropout(op, "forward", x, {y, false});
}

void Builder::AddDropout(int op, const char* direction, Place from, Target to) {
  const Op& o = graph_.ops[op];
  const ValueShape& shape = graph_.values[o.output];
  plan_.AddTypedStep(
      Label(op, direction), {from, to.place},
      [=, batch = batch_, pixels = shape.height * shape.width, channels = shape.channels,
       layer = o.layer, rate = o.dropout](const Call& call, auto type) {
        using T = decltype(type);
        Dropout(batch, pixels, channels, call.At<T>(from), call.step, layer, call.rates + rate,
                to.accumulate, call.At<T>(to.place), call.stream);
      });
}

void Builder::ForwardAdd(int op) {
  const Op& o = graph_.ops[op];
  const int norm = states_[op].norm;
  if (norm >= 0) {
    const int other = o.inputs[o.inputs[0] == graph_.ops[norm].output ? 1 : 0];
    return ApplyNorm(norm, OutputOf(op), ActivationOf(op), values_[other].data);
  }
  const Place a = values_[o.inputs[0]].data, b = values_[o.inputs[1]].data;
  const Place y = NewValue(OutputOf(op));
  const Activation activation = ActivationOf(op);
  const int64_t count = Elements(o.output);
  plan_.AddTypedStep(Label(op, "forward"), {a, b, y}, [=](const Call& call, auto type) {
    using T = decltype(type);
    AddForward(call.At<T>(a), call.At<T>(b), activation, count, call.At<T>(y), call.stream);
  });
}

void Builder::Loss() {
  const int value = graph_.ops.back().output;
  const Place logits = values_[value].data;
  const Place gradient = training_ ? plan_.AddTensor(Elements(value)) : Place{};
  const Place workspace = plan_.AddBuffer(LossWorkspaceBytes(batch_));
  plan_.AddTypedStep("loss", {logits, gradient, workspace},
                     [=, batch = batch_, classes = graph_.classes](const Call& call, auto type) {
                       using T = decltype(type);
                       SoftmaxCrossEntropy(batch, classes, call.At<T>(logits), call.source,
                                           call.indices, call.step, call.At<char>(workspace),
                                           call.At<T>(gradient), call.loss, call.stream);
                     });
  if (training_ && values_[value].needs_gradient) Hold(value, gradient);
}

}  // namespace trainyard::kernels::cuda
