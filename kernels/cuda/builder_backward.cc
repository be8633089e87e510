#include <utility>

#include "kernels/cuda/builder.h"
#include "kernels/cuda/elementwise.h"

namespace trainyard::kernels::cuda {

void Builder::Backward(int op) {
  const OpState& state = states_[op];
  const int output = OutputOf(op);
  // No gradient: no parameters before it, or nothing after it that the loss depends on.
  if (state.fused || !values_[output].gradient.valid()) return;
  switch (graph_.ops[op].kind) {
    case OpKind::kConv:
    case OpKind::kLinear:
      BackwardConv(op);
      break;
    case OpKind::kBatchNorm:
      BackwardNorm(op, -1, output, ActivationOf(op));
      break;
    case OpKind::kRelu:
      BackwardRelu(op);
      break;
    case OpKind::kMaxPool:
    case OpKind::kAvgPool:
      BackwardPool(op);
      break;
    case OpKind::kGlobalAvgPool:
      BackwardGlobalPool(op);
      break;
    case OpKind::kDropout:
      BackwardDropout(op);
      break;
    case OpKind::kAdd:
      BackwardAdd(op);
      break;
  }
  Release(output);
}

void Builder::BackwardConv(int op) {
  const Op& o = graph_.ops[op];
  const ConvLayer layer = LayerOf(op);
  const Place dz = BeforeBias(op);
  AddConvBackwardFilter(layer, values_[o.inputs[0]].data, dz, plan_);
  const Target target = Receive(o.inputs[0]);
  if (target.place.valid()) {
    AddConvBackwardData(layer, dz, target.accumulate, target.place, plan_);
  }
}

Place Builder::BeforeBias(int op) {
  const Op& o = graph_.ops[op];
  const int output = OutputOf(op);
  const Activation activation = ActivationOf(op);
  const Place dy = values_[output].gradient;
  if (o.offsets.bias < 0 && !activation.on) return dy;
  const Place y = activation.on ? values_[output].data : Place{};
  Place dz;
  if (activation.on) dz = Exclusive(output) ? dy : plan_.AddTensor(Elements(output));
  const int64_t count = Elements(output);
  if (o.offsets.bias < 0) {
    AddActivationBackward(Label(op, "activation gradient"), y, dy, activation, count, {dz, false});
    return dz;
  }
  const Place dbias = GradientPlace(o.offsets.bias);
  const int channels = LayerOf(op).shape.out_c;
  const int64_t rows = count / channels;
  const Place workspace = plan_.AddFloats(BiasBackwardWorkspace(rows, channels));
  plan_.AddTypedStep(
      Label(op, "bias gradient"), {y, dy, dz, workspace}, [=](const Call& call, auto type) {
        using T = decltype(type);
        BiasBackward(call.At<T>(y), call.At<T>(dy), activation, rows, channels, call.At<T>(dz),
                     call.At(workspace), call.At(dbias), call.stream);
      });
  return activation.on ? dz : dy;
}

// residual: the value that the forward added, or -1.
void Builder::BackwardNorm(int op, int residual, int output, Activation activation) {
  const Op& o = graph_.ops[op];
  const BatchNormShape shape = NormShapeOf(o.inputs[0]);
  const Place x = values_[o.inputs[0]].data, saved = states_[op].saved;
  const Place y = activation.on ? values_[output].data : Place{};
  const Place dy = values_[output].gradient, gamma = ParameterPlace(o.offsets.weight);
  const Target added = residual < 0 ? Target{} : Receive(residual);
  Target dx = ReceiveOver(o.inputs[0], output);
  if (!dx.place.valid()) dx.place = plan_.AddTensor(Elements(o.inputs[0]));
  const Place dgamma = GradientPlace(o.offsets.weight), dbeta = GradientPlace(o.offsets.bias);
  const Place workspace = plan_.AddFloats(BatchNormWorkspace(shape));
  plan_.AddTypedStep(Label(op, "backward"), {x, y, dy, saved, dx.place, added.place, workspace},
                     [=](const Call& call, auto type) {
                       using T = decltype(type);
                       const BatchNormGradients<T> gradients{
                           call.At(dgamma), call.At(dbeta),          call.At<T>(dx.place),
                           dx.accumulate,   call.At<T>(added.place), added.accumulate};
                       BatchNormBackward(shape, call.At<T>(x), call.At<T>(y), call.At<T>(dy),
                                         call.At(saved), call.At(gamma), activation,
                                         call.At(workspace), gradients, call.stream);
                     });
}

void Builder::BackwardRelu(int op) {
  const Op& o = graph_.ops[op];
  const Place y = values_[o.output].data, dy = values_[o.output].gradient;
  const Target dx = ReceiveOver(o.inputs[0], o.output);
  const Activation activation{true, o.negative_slope};
  AddActivationBackward(Label(op, "backward"), y, dy, activation, Elements(o.output), dx);
}

void Builder::AddActivationBackward(std::string name, Place y, Place dy, Activation activation,
                                    int64_t count, Target dx) {
  plan_.AddTypedStep(std::move(name), {y, dy, dx.place}, [=](const Call& call, auto type) {
    using T = decltype(type);
    ActivationBackward(call.At<T>(y), call.At<T>(dy), activation, dx.accumulate, count,
                       call.At<T>(dx.place), call.stream);
  });
}

void Builder::BackwardPool(int op) {
  const Op& o = graph_.ops[op];
  const PoolShape shape = PoolShapeOf(o);
  const Place dy = values_[o.output].gradient, index = states_[op].saved;
  const Target dx = Receive(o.inputs[0]);
  const bool max = o.kind == OpKind::kMaxPool;
  plan_.AddTypedStep(
      Label(op, "backward"), {dy, dx.place, index}, [=](const Call& call, auto type) {
        using T = decltype(type);
        const T* from = call.At<T>(dy);
        T* to = call.At<T>(dx.place);
        if (max) {
          MaxPoolBackward(shape, call.At<char>(index), from, dx.accumulate, to, call.stream);
        } else {
          AvgPoolBackward(shape, from, dx.accumulate, to, call.stream);
        }
      });
}

void Builder::BackwardGlobalPool(int op) {
  const Op& o = graph_.ops[op];
  const ValueShape& in = graph_.values[o.inputs[0]];
  const Place dy = values_[o.output].gradient;
  const Target dx = Receive(o.inputs[0]);
  plan_.AddTypedStep(Label(op, "backward"), {dy, dx.place},
                     [=, batch = batch_, pixels = in.height * in.width, channels = in.channels](
                         const Call& call, auto type) {
                       using T = decltype(type);
                       GlobalAvgPoolBackward(batch, pixels, channels, call.At<T>(dy), dx.accumulate,
                                             call.At<T>(dx.place), call.stream);
                     });
}

void Builder::BackwardDropout(int op) {
  const Op& o = graph_.ops[op];
  const Place dy = values_[o.output].gradient;
  AddDropout(op, "backward", dy, ReceiveOver(o.inputs[0], o.output));
}

void Builder::BackwardAdd(int op) {
  const Op& o = graph_.ops[op];
  const int output = OutputOf(op), norm = states_[op].norm;
  const Activation activation = ActivationOf(op);
  if (norm >= 0) {
    const int other = o.inputs[o.inputs[0] == graph_.ops[norm].output ? 1 : 0];
    return BackwardNorm(norm, other, output, activation);
  }
  if (activation.on) {
    const Place dy = values_[output].gradient;
    if (!Exclusive(output)) {
      Release(output);
      Hold(output, plan_.AddTensor(Elements(output)));
    }
    AddActivationBackward(Label(op, "activation gradient"), values_[output].data, dy, activation,
                          Elements(output), {values_[output].gradient, false});
  }
  for (int input : o.inputs) {
    if (!values_[input].needs_gradient) continue;
    if (!values_[input].gradient.valid()) {
      Hold(input, values_[output].gradient);
      continue;
    }
    AddActivationBackward(Label(op, "backward"), {}, values_[output].gradient, {}, Elements(input),
                          Receive(input));
  }
}

void Builder::Update() {
  const int64_t count = spans_.parameters().count();
  const Place workspace = plan_.AddBuffer(GradientNormWorkspace(count) * sizeof(double));
  plan_.AddStep("gradient norm", {workspace}, [=](const Call& call) {
    GradientNorm(call.gradients, count, call.At<double>(workspace), call.norm, call.stream);
  });
  plan_.AddStep("update", {}, [](const Call& call) {
    OptimizerStep(call.step, call.norm, call.spans, call.stream);
  });
}

bool Builder::Exclusive(int value) const { return holders_[values_[value].gradient.at] == 1; }

void Builder::Hold(int value, Place gradient) {
  if (static_cast<int64_t>(holders_.size()) <= gradient.at) holders_.resize(gradient.at + 1);
  ++holders_[gradient.at];
  values_[value].gradient = gradient;
}

void Builder::Release(int value) { --holders_[values_[value].gradient.at]; }

void Builder::CopyGradient(int value) {
  const Place from = values_[value].gradient, to = plan_.AddTensor(Elements(value));
  AddActivationBackward("gradient of value " + std::to_string(value) + " copy", {}, from, {},
                        Elements(value), {to, false});
  Release(value);
  Hold(value, to);
}

Builder::Target Builder::Receive(int value) {
  if (!values_[value].needs_gradient) return {};
  if (!values_[value].gradient.valid()) {
    Hold(value, plan_.AddTensor(Elements(value)));
    return {values_[value].gradient, false};
  }
  if (!Exclusive(value)) CopyGradient(value);
  return {values_[value].gradient, true};
}

Builder::Target Builder::ReceiveOver(int value, int output) {
  const Value& v = values_[value];
  if (v.needs_gradient && !v.gradient.valid() && Exclusive(output)) {
    Hold(value, values_[output].gradient);
    return {v.gradient, false};
  }
  return Receive(value);
}

}  // namespace trainyard::kernels::cuda
