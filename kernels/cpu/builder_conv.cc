#include <utility>

#include "kernels/cpu/builder.h"

namespace trainyard::kernels::cpu {

// What all threads of a step work in, where a convolution goes over chunks of the batch.
Place Builder::ChunkOf(const Convolution& conv) {
  return conv.chunk_floats() > 0 ? plan_.AddBuffer(conv.chunk_floats() * 4) : Place{};
}

void Builder::ConvForward(GroupState& state) {
  const Group& group = state.group;
  const Op& o = graph_.ops[group.head];
  const Value& in = values_[o.inputs[0]];
  const bool plain = in.stored.space == Space::kInput;
  const ConvGeometry geometry{&o, graph_.values[o.inputs[0]], graph_.values[o.output], batch_,
                              plain};
  state.conv = std::make_shared<Convolution>(geometry, group.pool >= 0);
  const std::shared_ptr<const Convolution> conv = state.conv;
  ExplainGroup(state, conv->name());
  plan_.NeedScratch(conv->scratch_floats(), conv->items());

  const Place weights = Parameter(o.offsets.weight), bias = Parameter(o.offsets.bias);
  state.packed = weights;
  if (conv->core().packed_floats() > 0) {
    state.packed = plan_.AddKeptBuffer(conv->core().packed_floats() * 4);
    plan_.AddStep(Label(group.head, "pack weights"), {state.packed},
                  [=, packed = state.packed](Call& call) {
                    if (!call.weights_kept) conv->core().Pack(call.At(weights), call.At(packed));
                  });
  }
  const Layout stored = conv->stored();
  const Place y = NewValue(group.output);
  if (group.pool >= 0 || group.dropout >= 0) state.codes = plan_.AddBuffer(stored.floats());
  if (group.dropout >= 0) DropoutMask(state, group.dropout, stored);
  if (group.norm >= 0) StoreMoments(state, stored);
  const Place chunk = ChunkOf(*conv);
  const float slope = group.stored_slope(graph_);
  const int dropout = group.dropout < 0 ? -1 : graph_.ops[group.dropout].dropout;
  const ViewPlace view = in.view;
  const Place x = in.stored;
  plan_.AddStep(
      Label(group.head, "forward ") + conv->name(),
      {x, view.norm, state.packed, y, state.codes, state.keep, state.means, state.m2s, chunk},
      [=, packed = state.packed, codes = state.codes, keep = state.keep, means = state.means,
       m2s = state.m2s](Call& call) {
        Convolution::ForwardCall forward;
        forward.x = call.Read(x);
        forward.view = view.At(call);
        forward.packed = call.At(packed);
        forward.stored = call.At(y);
        forward.chunk = call.At(chunk);
        forward.scratch = call.Scratch(conv->scratch_floats());
        Epilogue& epilogue = forward.epilogue;
        epilogue.bias = call.At(bias);
        epilogue.pool = group.pool >= 0;
        epilogue.slope = slope;
        epilogue.stream = LeavesCaches(stored.bytes());
        if (call.training) {
          const float rate = dropout < 0 ? 0.0f : call.scalars->dropout_rates[dropout];
          if (rate > 0) {
            epilogue.keep = call.At<uint8_t>(keep);
            epilogue.keep_scale = 1.0f / (1.0f - rate);
          }
          epilogue.codes = call.At<uint8_t>(codes);
          epilogue.mean = call.At(means);
          epilogue.m2 = call.At(m2s);
        }
        conv->Forward(forward);
      });
  if (group.norm >= 0) NormForward(state, stored);
}

void Builder::ConvBackward(GroupState& state) {
  const Group& group = state.group;
  const Op& o = graph_.ops[group.head];
  if (group.norm >= 0) NormBackward(state);
  const std::shared_ptr<const Convolution> conv = state.conv;
  const Value& out = values_[group.output];
  Value& in = values_[o.inputs[0]];

  Place dx, packed;
  const bool gives_some = conv->stride() != Stride();  // pixels' gradient alone
  const bool adds = !gives_some && in.gradient.valid();
  const SparsePlace more = gives_some ? SparsePlace() : std::exchange(in.sparse, {});
  EndPlace end;
  if (in.needs_gradient) {
    dx = adds ? in.gradient : plan_.AddBuffer(conv->gradient().bytes());
    packed = state.packed;
    if (conv->core().packed_backward_floats() > 0) {
      packed = plan_.AddBuffer(conv->core().packed_backward_floats() * 4);
      plan_.AddStep(Label(group.head, "pack weights for backward"), {state.packed, packed},
                    [=, weights = Parameter(o.offsets.weight), forward = state.packed](Call& call) {
                      conv->core().PackBackward(call.At(weights), call.At(forward),
                                                call.At(packed));
                    });
    }
    if (!gives_some) end = TakeEnd(o.inputs[0], group.head);
  }
  const Place group_sums = plan_.AddBuffer(conv->group_floats() * 4), chunk = ChunkOf(*conv);
  const ViewPlace view = in.view;
  const ViewPlace out_view = BackwardView(state);
  const int dropout = group.dropout < 0 ? -1 : graph_.ops[group.dropout].dropout;
  const Place x = in.stored, stored = out.stored, dy = out.gradient;
  const Place dw = Gradient(o.offsets.weight), db = Gradient(o.offsets.bias);
  const Write written = LeavesCaches(conv->gradient().bytes()) ? Write::kStream : Write::kStore;
  std::vector<Place> uses = {
      x,      view.norm, stored,  out_view.norm, dy,   state.codes, state.norm_gradient,
      packed, dx,        more.at, group_sums,    chunk};
  end.AddUses(uses);
  plan_.AddStep(Label(group.head, "backward ") + conv->name(), uses,
                [=, codes = state.codes, coefficients = state.norm_gradient,
                 pools = group.pool >= 0, norm = group.norm >= 0](Call& call) {
                  Convolution::BackwardCall backward;
                  backward.x = call.Read(x);
                  backward.view = view.At(call);
                  GradientView& gradient = backward.gradient;
                  gradient.dy = call.At(dy);
                  gradient.stored = call.At(stored);
                  gradient.view = out_view.At(call);
                  if (norm) AddNorm(call, coefficients, out_view.channels, gradient);
                  gradient.codes = call.At<uint8_t>(codes);
                  gradient.pool = pools;
                  const float rate = dropout < 0 ? 0.0f : call.scalars->dropout_rates[dropout];
                  gradient.keep_scale = 1.0f / (1.0f - rate);
                  backward.packed_backward = call.At(packed);
                  backward.dx = call.At(dx);
                  backward.write = adds ? Write::kAdd : written;
                  backward.more = more.At(call);
                  backward.end = end.At(call);
                  backward.group_sums = call.At(group_sums);
                  backward.dw = call.At(dw);
                  backward.db = call.At(db);
                  backward.chunk = call.At(chunk);
                  backward.scratch = call.Scratch(conv->scratch_floats());
                  conv->Backward(backward);
                });
  if (gives_some && dx.valid()) {
    GiveSparse(o.inputs[0], {dx, conv->gradient(), conv->stride()});
  } else if (dx.valid() && !adds) {
    GiveGradient(o.inputs[0], dx);
  }
}

}  // namespace trainyard::kernels::cpu
