#include "kernels/cpu/conv.h"

#include <utility>
#include <vector>

namespace trainyard::kernels::cpu {
namespace {

using dnnl::memory;
using Tag = dnnl::memory::format_tag;

constexpr auto kFloat = memory::data_type::f32;
constexpr auto kDirect = dnnl::algorithm::convolution_direct;
constexpr int kAny = 0;  // in place of a block: oneDNN chooses

memory::dims Dims(const Layout& layout) {
  return {layout.batch, layout.shape.channels, layout.shape.height, layout.shape.width};
}

memory::desc Offer(Layout layout, int block) {
  if (block == kAny) return memory::desc(Dims(layout), kFloat, Tag::any);
  layout.block = block;
  return ActivationDesc(layout);
}

memory::desc AnyWeights(const ConvGeometry& conv) {
  const memory::desc plain = WeightsDesc(*conv.op, conv.in.shape, conv.out.shape);
  return memory::desc(plain.dims(), kFloat, Tag::any);
}

memory::desc BiasDesc(const ConvGeometry& conv) {
  if (conv.op->offsets.bias < 0) return memory::desc();
  return memory::desc({conv.out.shape.channels}, kFloat, Tag::x);
}

struct Spacing {
  memory::dims strides, before, after;
};

Spacing SpacingOf(const Op& op) {
  return {{op.stride_h, op.stride_w}, {op.pad_top, op.pad_left}, {op.pad_bottom, op.pad_right}};
}

dnnl::primitive_attr Attributes(float slope) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (slope != 1) {
    dnnl::post_ops after;
    after.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, slope, 0.0f);
    attributes.set_post_ops(after);
  }
  return attributes;
}

bool IsReference(const char* implementation) {
  return std::string(implementation).find("ref") != std::string::npos;
}

// Offers (in, out) blocks in turn to `make`, which returns a descriptor or throws; takes the first
// whose layouts are ours and that is not `ref`, else the first at all.
template <typename PrimitiveDesc, typename Make, typename In, typename Out>
Chosen<PrimitiveDesc> Choose(const ConvGeometry& conv,
                             const std::vector<std::pair<int, int>>& offers, Make make, In in_of,
                             Out out_of) {
  std::optional<Chosen<PrimitiveDesc>> slow;
  for (const auto& [in, out] : offers) {
    PrimitiveDesc desc;
    try {
      desc = make(Offer(conv.in, in), Offer(conv.out, out));
    } catch (const dnnl::error&) {
      continue;  // these layouts go with no implementation
    }
    const std::optional<int> in_block = BlockOf(in_of(desc), conv.in);
    const std::optional<int> out_block = BlockOf(out_of(desc), conv.out);
    if (!in_block || !out_block) continue;
    Chosen<PrimitiveDesc> chosen{desc, *in_block, *out_block, IsReference(desc.impl_info_str())};
    if (!chosen.reference) return chosen;
    if (!slow) slow = chosen;
  }
  if (slow) return *slow;
  throw dnnl::error(dnnl_unimplemented, "oneDNN has no such convolution");
}

std::vector<std::pair<int, int>> BackwardOffers(const ForwardChoice& forward) {
  return {{forward.in_block, forward.out_block}, {kAny, kAny}, {16, 16}, {8, 8}, {1, 1}};
}

}  // namespace

memory::desc ActivationDesc(const Layout& layout) {
  const Tag tag = layout.block == 16 ? Tag::nChw16c : layout.block == 8 ? Tag::nChw8c : Tag::nchw;
  return memory::desc(Dims(layout), kFloat, tag);
}

std::optional<int> BlockOf(const memory::desc& desc, const Layout& like) {
  for (int block : {1, 8, 16}) {
    Layout layout = like;
    layout.block = block;
    if (ActivationDesc(layout) == desc) return block;
  }
  return std::nullopt;
}

memory::desc WeightsDesc(const Op& op, const ValueShape& in, const ValueShape& out) {
  if (op.groups == 1) {
    return memory::desc({out.channels, in.channels, op.kernel_h, op.kernel_w}, kFloat, Tag::oihw);
  }
  return memory::desc(
      {op.groups, out.channels / op.groups, in.channels / op.groups, op.kernel_h, op.kernel_w},
      kFloat, Tag::goihw);
}

ForwardChoice ChooseForward(const dnnl::engine& engine, const ConvGeometry& conv, float slope) {
  const Spacing s = SpacingOf(*conv.op);
  auto make = [&](const memory::desc& in, const memory::desc& out) {
    // With an empty bias descriptor, oneDNN takes it that there is none.
    const dnnl::convolution_forward::desc desc(dnnl::prop_kind::forward_training, kDirect, in,
                                               AnyWeights(conv), BiasDesc(conv), out, s.strides,
                                               s.before, s.after);
    return dnnl::convolution_forward::primitive_desc(desc, Attributes(slope), engine);
  };
  // Few channels in a plain layout are what the first-layer kernels take; more want blocks.
  std::vector<std::pair<int, int>> offers = {{conv.in.block, kAny}, {kAny, kAny}, {1, 1}};
  if (conv.in.block == 1 && conv.in.shape.channels > 4) std::swap(offers[0], offers[1]);
  return Choose<dnnl::convolution_forward::primitive_desc>(
      conv, offers, make, [](const auto& desc) { return desc.src_desc(); },
      [](const auto& desc) { return desc.dst_desc(); });
}

DataChoice ChooseData(const dnnl::engine& engine, const ConvGeometry& conv,
                      const ForwardChoice& forward) {
  const Spacing s = SpacingOf(*conv.op);
  auto make = [&](const memory::desc& in, const memory::desc& out) {
    const dnnl::convolution_backward_data::desc desc(kDirect, in, AnyWeights(conv), out, s.strides,
                                                     s.before, s.after);
    return dnnl::convolution_backward_data::primitive_desc(desc, Attributes(1), engine,
                                                           forward.desc);
  };
  return Choose<dnnl::convolution_backward_data::primitive_desc>(
      conv, BackwardOffers(forward), make, [](const auto& desc) { return desc.diff_src_desc(); },
      [](const auto& desc) { return desc.diff_dst_desc(); });
}

WeightsChoice ChooseWeights(const dnnl::engine& engine, const ConvGeometry& conv,
                            const ForwardChoice& forward) {
  const Spacing s = SpacingOf(*conv.op);
  auto make = [&](const memory::desc& in, const memory::desc& out) {
    const dnnl::convolution_backward_weights::desc desc(
        kDirect, in, AnyWeights(conv), BiasDesc(conv), out, s.strides, s.before, s.after);
    return dnnl::convolution_backward_weights::primitive_desc(desc, Attributes(1), engine,
                                                              forward.desc);
  };
  return Choose<dnnl::convolution_backward_weights::primitive_desc>(
      conv, BackwardOffers(forward), make, [](const auto& desc) { return desc.src_desc(); },
      [](const auto& desc) { return desc.diff_dst_desc(); });
}

}  // namespace trainyard::kernels::cpu
