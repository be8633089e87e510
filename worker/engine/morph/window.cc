#include "worker/engine/morph/window.h"

#include "network/shapes.h"

namespace trainyard::engine {
namespace {

using network::Shape;

bool SameSides(const Shape& a, const Shape& b) {
  return a.height == b.height && a.width == b.width;
}

template <class Op>
Window Resolve(const Op& op, const Shape& in) {
  return {op.kernel, op.stride, network::ResolvePadding(op.padding, in, op.kernel, op.stride), in,
          network::OutputShape({op}, in)};
}

}  // namespace

Window WindowOf(const network::Conv& conv, const Shape& in) { return Resolve(conv, in); }
Window WindowOf(const network::Pool& pool, const Shape& in) { return Resolve(pool, in); }

std::optional<network::Extent> PlaceIn(const Window& child, const Window& parent) {
  if (!SameSides(parent.in, child.in) || !SameSides(parent.out, child.out)) return std::nullopt;
  if (parent.out.height > 1 && parent.stride.height != child.stride.height) return std::nullopt;
  if (parent.out.width > 1 && parent.stride.width != child.stride.width) return std::nullopt;
  const int top = child.padding.top - parent.padding.top;
  const int left = child.padding.left - parent.padding.left;
  if (top < 0 || top + parent.kernel.height > child.kernel.height) return std::nullopt;
  if (left < 0 || left + parent.kernel.width > child.kernel.width) return std::nullopt;
  return network::Extent{top, left};
}

bool SameWindow(const Window& parent, const Window& child) {
  return parent.kernel == child.kernel && PlaceIn(child, parent) == network::Extent{0, 0};
}

}  // namespace trainyard::engine
