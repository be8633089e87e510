#include "kernels/cpu/builder.h"

#include "kernels/check.h"
#include "kernels/cpu/parallel.h"

namespace trainyard::kernels::cpu {

Builder::Builder(const Graph& graph, int batch, const dnnl::engine& engine, Plan& plan)
    : graph_(graph),
      batch_(batch),
      engine_(engine),
      plan_(plan),
      loops_(BestLoops()),
      states_(graph.ops.size()) {
  for (const ValueUse& use : UsesOf(graph)) values_.emplace_back(use);
}

void Builder::Build() {
  FuseRelus();
  NewValue(0, 1);
  const Place input = values_[0].data;
  plan_.AddStep("load images", {input}, [input](Call& call) {
    LoadImages(*call.images, call.indices, call.table, call.training ? call.scalars : nullptr,
               call.At(input));
  });
  int op = 0;
  try {
    for (op = 0; op < static_cast<int>(graph_.ops.size()); ++op) Forward(op);
    Loss();
    for (op = static_cast<int>(graph_.ops.size()) - 1; op >= 0; --op) Backward(op);
  } catch (const dnnl::error& error) {
    throw Error("cpu: " + OpLabel(graph_.ops[op]) + ": " + error.message);
  }
  plan_.Finish();
}

void Builder::FuseRelus() {
  for (int i = 0; i < static_cast<int>(graph_.ops.size()); ++i) {
    const Op& op = graph_.ops[i];
    const Value& out = values_[op.output];
    if (out.consumers != 1 || out.consumer < 0) continue;
    const Op& next = graph_.ops[out.consumer];
    if (op.kind == OpKind::kRelu && next.kind == OpKind::kMaxPool && op.negative_slope >= 0) {
      // The largest of a window is positive before the ReLU exactly if it is after.
      states_[i].sign_elsewhere = true;
      states_[out.consumer].relu_before = i;
    }
    const bool fuses = op.kind == OpKind::kConv || op.kind == OpKind::kBatchNorm ||
                       op.kind == OpKind::kAdd || op.kind == OpKind::kLinear;
    if (fuses && next.kind == OpKind::kRelu && next.negative_slope >= 0) {
      states_[i].fused_relu = out.consumer;
      states_[out.consumer].fused_into = i;
    }
  }
}

int Builder::OutputOf(int op) const {
  const int relu = states_[op].fused_relu;
  return graph_.ops[relu < 0 ? op : relu].output;
}

float Builder::SlopeOf(int op) const {
  const int relu = states_[op].fused_relu;
  return relu < 0 ? 1.0f : graph_.ops[relu].negative_slope;
}

std::string Builder::Label(int op, const char* what) const {
  return OpLabel(graph_.ops[op]) + " " + what;
}

Layout Builder::LayoutFor(int value, int block) const {
  Layout layout{batch_, graph_.values[value], block};
  if (layout.plane() == 1) layout.block = 1;
  return layout;
}

Place Builder::NewValue(int value, int block) {
  values_[value].layout = LayoutFor(value, block);
  values_[value].data = plan_.AddBuffer(values_[value].layout.bytes());
  return values_[value].data;
}

Place Builder::OutputLike(int value, const Value& input, bool in_place) {
  if (!in_place) return NewValue(value, input.layout.block);
  values_[value].layout = input.layout;
  values_[value].data = input.data;
  return input.data;
}

void Builder::Convert(const std::string& name, const Layout& from, Place source, int block,
                      Place to) {
  Layout target = from;
  target.block = block;
  const dnnl::memory::desc a = ActivationDesc(from), b = ActivationDesc(target);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::reorder::primitive_desc desc(engine_, a, engine_, b, attributes);
  plan_.AddPrimitive(name + " reorder " + desc.impl_info_str(), dnnl::reorder(desc),
                     desc.scratchpad_desc(), {{DNNL_ARG_FROM, a, source}, {DNNL_ARG_TO, b, to}});
}

Place Builder::Converted(const std::string& name, const Layout& from, Place source, int block) {
  Layout target = from;
  target.block = block;
  if (SameBytes(from, target)) return source;
  const Place to = plan_.AddBuffer(target.bytes());
  Convert(name, from, source, block, to);
  return to;
}

Place Builder::AsBlock(int value, int block) {
  Value& v = values_[value];
  const auto found = v.converted.find(block);
  if (found != v.converted.end()) return found->second;
  const Place place = Converted("value " + std::to_string(value), v.layout, v.data, block);
  v.converted[block] = place;
  return place;
}

Window Builder::WindowOf(const Op& op, int block) const {
  const ValueShape &in = graph_.values[op.inputs[0]], &out = graph_.values[op.output];
  return {block,       in.height,   in.width,    out.height, out.width,  op.kernel_h,
          op.kernel_w, op.stride_h, op.stride_w, op.pad_top, op.pad_left};
}

void Builder::GiveGradient(int value, Place gradient, int block) {
  Value& v = values_[value];
  if (!v.needs_gradient) return;
  Layout given = v.layout;
  given.block = block;
  const std::string name = "gradient of value " + std::to_string(value);
  gradient = Converted(name, given, gradient, v.layout.block);
  if (!v.gradient.valid()) {
    v.gradient = gradient;
    return;
  }
  const Place sum = v.gradient;
  const int64_t count = v.layout.floats();
  plan_.AddStep(name + " sum", {sum, gradient},
                [this_loops = &loops_, sum, gradient, count](Call& call) {
                  float* a = call.At(sum);
                  const float* b = call.At(gradient);
                  ParallelSpans(count, [&](int64_t begin, int64_t end) {
                    this_loops->add(a + begin, b + begin, a + begin, end - begin, 1.0f);
                  });
                });
}

ConvGeometry Builder::Geometry(int op) const {
  const Op& o = graph_.ops[op];
  return {&o, values_[o.inputs[0]].layout, Layout{batch_, graph_.values[o.output], 1}};
}

Place Builder::PackWeights(int op, const dnnl::memory::desc& wanted, const char* what) {
  const Op& o = graph_.ops[op];
  const dnnl::memory::desc plain =
      WeightsDesc(o, graph_.values[o.inputs[0]], graph_.values[o.output]);
  const Place source = ParameterPlace(o.offsets.weight);
  if (wanted == plain) return source;
  const Place packed = plan_.AddBuffer(static_cast<int64_t>(wanted.get_size()));
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const dnnl::reorder::primitive_desc desc(engine_, plain, engine_, wanted, attributes);
  plan_.AddPrimitive(Label(op, what) + " " + desc.impl_info_str(), dnnl::reorder(desc),
                     desc.scratchpad_desc(),
                     {{DNNL_ARG_FROM, plain, source}, {DNNL_ARG_TO, wanted, packed}});
  return packed;
}

}  // namespace trainyard::kernels::cpu
