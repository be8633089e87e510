#include <algorithm>

#include "kernels/check.h"
#include "kernels/cpu/builder.h"
#include "kernels/cpu/parallel.h"

namespace trainyard::kernels::cpu {

// ---- Dense layers ----

namespace {

Dense DenseOf(const Layout& in, const Layout& out) { return {in.batch, in.image(), out.image()}; }

}  // namespace

void Builder::LinearForward(GroupState& state) {
  const Group& group = state.group;
  const Op& o = graph_.ops[group.head];
  ExplainGroup(state, "product");
  const Place x = Active(o.inputs[0]), y = NewValue(group.output);
  const Layout out = values_[group.output].layout;
  const Dense dense = DenseOf(values_[o.inputs[0]].layout, out);
  plan_.NeedScratch(dense.scratch_floats(), dense.items());
  const Place weights = Parameter(o.offsets.weight), bias = Parameter(o.offsets.bias);
  const bool norm = group.norm >= 0;
  const float slope = group.stored_slope(graph_);
  plan_.AddStep(Label(group.head, "forward product"), {x, y}, [=](Call& call) {
    DenseForward(dense, call.At(x), call.At(weights), call.At(bias), slope, call.At(y),
                 call.Scratch(dense.scratch_floats()));
  });
  if (norm) NormAloneForward(state);
}

void Builder::LinearBackward(GroupState& state) {
  const Op& o = graph_.ops[state.group.head];
  ApplyView(state, "backward of what follows");
  const Value& out = values_[state.group.output];
  const Dense dense = DenseOf(values_[o.inputs[0]].layout, out.layout);
  const Place x = Active(o.inputs[0]), dy = out.gradient;
  const Place weights = Parameter(o.offsets.weight);
  const Place dw = Gradient(o.offsets.weight), db = Gradient(o.offsets.bias);
  plan_.AddStep(Label(state.group.head, "weight gradient product"), {x, dy}, [=](Call& call) {
    DenseWeights(dense, call.At(x), call.At(dy), call.At(dw), call.At(db),
                 call.Scratch(dense.scratch_floats()));
  });
  Value& in = values_[o.inputs[0]];
  if (!in.needs_gradient) return;
  const bool adds = in.gradient.valid();
  const Place dx = adds ? in.gradient : plan_.AddBuffer(in.layout.bytes());
  plan_.AddStep(Label(state.group.head, "data gradient product"), {dy, dx}, [=](Call& call) {
    DenseData(dense, call.At(dy), call.At(weights), adds, call.At(dx),
              call.Scratch(dense.scratch_floats()));
  });
  if (!adds) GiveGradient(o.inputs[0], dx);
}

// ---- Sums ----

void Builder::AddForward(GroupState& state) {
  const Group& group = state.group;
  const Op& o = graph_.ops[group.head];
  ExplainGroup(state, "loop");
  const Value &a = values_[o.inputs[0]], &b = values_[o.inputs[1]];
  const Place y = NewValue(group.output);
  const Layout layout = values_[group.output].layout;
  const float slope = group.stored_slope(graph_);
  const bool stream = LeavesCaches(layout.bytes());
  plan_.AddStep(Label(group.head, "forward"), {a.stored, a.view.norm, b.stored, b.view.norm, y},
                [=, xa = a.stored, view_a = a.view, xb = b.stored, view_b = b.view](Call& call) {
                  ParallelFor(layout.batch, layout.image(), [&](int64_t n) {
                    const int64_t at = n * layout.image();
                    AddViews(layout.plane(), layout.channels(), call.Read(xa) + at, view_a.At(call),
                             call.Read(xb) + at, view_b.At(call), slope, stream, call.At(y) + at);
                  });
                });
}

// Two values may have one gradient in common if nothing writes to it while it is still to be read.
// `value`'s is only ever read, where a convolution makes it; what writes to the other's must come
// after that convolution's backward: the other's own maker, and who else reads it.
bool Builder::MayShareGradient(int value, int with, int add) const {
  const Value &v = values_[value], &other = values_[with];
  if (v.group < 0 || v.consumers != 1 || other.group < 0) return false;
  const int maker = groups_[v.group].group.head, other_maker = groups_[other.group].group.head;
  if (graph_.ops[maker].kind != OpKind::kConv) return false;
  if (graph_.ops[other_maker].kind != OpKind::kConv && other_maker > maker) return false;
  for (int i = maker; i < static_cast<int>(graph_.ops.size()); ++i) {
    const std::vector<int>& inputs = graph_.ops[i].inputs;
    if (i != add && std::find(inputs.begin(), inputs.end(), with) != inputs.end()) return false;
  }
  return true;
}

void Builder::AddBackward(GroupState& state) {
  const Op& o = graph_.ops[state.group.head];
  const int a = o.inputs[0], b = o.inputs[1];
  if (!state.gradient_ended) {
    ApplyView(state, "backward of what follows", TakeTermsNormSums(state));
  }
  const Value& out = values_[state.group.output];
  const Place dy = out.gradient;
  const bool both = values_[a].needs_gradient && values_[b].needs_gradient;
  if (both && a != b && !values_[a].gradient.valid() && !values_[b].gradient.valid() &&
      !MayShareGradient(a, b, state.group.head) && !MayShareGradient(b, a, state.group.head)) {
    const Place copy = plan_.AddBuffer(out.layout.bytes());
    plan_.AddStep(Label(state.group.head, "backward copy"), {dy, copy},
                  [=, count = out.layout.floats()](Call& call) {
                    ParallelSpans(count, [&](int64_t begin, int64_t end) {
                      std::copy(call.At(dy) + begin, call.At(dy) + end, call.At(copy) + begin);
                    });
                  });
    GiveGradient(b, copy);
  } else {
    GiveGradient(b, dy);
  }
  GiveGradient(a, dy);
}

// ---- Pools ----

Window Builder::WindowOf(const Op& op) const {
  const ValueShape &in = graph_.values[op.inputs[0]], &out = graph_.values[op.output];
  return {in.height,   in.width,    out.height, out.width,   op.kernel_h,        op.kernel_w,
          op.stride_h, op.stride_w, op.pad_top, op.pad_left, Padded(in.channels)};
}

void Builder::PoolForward(GroupState& state) {
  const int head = state.group.head;
  const Op& o = graph_.ops[head];
  ExplainGroup(state, "loop");
  const Value& in = values_[o.inputs[0]];
  const Layout from = in.layout, to = values_[o.output].layout;
  const Place x = in.stored, y = NewValue(o.output);
  const ViewPlace view = in.view;
  if (o.kind == OpKind::kGlobalAvgPool) {
    plan_.AddStep(Label(head, "forward"), {x, view.norm, y}, [=](Call& call) {
      ParallelFor(from.batch, from.image(), [&](int64_t n) {
        GlobalPool(from.plane(), from.channels(), call.Read(x) + n * from.image(), view.At(call),
                   call.At(y) + n * to.image());
      });
    });
    return;
  }
  if (int64_t{o.kernel_h} * o.kernel_w > 65536) {
    throw Error("windows of more than 65536 pixels are not supported");
  }
  const bool largest = o.kind == OpKind::kMaxPool;
  if (largest) state.index = plan_.AddBuffer(to.floats() * 2);
  plan_.AddStep(Label(head, "forward"), {x, view.norm, y, state.index},
                [=, window = WindowOf(o), index = state.index](Call& call) {
                  ParallelFor(from.batch, from.image(), [&](int64_t n) {
                    const float* image = call.Read(x) + n * from.image();
                    float* made = call.At(y) + n * to.image();
                    if (largest) {
                      MaxPool(window, image, view.At(call), made,
                              call.At<uint16_t>(index) + n * to.image());
                    } else {
                      AvgPool(window, image, view.At(call), made);
                    }
                  });
                });
}

void Builder::PoolBackward(GroupState& state) {
  const int head = state.group.head;
  const Op& o = graph_.ops[head];
  if (!values_[o.inputs[0]].needs_gradient) return;
  const Layout from = values_[o.inputs[0]].layout, to = values_[o.output].layout;
  const Place dy = values_[o.output].gradient, dx = plan_.AddBuffer(from.bytes());
  plan_.AddStep(Label(head, "backward"), {dy, dx, state.index},
                [=, kind = o.kind, window = WindowOf(o), index = state.index](Call& call) {
                  ParallelFor(from.batch, from.image(), [&](int64_t n) {
                    const float* given = call.At(dy) + n * to.image();
                    float* image = call.At(dx) + n * from.image();
                    if (kind == OpKind::kGlobalAvgPool) {
                      GlobalPoolBackward(from.plane(), from.channels(), given, image);
                    } else if (kind == OpKind::kAvgPool) {
                      AvgPoolBackward(window, given, image);
                    } else {
                      MaxPoolBackward(window, given, call.At<uint16_t>(index) + n * to.image(),
                                      image);
                    }
                  });
                });
  GiveGradient(o.inputs[0], dx);
}

// ---- Dropout, batch norm and ReLU standing alone ----

void Builder::DropoutForward(GroupState& state) {
  const Op& o = graph_.ops[state.group.head];
  ExplainGroup(state, "loop");
  const Value& in = values_[o.inputs[0]];
  const Layout layout = in.layout;
  values_[o.output].layout = layout;
  DropoutMask(state, state.group.head, layout);
  const Place x = in.stored, y = NewValue(o.output), keep = state.keep;
  plan_.AddStep(Label(state.group.head, "forward"), {x, in.view.norm, y, keep},
                [=, &o, view = in.view](Call& call) {
                  const float rate = call.training ? call.scalars->dropout_rates[o.dropout] : 0.0f;
                  ParallelFor(layout.batch, layout.image(), [&](int64_t n) {
                    const int64_t at = n * layout.image();
                    if (rate == 0) {
                      Activate(layout.plane(), layout.channels(), call.Read(x) + at, view.At(call),
                               call.At(y) + at);
                    } else {
                      Drop(layout.plane(), layout.channels(), call.Read(x) + at, view.At(call),
                           call.At<uint8_t>(keep) + at, 1.0f / (1.0f - rate), call.At(y) + at);
                    }
                  });
                });
}

void Builder::DropoutBackward(GroupState& state) {
  const Op& o = graph_.ops[state.group.head];
  const Place dy = values_[o.output].gradient, keep = state.keep;
  plan_.AddStep(Label(state.group.head, "backward"), {dy, keep},
                [=, &o, layout = values_[o.output].layout](Call& call) {
                  const float rate = call.scalars->dropout_rates[o.dropout];
                  if (rate == 0) return;
                  ParallelFor(layout.batch, layout.image(), [&](int64_t n) {
                    float* d = call.At(dy) + n * layout.image();
                    Drop(layout.plane(), layout.channels(), d, {},
                         call.At<uint8_t>(keep) + n * layout.image(), 1.0f / (1.0f - rate), d);
                  });
                });
  GiveGradient(o.inputs[0], dy);
}

void Builder::ReluAloneForward(GroupState& state) {
  const Op& o = graph_.ops[state.group.head];
  ExplainGroup(state, "on the way, where it is read");
  const Value& in = values_[o.inputs[0]];
  Value& out = values_[o.output];
  out.layout = in.layout;
  if (in.view.slope == 1) {
    out.stored = in.stored;
    out.view = in.view;
  } else {
    out.stored = Active(o.inputs[0]);
  }
  out.view.slope = o.negative_slope;
}

}  // namespace trainyard::kernels::cpu
