// Where a smaller window lies in a larger one: what a grown kernel has to repeat.
#pragma once

#include <optional>

#include "network/network.h"

namespace trainyard::engine {

struct Window {
  network::Extent kernel, stride;
  network::Padding padding;  // in pixels
  network::Shape in, out;
};

Window WindowOf(const network::Conv& conv, const network::Shape& in);
Window WindowOf(const network::Pool& pool, const network::Shape& in);

// The place of the parent's first row and column in the child's kernel, where both see the same
// pixels of the same images; none where there is no such place (other strides or sizes, a smaller
// kernel).
std::optional<network::Extent> PlaceIn(const Window& child, const Window& parent);

// Whether both windows are one, so that any function of their pixels is too.
bool SameWindow(const Window& parent, const Window& child);

}  // namespace trainyard::engine
