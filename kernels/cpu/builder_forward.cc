#include <algorithm>

#include "kernels/check.h"
#include "kernels/cpu/builder.h"
#include "kernels/cpu/parallel.h"

namespace trainyard::kernels::cpu {

void Builder::Forward(int op) {
  switch (graph_.ops[op].kind) {
    case OpKind::kConv:
      return ConvForward(op);
    case OpKind::kBatchNorm:
      return BatchNormForward(op);
    case OpKind::kRelu:
      return ReluForward(op);
    case OpKind::kMaxPool:
    case OpKind::kAvgPool:
    case OpKind::kGlobalAvgPool:
      return PoolForward(op);
    case OpKind::kDropout:
      return DropoutForward(op);
    case OpKind::kLinear:
      return LinearForward(op);
    case OpKind::kAdd:
      return AddForward(op);
  }
}

void Builder::ConvForward(int op) {
  const Op& o = graph_.ops[op];
  OpState& state = states_[op];
  const ConvGeometry geometry = Geometry(op);
  state.conv = ChooseForward(engine_, geometry, SlopeOf(op));
  const auto& desc = state.conv.desc;
  state.packed = PackWeights(op, desc.weights_desc(), "pack weights");
  const Place x = AsBlock(o.inputs[0], state.conv.in_block);
  Layout made = geometry.out;
  made.block = state.conv.out_block;
  const int output = OutputOf(op);
  const Place y = NewValue(output, made.block);
  const bool direct = SameBytes(made, values_[output].layout);
  const Place to = direct ? y : plan_.AddBuffer(made.bytes());
  std::vector<Argument> arguments = {{DNNL_ARG_SRC, desc.src_desc(), x},
                                     {DNNL_ARG_WEIGHTS, desc.weights_desc(), state.packed},
                                     {DNNL_ARG_DST, desc.dst_desc(), to}};
  if (o.offsets.bias >= 0) {
    arguments.push_back({DNNL_ARG_BIAS, desc.bias_desc(), ParameterPlace(o.offsets.bias)});
  }
  plan_.AddPrimitive(Label(op, "forward ") + desc.impl_info_str(), dnnl::convolution_forward(desc),
                     desc.scratchpad_desc(), arguments);
  if (!direct) Convert(Label(op, "output"), made, to, values_[output].layout.block, y);
}

void Builder::BatchNormForward(int op) {
  const Op& o = graph_.ops[op];
  const Value& in = values_[o.inputs[0]];
  const BatchNorm norm{Vectorised(in.layout), o.momentum, o.epsilon, SlopeOf(op)};
  const Place x = in.data, y = NewValue(OutputOf(op), in.layout.block);
  const Place kept = plan_.AddBuffer(norm.channels() * BatchNorm::kKept * 4);
  const Place scratch = plan_.AddBuffer(norm.scratch_bytes());
  states_[op].kept = kept;
  const ParameterOffsets at = o.offsets;
  plan_.AddStep(Label(op, "forward"), {x, y, kept, scratch}, [=, loops = &loops_](Call& call) {
    const BatchNormParameters parameters{
        call.At(ParameterPlace(at.weight)), call.At(ParameterPlace(at.bias)),
        call.At(StatisticPlace(at.running_mean)), call.At(StatisticPlace(at.running_var))};
    cpu::BatchNormForward(*loops, norm, call.training, call.At(x), parameters, call.At(y),
                          call.At(kept), call.At<double>(scratch));
  });
}

void Builder::ReluForward(int op) {
  const Op& o = graph_.ops[op];
  OpState& state = states_[op];
  if (state.fused_into >= 0) return;
  const Value& in = values_[o.inputs[0]];
  state.in_place = in.consumers == 1 && o.negative_slope >= 0;
  const Place x = in.data;
  const Place y = OutputLike(o.output, in, state.in_place);
  const int64_t count = in.layout.floats();
  plan_.AddStep(Label(op, "forward"), {x, y},
                [=, slope = o.negative_slope, loops = &loops_](Call& call) {
                  const float* from = call.At(x);
                  float* to = call.At(y);
                  ParallelSpans(count, [&](int64_t begin, int64_t end) {
                    loops->relu(from + begin, to + begin, end - begin, slope);
                  });
                });
}

void Builder::PoolForward(int op) {
  const Op& o = graph_.ops[op];
  const Layout in = Vectorised(values_[o.inputs[0]].layout);
  const Place x = values_[o.inputs[0]].data;
  if (o.kind == OpKind::kGlobalAvgPool) {
    const Place y = NewValue(o.output, 1);
    plan_.AddStep(Label(op, "forward"), {x, y}, [=, loops = &loops_](Call& call) {
      GlobalPoolForward(*loops, in, call.At(x), call.At(y));
    });
    return;
  }
  if (int64_t{o.kernel_h} * o.kernel_w > 65536) {
    throw Error("cpu: " + OpLabel(o) + ": windows of more than 65536 pixels are not supported");
  }
  const Window window = WindowOf(o, in.block);
  Layout made{batch_, graph_.values[o.output], in.block};
  const Place y = NewValue(o.output, in.block);
  const bool direct = SameBytes(made, values_[o.output].layout);
  const Place to = direct ? y : plan_.AddBuffer(made.bytes());
  if (o.kind == OpKind::kMaxPool) {
    const Place index = plan_.AddBuffer(made.floats() * 2);
    states_[op].kept = index;
    plan_.AddStep(Label(op, "forward"), {x, to, index}, [=, loops = &loops_](Call& call) {
      MaxPoolForward(*loops, in, window, call.At(x), call.At(to), call.At<uint16_t>(index));
    });
  } else {
    plan_.AddStep(Label(op, "forward"), {x, to}, [=, loops = &loops_](Call& call) {
      AvgPoolForward(*loops, in, window, call.At(x), call.At(to));
    });
  }
  if (!direct) Convert(Label(op, "output"), made, to, values_[o.output].layout.block, y);
}

void Builder::DropoutForward(int op) {
  const Op& o = graph_.ops[op];
  const Value& in = values_[o.inputs[0]];
  OpState& state = states_[op];
  state.in_place = in.consumers == 1;
  const Place x = in.data;
  const Place y = OutputLike(o.output, in, state.in_place);
  const Layout layout = in.layout;
  const Place mask = plan_.AddBuffer(layout.floats());
  state.kept = mask;
  const bool in_place = state.in_place;
  plan_.AddStep(Label(op, "forward"), {x, y, mask}, [=, &o, loops = &loops_](Call& call) {
    const float rate = call.training ? call.scalars->dropout_rates[o.dropout] : 0.0f;
    const float* from = call.At(x);
    float* to = call.At(y);
    if (rate == 0) {
      if (!in_place) {
        ParallelSpans(layout.floats(), [&](int64_t begin, int64_t end) {
          std::copy(from + begin, from + end, to + begin);
        });
      }
      return;
    }
    uint8_t* keep = call.At<uint8_t>(mask);
    DropoutMask(*loops, layout, *call.scalars, o.layer, rate, keep);
    ParallelSpans(layout.floats(), [&](int64_t begin, int64_t end) {
      loops->dropout(from + begin, keep + begin, to + begin, end - begin, 1.0f / (1.0f - rate));
    });
  });
}

void Builder::LinearForward(int op) {
  const Op& o = graph_.ops[op];
  const int64_t inputs = graph_.values[o.inputs[0]].size(), units = graph_.values[o.output].size();
  const Place x = AsBlock(o.inputs[0], 1), y = NewValue(OutputOf(op), 1);
  const Place weight = ParameterPlace(o.offsets.weight), bias = ParameterPlace(o.offsets.bias);
  const float slope = SlopeOf(op);
  const int64_t batch = batch_;
  plan_.AddStep(Label(op, "forward"), {x, y}, [=, loops = &loops_](Call& call) {
    float* out = call.At(y);
    Multiply({'N', call.At(x), inputs}, {'T', call.At(weight), inputs}, batch, units, inputs, out);
    const float* add = call.At(bias);
    if (add == nullptr && slope == 1) return;
    ParallelFor(batch, units,
                [&](int64_t n) { loops->bias_relu(out + n * units, 1, units, add, slope); });
  });
}

void Builder::AddForward(int op) {
  const Op& o = graph_.ops[op];
  const Layout layout = values_[o.inputs[0]].layout;
  const Place a = values_[o.inputs[0]].data, b = AsBlock(o.inputs[1], layout.block);
  const Place y = NewValue(OutputOf(op), layout.block);
  const float slope = SlopeOf(op);
  plan_.AddStep(Label(op, "forward"), {a, b, y}, [=, loops = &loops_](Call& call) {
    const float *left = call.At(a), *right = call.At(b);
    float* sum = call.At(y);
    ParallelSpans(layout.floats(), [&](int64_t begin, int64_t end) {
      loops->add(left + begin, right + begin, sum + begin, end - begin, slope);
    });
  });
}

void Builder::Loss() {
  const int value = graph_.ops.back().output;
  const Place logits = AsBlock(value, 1);
  const int64_t count = int64_t{batch_} * graph_.classes;
  const Place gradient = plan_.AddBuffer(count * 4), rows = plan_.AddBuffer(batch_ * 8);
  plan_.AddStep("loss", {logits, gradient, rows}, [=, classes = graph_.classes](Call& call) {
    const float smoothing = call.training ? call.scalars->label_smoothing : 0.0f;
    SoftmaxCrossEntropy({call.images, call.indices, classes, smoothing}, call.At(logits),
                        call.training ? call.At(gradient) : nullptr, call.At<double>(rows),
                        &call.loss_sum, &call.correct);
    if (!call.logits.empty()) std::copy_n(call.At(logits), count, call.logits.begin());
  });
  plan_.BeginBackward();
  GiveGradient(value, gradient, 1);
}

}  // namespace trainyard::kernels::cpu
