// Which oneDNN convolution computes an op, and in which layouts.
//
// oneDNN tries its implementations from fast to slow and ends with `ref`, plain loops that are a
// hundred times slower. So layouts are offered one after another until something else answers.
#pragma once

#include <dnnl.hpp>
#include <optional>
#include <string>

#include "kernels/cpu/layout.h"
#include "kernels/graph.h"

namespace trainyard::kernels::cpu {

// oneDNN's view of an activation.
dnnl::memory::desc ActivationDesc(const Layout& layout);
// The block of a descriptor that is one of our layouts, else none.
std::optional<int> BlockOf(const dnnl::memory::desc& desc, const Layout& like);
// Canonical (plain) weights of a convolution, with a dimension for groups where there are any.
dnnl::memory::desc WeightsDesc(const Op& op, const ValueShape& in, const ValueShape& out);

struct ConvGeometry {
  const Op* op = nullptr;
  Layout in, out;  // the block of `in` is the value's; that of `out` is free until chosen
};

template <typename PrimitiveDesc>
struct Chosen {
  PrimitiveDesc desc;
  int in_block = 1, out_block = 1;
  bool reference = false;  // nothing but oneDNN's plain loops would take it
};

using ForwardChoice = Chosen<dnnl::convolution_forward::primitive_desc>;
using DataChoice = Chosen<dnnl::convolution_backward_data::primitive_desc>;
using WeightsChoice = Chosen<dnnl::convolution_backward_weights::primitive_desc>;

// slope: of the ReLU that follows, or 1 for none. Throws dnnl::error where nothing can compute it.
ForwardChoice ChooseForward(const dnnl::engine& engine, const ConvGeometry& conv, float slope);
// The layouts that `forward` chose are preferred.
DataChoice ChooseData(const dnnl::engine& engine, const ConvGeometry& conv,
                      const ForwardChoice& forward);
WeightsChoice ChooseWeights(const dnnl::engine& engine, const ConvGeometry& conv,
                            const ForwardChoice& forward);

}  // namespace trainyard::kernels::cpu
