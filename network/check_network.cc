// What is wrong with a network: first each field by itself, then shapes from the input on.
#include <optional>

#include "network/arithmetic.h"
#include "network/problems.h"
#include "network/shapes.h"

namespace trainyard::network {
namespace {

constexpr char kRoot[] = "network.layers";

std::string Index(const std::string& list, size_t i) {
  return list + "[" + std::to_string(i) + "]";
}

// ---- Fields by themselves ----------------------------------------------------------------------

void CheckExtent(const Extent& extent, const std::string& path, Problems* problems) {
  problems->Range(path, extent.height, 1, kExtentMax);
  if (extent.width != extent.height) problems->Range(path, extent.width, 1, kExtentMax);
}

// A window of nothing but padding would have no mean and teaches nothing.
void CheckPadding(const Padding& padding, const Extent& kernel, const std::string& path,
                  Problems* problems) {
  if (padding.same) return;
  for (auto [pixels, side] : {std::pair{padding.top, kernel.height},
                              {padding.bottom, kernel.height},
                              {padding.left, kernel.width},
                              {padding.right, kernel.width}}) {
    if (side < 1 || (pixels >= 0 && pixels < side)) continue;  // a bad kernel is reported already
    problems->Add(path, "found " + std::to_string(pixels) + ", expected 0 to " +
                            std::to_string(side - 1) + " (less than the kernel's " +
                            std::to_string(side) + ")");
    return;
  }
}

class FieldCheck {
 public:
  explicit FieldCheck(Problems* problems) : problems_(problems) {}

  void List(const std::vector<Layer>& layers, const std::string& path, int nesting) {
    for (size_t i = 0; i < layers.size(); ++i) {
      if (++layers_ > kLayersMax) {
        if (layers_ == kLayersMax + 1) {
          problems_->Add(Index(path, i), "found more than " + std::to_string(kLayersMax) +
                                             " layers, expected at most that many");
        }
        return;
      }
      std::string here = Index(path, i) + "." + KindName(layers[i]);
      nesting_ = nesting;
      std::visit([&](const auto& op) { Check(op, here); }, layers[i].op);
    }
  }

 private:
  void Check(const Conv& conv, const std::string& path) {
    problems_->Range(path + ".filters", conv.filters, 1, kFiltersMax);
    CheckExtent(conv.kernel, path + ".kernel", problems_);
    CheckExtent(conv.stride, path + ".stride", problems_);
    CheckPadding(conv.padding, conv.kernel, path + ".padding", problems_);
    problems_->Range(path + ".groups", conv.groups, 1, kFiltersMax);
    if (conv.groups > 1 && conv.filters > 0 && conv.filters % conv.groups != 0) {
      problems_->Add(path + ".groups", "found " + std::to_string(conv.groups) +
                                           ", expected a divisor of the " +
                                           std::to_string(conv.filters) + " filters");
    }
  }
  void Check(const BatchNorm& norm, const std::string& path) {
    problems_->Real(path + ".momentum", norm.momentum, norm.momentum >= 0 && norm.momentum < 1,
                    "a number from 0 to less than 1");
    problems_->Real(path + ".epsilon", norm.epsilon, norm.epsilon > 0 && norm.epsilon <= 1,
                    "a number greater than 0, at most 1");
  }
  void Check(const Relu& relu, const std::string& path) {
    problems_->Real(path + ".negative_slope", relu.negative_slope,
                    relu.negative_slope >= 0 && relu.negative_slope < 1,
                    "a number from 0 to less than 1");
  }
  void Check(const Pool& pool, const std::string& path) {
    CheckExtent(pool.kernel, path + ".kernel", problems_);
    CheckExtent(pool.stride, path + ".stride", problems_);
    CheckPadding(pool.padding, pool.kernel, path + ".padding", problems_);
  }
  void Check(const GlobalAvgPool&, const std::string&) {}
  void Check(const Dropout& dropout, const std::string& path) {
    problems_->Real(path + ".rate", dropout.rate, dropout.rate >= 0 && dropout.rate < 1,
                    "a number from 0 to less than 1");
  }
  void Check(const Flatten&, const std::string&) {}
  void Check(const Dense& dense, const std::string& path) {
    problems_->Range(path + ".units", dense.units, 1, kUnitsMax);
  }
  void Check(const Residual& residual, const std::string& path) {
    int nesting = nesting_ + 1;
    if (nesting > kNestingMax) {
      problems_->Add(path, "found residuals nested deeper than " + std::to_string(kNestingMax) +
                               " levels, expected fewer");
      return;
    }
    if (residual.body.empty()) {
      problems_->Add(path + ".layers", "found no layers, expected at least one");
    }
    List(residual.body, path + ".layers", nesting);
    List(residual.shortcut, path + ".shortcut", nesting);
  }

  Problems* problems_;
  int layers_ = 0;
  int nesting_ = 0;
};

// ---- Shapes ------------------------------------------------------------------------------------

// Follows shapes through layers whose fields are right. Each function returns the output shape, or
// nothing where it cannot be known.
class ShapeCheck {
 public:
  explicit ShapeCheck(Problems* problems) : problems_(problems) {}

  std::optional<Shape> List(const std::vector<Layer>& layers, const std::string& path,
                            Shape shape) {
    for (size_t i = 0; i < layers.size(); ++i) {
      std::string here = Index(path, i) + "." + KindName(layers[i]);
      size_t before = problems_->size();
      std::visit([&](const auto& op) { Check(op, shape, here); }, layers[i].op);
      if (problems_->size() != before) return std::nullopt;
      shape = OutputShape(layers[i], shape);
      if (!CheckSize(SaturatingMultiply(int64_t{shape.channels} * shape.height, shape.width), here,
                     "values in the output of one image")) {
        return std::nullopt;
      }
    }
    return shape;
  }

 private:
  void Check(const Conv& conv, const Shape& input, const std::string& path) {
    CheckWindow(conv.kernel, conv.stride, conv.padding, input, path);
    if (input.channels % conv.groups != 0) {
      problems_->Add(path + ".groups", "found " + std::to_string(conv.groups) +
                                           ", expected a divisor of the " +
                                           std::to_string(input.channels) + " input channels");
      return;
    }
    int64_t area = int64_t{conv.kernel.height} * conv.kernel.width;
    int64_t window = SaturatingMultiply(input.channels / conv.groups, area);
    CheckSize(SaturatingMultiply(conv.filters, window), path + ".filters", "weights");
  }
  void Check(const Pool& pool, const Shape& input, const std::string& path) {
    CheckWindow(pool.kernel, pool.stride, pool.padding, input, path);
  }
  void Check(const Dense& dense, const Shape& input, const std::string& path) {
    if (!input.flat()) {
      problems_->Add(path, "found an input of " + Text(input) +
                               ", expected a flat one: put flatten or global_avg_pool before it");
      return;
    }
    CheckSize(SaturatingMultiply(dense.units, input.channels), path + ".units", "weights");
  }
  void Check(const Residual& residual, const Shape& input, const std::string& path) {
    std::optional<Shape> body = List(residual.body, path + ".layers", input);
    std::optional<Shape> shortcut = List(residual.shortcut, path + ".shortcut", input);
    if (!body || !shortcut || *body == *shortcut) return;
    bool identity = residual.shortcut.empty();
    problems_->Add(path + (identity ? "" : ".shortcut"),
                   std::string("found ") + (identity ? "an input of " : "a shortcut that gives ") +
                       Text(*shortcut) + ", expected " + Text(*body) + ", which its layers give" +
                       (identity ? " (projection: true adapts it)" : ""));
  }
  template <class Elementwise>
  void Check(const Elementwise&, const Shape&, const std::string&) {}

  void CheckWindow(const Extent& kernel, const Extent& stride, const Padding& padding,
                   const Shape& input, const std::string& path) {
    Padding p = ResolvePadding(padding, input, kernel, stride);
    CheckSide(kernel.height, input.height, p.top + p.bottom, input, path) &&
        CheckSide(kernel.width, input.width, p.left + p.right, input, path);
  }

  bool CheckSide(int kernel, int input, int padding, const Shape& shape, const std::string& path) {
    if (kernel <= input + padding) return true;
    std::string size = std::to_string(shape.height) + "x" + std::to_string(shape.width);
    problems_->Add(path + ".kernel",
                   "found " + std::to_string(kernel) + ", expected at most " +
                       std::to_string(input + padding) + " (the input is " + size +
                       (padding == 0 ? ")" : ", plus " + std::to_string(padding) + " of padding)"));
    return false;
  }

  bool CheckSize(int64_t values, const std::string& path, const char* of_what) {
    if (values <= kValuesMax) return true;
    std::string found = values == kSaturated ? "more than 2^63" : std::to_string(values);
    problems_->Add(path, "found " + found + " " + of_what + ", expected at most " +
                             std::to_string(kValuesMax));
    return false;
  }

  Problems* problems_;
};

void CheckInput(const Shape& input, Problems* problems) {
  problems->Range("network.input.channels", input.channels, 1, kFiltersMax);
  problems->Range("network.input.height", input.height, 1, kImageSideMax);
  problems->Range("network.input.width", input.width, 1, kImageSideMax);
  if (problems->size() > 0) return;
  int64_t values = SaturatingMultiply(int64_t{input.channels} * input.height, int64_t{input.width});
  if (values > kValuesMax) {
    problems->Add("network.input", "found " + std::to_string(values) +
                                       " values in one image, expected at most " +
                                       std::to_string(kValuesMax));
  }
}

// The last layer must give one value per class.
void CheckLogits(const Network& network, const Shape& output, Problems* problems) {
  if (output.flat() && output.channels == network.classes) return;
  std::string path = kRoot;
  if (!network.layers.empty()) {
    const Layer& last = network.layers.back();
    path = Index(path, network.layers.size() - 1) + "." + KindName(last);
    if (std::holds_alternative<Dense>(last.op)) path += ".units";
  }
  std::string found = output.flat() ? std::to_string(output.channels) : Text(output);
  problems->Add(path, "found " + found + " values at the end of the network, expected " +
                          std::to_string(network.classes) + " (one per class)");
}

void CheckFields(const Network& network, Problems* problems) {
  if (network.layers.empty()) {
    problems->Add(kRoot, "found no layers, expected at least one");
    return;
  }
  FieldCheck(problems).List(network.layers, kRoot, 0);
}

}  // namespace

std::vector<Problem> CheckLayers(const Network& network) {
  Problems problems;
  CheckFields(network, &problems);
  return problems.Take();
}

std::vector<Problem> CheckNetwork(const Network& network) {
  Problems problems;
  CheckInput(network.input, &problems);
  problems.Range("network.classes", network.classes, 2, kClassesMax);
  CheckFields(network, &problems);
  if (problems.size() > 0) return problems.Take();
  auto output = ShapeCheck(&problems).List(network.layers, kRoot, network.input);
  if (output) CheckLogits(network, *output, &problems);
  return problems.Take();
}

}  // namespace trainyard::network
