// Batch norm: what its forward and backward come to by channel, between the passes over its values.
#include "kernels/cpu/builder.h"
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd/batch_norm.h"

namespace trainyard::kernels::cpu {
namespace {

// Arrays by channel that a batch norm's forward and backward make: mean, scale, shift, inverse_std;
// and a, b, c.
constexpr int kNormArrays = 4, kNormGradientArrays = 3;

BatchNorm NormOf(const Op& op, const Layout& layout) {
  return {layout.batch, layout.shape.channels, layout.plane(), op.momentum, op.epsilon};
}

// Spreads a batch norm's blocks of channels over threads: body(block), over arrays by image.
template <typename Body>
void ForBlocks(const BatchNorm& norm, const Body& body) {
  ParallelFor(Padded(norm.channels) / kBlock, int64_t{norm.batch} * kBlock * 2, body);
}

}  // namespace

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

void Builder::NormAloneForward(GroupState& state) {
  const Group& group = state.group;
  const Op& o = graph_.ops[group.head];
  Value& out = values_[group.output];
  if (group.head == group.norm) {
    ExplainGroup(state, "on the way, where it is read");
    out.layout = values_[o.inputs[0]].layout;
    out.stored = Active(o.inputs[0]);
  }
  const Layout layout = out.layout;
  StoreMoments(state, layout);
  const Place x = out.stored, means = state.means, m2s = state.m2s;
  plan_.AddStep(Label(group.norm, "moments"), {x, means, m2s}, [=](Call& call) {
    if (!call.training) return;
    const int64_t channels = layout.channels();
    ParallelFor(layout.batch, layout.image(), [&](int64_t n) {
      Moments(layout.plane(), layout.channels(), call.Read(x) + n * layout.image(),
              call.At(means) + n * channels, call.At(m2s) + n * channels);
    });
  });
  NormForward(state, layout);
}

void Builder::NormBackward(GroupState& state) {
  const Value& out = values_[state.group.output];
  const Layout layout = out.layout;
  const int64_t channels = layout.channels();
  if (!state.sums.valid()) {
    const SumsPlace to = TakeNormSums(state.group.output, 0);
    const Place dy = out.gradient;
    std::vector<Place> uses = {dy};
    to.AddUses(uses);
    plan_.AddStep(Label(state.group.norm, "sums of its gradient"), uses, [=](Call& call) {
      ParallelFor(layout.batch, layout.image(), [&](int64_t n) {
        SumForNorm(layout.plane(), layout.channels(), call.At(dy) + n * layout.image(),
                   to.At(call, n));
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

}  // namespace trainyard::kernels::cpu
