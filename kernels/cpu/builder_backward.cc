#include <algorithm>

#include "kernels/cpu/builder.h"
#include "kernels/cpu/parallel.h"

namespace trainyard::kernels::cpu {

void Builder::Backward(int op) {
  const Op& o = graph_.ops[op];
  // No gradient: no parameters before it, or nothing after it that the loss depends on.
  if (!values_[o.output].needs_gradient || !values_[o.output].gradient.valid()) return;
  switch (o.kind) {
    case OpKind::kConv:
      ConvWeightsBackward(op);
      return ConvDataBackward(op);
    case OpKind::kBatchNorm:
      return BatchNormBackward(op);
    case OpKind::kDropout:
    case OpKind::kRelu:
      return ReluBackward(op);
    case OpKind::kMaxPool:
    case OpKind::kAvgPool:
    case OpKind::kGlobalAvgPool:
      return PoolBackward(op);
    case OpKind::kLinear:
      return LinearBackward(op);
    case OpKind::kAdd:
      return AddBackward(op);
  }
}

void Builder::ConvWeightsBackward(int op) {
  const Op& o = graph_.ops[op];
  const OpState& state = states_[op];
  const Value& out = values_[OutputOf(op)];
  const Value& in = values_[o.inputs[0]];
  const WeightsChoice choice = ChooseWeights(engine_, Geometry(op), state.conv);
  const bool as_it_is = !choice.reference && choice.in_block == in.layout.block &&
                        choice.out_block == out.layout.block;
  if (!as_it_is && o.groups == 1 && in.layout.block == 1 && in.layout.shape.channels <= 4) {
    const Window window = WindowOf(o, out.layout.block);
    return FirstConvBackward(
        op, {in.layout, out.layout, window, in.layout.shape.height + o.pad_top + o.pad_bottom,
             in.layout.shape.width + o.pad_left + o.pad_right});
  }
  const auto& desc = choice.desc;
  const dnnl::memory::desc plain = WeightsDesc(o, in.layout.shape, graph_.values[o.output]);
  const dnnl::memory::desc packed = desc.diff_weights_desc();
  const Place x = AsBlock(o.inputs[0], choice.in_block);
  const Place dy = Converted(Label(op, "output gradient"), out.layout, values_[o.output].gradient,
                             choice.out_block);
  const Place dw = GradientPlace(o.offsets.weight);
  const Place to = packed == plain ? dw : plan_.AddBuffer(static_cast<int64_t>(packed.get_size()));
  std::vector<Argument> arguments = {{DNNL_ARG_SRC, desc.src_desc(), x},
                                     {DNNL_ARG_DIFF_DST, desc.diff_dst_desc(), dy},
                                     {DNNL_ARG_DIFF_WEIGHTS, packed, to}};
  if (o.offsets.bias >= 0) {
    arguments.push_back({DNNL_ARG_DIFF_BIAS, desc.diff_bias_desc(), GradientPlace(o.offsets.bias)});
  }
  plan_.AddPrimitive(Label(op, "weight gradient ") + desc.impl_info_str(),
                     dnnl::convolution_backward_weights(desc), desc.scratchpad_desc(), arguments);
  if (packed == plain) return;
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::reorder::primitive_desc reorder(engine_, packed, engine_, plain, attributes);
  plan_.AddPrimitive(Label(op, "unpack weight gradient ") + reorder.impl_info_str(),
                     dnnl::reorder(reorder), reorder.scratchpad_desc(),
                     {{DNNL_ARG_FROM, packed, to}, {DNNL_ARG_TO, plain, dw}});
}

void Builder::FirstConvBackward(int op, const FirstConvGradient& conv) {
  const Op& o = graph_.ops[op];
  const Place x = values_[o.inputs[0]].data, dy = values_[o.output].gradient;
  const Place scratch = plan_.AddBuffer(conv.scratch_floats() * 4);
  const Place dw = GradientPlace(o.offsets.weight), db = GradientPlace(o.offsets.bias);
  plan_.AddStep(Label(op, "weight gradient own"), {x, dy, scratch},
                [=, loops = &loops_](Call& call) {
                  cpu::FirstConvBackward(*loops, conv, call.At(x), call.At(dy), call.At(dw),
                                         call.At(db), call.At(scratch));
                });
}

void Builder::ConvDataBackward(int op) {
  const Op& o = graph_.ops[op];
  if (!values_[o.inputs[0]].needs_gradient) return;
  const OpState& state = states_[op];
  const ConvGeometry geometry = Geometry(op);
  const DataChoice choice = ChooseData(engine_, geometry, state.conv);
  const auto& desc = choice.desc;
  const Place weights = desc.weights_desc() == state.conv.desc.weights_desc()
                            ? state.packed
                            : PackWeights(op, desc.weights_desc(), "pack weights for data");
  const Place dy = Converted(Label(op, "output gradient"), values_[OutputOf(op)].layout,
                             values_[o.output].gradient, choice.out_block);
  Layout made = geometry.in;
  made.block = choice.in_block;
  const Place dx = plan_.AddBuffer(made.bytes());
  plan_.AddPrimitive(Label(op, "data gradient ") + desc.impl_info_str(),
                     dnnl::convolution_backward_data(desc), desc.scratchpad_desc(),
                     {{DNNL_ARG_DIFF_DST, desc.diff_dst_desc(), dy},
                      {DNNL_ARG_WEIGHTS, desc.weights_desc(), weights},
                      {DNNL_ARG_DIFF_SRC, desc.diff_src_desc(), dx}});
  GiveGradient(o.inputs[0], dx, made.block);
}

void Builder::BatchNormBackward(int op) {
  const Op& o = graph_.ops[op];
  const OpState& state = states_[op];
  const Value& in = values_[o.inputs[0]];
  const BatchNorm norm{Vectorised(in.layout), o.momentum, o.epsilon, SlopeOf(op)};
  const bool cuts = state.fused_relu >= 0 && !states_[state.fused_relu].sign_elsewhere;
  const Place x = in.data, dy = values_[o.output].gradient, kept = state.kept;
  const Place y = cuts ? values_[OutputOf(op)].data : Place{};
  const Place scratch = plan_.AddBuffer(norm.scratch_bytes());
  const ParameterOffsets at = o.offsets;
  plan_.AddStep(Label(op, "backward"), {x, y, dy, kept, scratch}, [=, loops = &loops_](Call& call) {
    cpu::BatchNormBackward(*loops, norm, call.At(x), call.At(y), call.At(kept),
                           call.At(ParameterPlace(at.weight)), call.At(dy),
                           call.At(GradientPlace(at.weight)), call.At(GradientPlace(at.bias)),
                           call.At<double>(scratch));
  });
  GiveGradient(o.inputs[0], dy, in.layout.block);
}

// ReLU and dropout: in place on the gradient.
void Builder::ReluBackward(int op) {
  const Op& o = graph_.ops[op];
  const OpState& state = states_[op];
  const Value& out = values_[o.output];
  const Place dy = out.gradient;
  const int64_t count = out.layout.floats();
  // A fused producer's own output was never stored; its layout is this one's.
  values_[o.inputs[0]].layout = out.layout;
  const bool in_batch_norm =
      state.fused_into >= 0 && graph_.ops[state.fused_into].kind == OpKind::kBatchNorm;
  if (o.kind == OpKind::kDropout) {
    const Place mask = state.kept;
    plan_.AddStep(Label(op, "backward"), {dy, mask}, [=, &o, loops = &loops_](Call& call) {
      const float rate = call.scalars->dropout_rates[o.dropout];
      if (rate == 0) return;
      float* d = call.At(dy);
      const uint8_t* keep = call.At<uint8_t>(mask);
      ParallelSpans(count, [&](int64_t begin, int64_t end) {
        loops->dropout(d + begin, keep + begin, d + begin, end - begin, 1.0f / (1.0f - rate));
      });
    });
  } else if (!state.sign_elsewhere && !in_batch_norm) {
    // The output has the input's sign, unless the slope is negative.
    const Place sign = o.negative_slope < 0 ? values_[o.inputs[0]].data : out.data;
    plan_.AddStep(Label(op, "backward"), {dy, sign},
                  [=, slope = o.negative_slope, loops = &loops_](Call& call) {
                    float* d = call.At(dy);
                    const float* s = call.At(sign);
                    ParallelSpans(count, [&](int64_t begin, int64_t end) {
                      loops->relu_backward(s + begin, d + begin, end - begin, slope);
                    });
                  });
  }
  GiveGradient(o.inputs[0], dy, out.layout.block);
}

void Builder::PoolBackward(int op) {
  const Op& o = graph_.ops[op];
  const OpState& state = states_[op];
  if (!values_[o.inputs[0]].needs_gradient) return;
  const Layout in = Vectorised(values_[o.inputs[0]].layout);
  const Value& out = values_[o.output];
  const Place dx = plan_.AddBuffer(in.bytes());
  if (o.kind == OpKind::kGlobalAvgPool) {
    const Place dy = out.gradient;
    plan_.AddStep(Label(op, "backward"), {dy, dx}, [=, loops = &loops_](Call& call) {
      GlobalPoolBackward(*loops, in, call.At(dy), call.At(dx));
    });
    return GiveGradient(o.inputs[0], dx, values_[o.inputs[0]].layout.block);
  }
  const Window window = WindowOf(o, in.block);
  const Place dy = Converted(Label(op, "output gradient"), out.layout, out.gradient, in.block);
  if (o.kind == OpKind::kAvgPool) {
    plan_.AddStep(Label(op, "backward"), {dy, dx}, [=, loops = &loops_](Call& call) {
      AvgPoolBackward(*loops, in, window, call.At(dy), call.At(dx));
    });
  } else {
    const bool cuts = state.relu_before >= 0;
    const float slope = cuts ? graph_.ops[state.relu_before].negative_slope : 1.0f;
    const Place sign =
        cuts ? Converted(Label(op, "output"), out.layout, out.data, in.block) : Place{};
    const Place index = state.kept;
    plan_.AddStep(Label(op, "backward"), {dy, dx, sign, index}, [=, loops = &loops_](Call& call) {
      MaxPoolBackward(*loops, in, window, call.At(dy), call.At<uint16_t>(index), call.At(sign),
                      slope, call.At(dx));
    });
  }
  GiveGradient(o.inputs[0], dx, values_[o.inputs[0]].layout.block);
}

void Builder::LinearBackward(int op) {
  const Op& o = graph_.ops[op];
  const int64_t batch = batch_;
  const int64_t inputs = graph_.values[o.inputs[0]].size(), units = graph_.values[o.output].size();
  const Place x = AsBlock(o.inputs[0], 1), dy = values_[o.output].gradient;
  const Place weight = ParameterPlace(o.offsets.weight);
  const Place dw = GradientPlace(o.offsets.weight), db = GradientPlace(o.offsets.bias);
  plan_.AddStep(Label(op, "weight gradient"), {x, dy}, [=, loops = &loops_](Call& call) {
    Multiply({'T', call.At(dy), units}, {'N', call.At(x), inputs}, units, inputs, batch,
             call.At(dw));
    if (db.valid()) loops->column_sums(call.At(dy), batch, units, call.At(db));
  });
  if (!values_[o.inputs[0]].needs_gradient) return;
  const Place dx = plan_.AddBuffer(batch * inputs * 4);
  plan_.AddStep(Label(op, "data gradient"), {dy, dx}, [=](Call& call) {
    Multiply({'N', call.At(dy), units}, {'N', call.At(weight), inputs}, batch, inputs, units,
             call.At(dx));
  });
  GiveGradient(o.inputs[0], dx, 1);
}

void Builder::AddBackward(int op) {
  const Op& o = graph_.ops[op];
  const int a = o.inputs[0], b = o.inputs[1];
  const Place dy = values_[o.output].gradient;
  const Layout layout = values_[a].layout;
  const bool both = values_[a].needs_gradient && values_[b].needs_gradient;
  // Gradients are changed in place later on, so only one side may take dy itself; a side that has a
  // gradient already only adds dy to it.
  if (both && a != b && !values_[a].gradient.valid() && !values_[b].gradient.valid() &&
      SameBytes(layout, values_[b].layout)) {
    const Place copy = plan_.AddBuffer(layout.bytes());
    plan_.AddStep(Label(op, "backward copy"), {dy, copy}, [=](Call& call) {
      const float* from = call.At(dy);
      float* to = call.At(copy);
      ParallelSpans(layout.floats(), [&](int64_t begin, int64_t end) {
        std::copy(from + begin, from + end, to + begin);
      });
    });
    GiveGradient(b, copy, layout.block);
  } else {
    GiveGradient(b, dy, layout.block);
  }
  GiveGradient(a, dy, layout.block);
}

}  // namespace trainyard::kernels::cpu
