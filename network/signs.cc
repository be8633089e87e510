#include "network/signs.h"

#include <variant>

namespace trainyard::network {

bool NonNegativeBehind(const Layer& layer, bool before) {
  if (const auto* relu = std::get_if<Relu>(&layer.op)) return before || relu->negative_slope == 0;
  if (const auto* residual = std::get_if<Residual>(&layer.op)) {
    return NonNegativeBehind(residual->body, before) &&
           NonNegativeBehind(residual->shortcut, before);
  }
  return before && !std::holds_alternative<Conv>(layer.op) &&
         !std::holds_alternative<Dense>(layer.op) && !std::holds_alternative<BatchNorm>(layer.op);
}

bool NonNegativeBehind(const std::vector<Layer>& layers, bool before) {
  for (const Layer& layer : layers) before = NonNegativeBehind(layer, before);
  return before;
}

}  // namespace trainyard::network
