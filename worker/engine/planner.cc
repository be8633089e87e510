#include "worker/engine/planner.h"

#include <algorithm>
#include <utility>

#include "kernels/backend.h"

namespace trainyard::engine {
namespace {

using kernels::Op;
using kernels::OpKind;
using kernels::ValueShape;
using network::Parameter;
using network::Shape;

// In the order in which the planner comes to them.
void AddDropoutRates(const std::vector<network::Layer>& layers, std::vector<float>* rates) {
  for (const network::Layer& layer : layers) {
    if (const auto* dropout = std::get_if<network::Dropout>(&layer.op)) {
      rates->push_back(static_cast<float>(dropout->rate));
    } else if (const auto* residual = std::get_if<network::Residual>(&layer.op)) {
      AddDropoutRates(residual->body, rates);
      AddDropoutRates(residual->shortcut, rates);
    }
  }
}

std::string Text(const Shape& shape) {
  return std::to_string(shape.channels) + "x" + std::to_string(shape.height) + "x" +
         std::to_string(shape.width);
}

// A value of the graph as the network sees it: behind a flatten, `shape` is flat while the graph
// still holds the image.
struct Seen {
  int value = 0;
  Shape shape;
};

class Planner {
 public:
  Planner(const network::Network& network, int batch_size) {
    plan_.parameters = network::Parameters(network);
    plan_.dropout_rates = DropoutRates(network);
    LayOutSpans();
    graph().batch_size = batch_size;
    graph().classes = network.classes;
    graph().values.push_back(Convert(network.input));
    const Seen logits = AddLayers(network.layers, "layers", {0, network.input});
    if (graph().ops.empty() || graph().parameter_count == 0) {
      throw kernels::Error("the network has no weights to train; expected a conv or dense layer");
    }
    if (GraphShape(logits) != logits.shape) FailFlat("the network's output", "", logits);
  }

  Plan Take() { return std::move(plan_); }

 private:
  // Adds the ops of one layer. Members are overloads by kind of layer.
  struct Adder {
    Planner& planner;
    const std::string& name;
    Seen in;

    Seen operator()(const network::Conv& conv) const {
      Op op = planner.MakeOp(OpKind::kConv, name, {in.value});
      planner.SetWindow(conv.kernel, conv.stride,
                        network::ResolvePadding(conv.padding, in.shape, conv.kernel, conv.stride),
                        &op);
      op.groups = conv.groups;
      op.offsets.weight = planner.NextOffset(name + ".weight");
      if (conv.bias) op.offsets.bias = planner.NextOffset(name + ".bias");
      return planner.Push(std::move(op), Output(conv));
    }
    Seen operator()(const network::BatchNorm& norm) const {
      Op op = planner.MakeOp(OpKind::kBatchNorm, name, {in.value});
      op.momentum = static_cast<float>(norm.momentum);
      op.epsilon = static_cast<float>(norm.epsilon);
      op.offsets.weight = planner.NextOffset(name + ".gamma");
      op.offsets.bias = planner.NextOffset(name + ".beta");
      op.offsets.running_mean = planner.NextOffset(name + ".running_mean");
      op.offsets.running_var = planner.NextOffset(name + ".running_var");
      return planner.Push(std::move(op), in.shape);
    }
    Seen operator()(const network::Relu& relu) const {
      Op op = planner.MakeOp(OpKind::kRelu, name, {in.value});
      op.negative_slope = static_cast<float>(relu.negative_slope);
      return planner.PushElementwise(std::move(op), in);
    }
    Seen operator()(const network::Pool& pool) const {
      const bool max = pool.kind == network::PoolKind::kMax;
      Op op = planner.MakeOp(max ? OpKind::kMaxPool : OpKind::kAvgPool, name, {in.value});
      planner.SetWindow(pool.kernel, pool.stride,
                        network::ResolvePadding(pool.padding, in.shape, pool.kernel, pool.stride),
                        &op);
      return planner.Push(std::move(op), Output(pool));
    }
    Seen operator()(const network::GlobalAvgPool& pool) const {
      return planner.Push(planner.MakeOp(OpKind::kGlobalAvgPool, name, {in.value}), Output(pool));
    }
    Seen operator()(const network::Dropout&) const {
      Op op = planner.MakeOp(OpKind::kDropout, name, {in.value});
      op.dropout = planner.next_dropout_++;
      return planner.PushElementwise(std::move(op), in);
    }
    Seen operator()(const network::Flatten& flatten) const { return {in.value, Output(flatten)}; }
    Seen operator()(const network::Dense& dense) const {
      Op op = planner.MakeOp(OpKind::kLinear, name, {in.value});
      op.offsets.weight = planner.NextOffset(name + ".weight");
      if (dense.bias) op.offsets.bias = planner.NextOffset(name + ".bias");
      return planner.Push(std::move(op), Output(dense));
    }
    Seen operator()(const network::Residual& residual) const {
      const Seen body = planner.AddLayers(residual.body, name + ".body", in);
      const Seen shortcut = planner.AddLayers(residual.shortcut, name + ".shortcut", in);
      if (planner.GraphShape(body) != planner.GraphShape(shortcut)) {
        planner.FailFlat(name, "residual", planner.IsHidden(body) ? body : shortcut);
      }
      Op op = planner.MakeOp(OpKind::kAdd, name, {body.value, shortcut.value});
      return planner.PushElementwise(std::move(op), body);
    }

   private:
    template <class Kind>
    Shape Output(const Kind& kind) const {
      return network::OutputShape(network::Layer{kind}, in.shape);
    }
  };

  kernels::Graph& graph() { return plan_.graph; }

  static ValueShape Convert(const Shape& shape) {
    return {shape.channels, shape.height, shape.width};
  }
  Shape GraphShape(const Seen& seen) const {
    const ValueShape& shape = plan_.graph.values[seen.value];
    return {shape.channels, shape.height, shape.width};
  }
  bool IsHidden(const Seen& seen) const { return GraphShape(seen) != seen.shape; }

  [[noreturn]] void FailFlat(const std::string& name, const std::string& kind,
                             const Seen& in) const {
    throw kernels::Error(name + (kind.empty() ? "" : " (" + kind + ")") + ": found a flatten of " +
                         Text(GraphShape(in)) +
                         " before it, expected only relu, dropout or dense behind one; move the "
                         "flatten to just before a dense layer");
  }

  // Offsets of all tensors: trainable ones fill the parameter span, the others the statistics.
  void LayOutSpans() {
    for (const Parameter& parameter : plan_.parameters) {
      int64_t& count = parameter.trainable() ? graph().parameter_count : graph().statistic_count;
      offsets_.push_back(count);
      if (parameter.trainable()) {
        graph().slices.push_back({count, parameter.size(), parameter.decays()});
      }
      count += parameter.size();
    }
  }

  // Offset of the next tensor in layer order, which must be the one asked for.
  int64_t NextOffset(const std::string& name) {
    if (next_ >= plan_.parameters.size() || plan_.parameters[next_].name != name) {
      throw kernels::Error("planner: expected tensor " + name + " at place " +
                           std::to_string(next_) + " of the network's parameters");
    }
    return offsets_[next_++];
  }

  Seen AddLayers(const std::vector<network::Layer>& layers, const std::string& path, Seen in) {
    for (size_t i = 0; i < layers.size(); ++i) {
      const network::Layer& layer = layers[i];
      const std::string name = path + "." + std::to_string(i);
      if (IsHidden(in) && NeedsItsShape(layer)) FailFlat(name, network::KindName(layer), in);
      in = std::visit(Adder{*this, name, in}, layer.op);
      ++layer_;
    }
    return in;
  }

  // Whether (c, h, w) and (c * h * w, 1, 1) make a difference to the layer.
  static bool NeedsItsShape(const network::Layer& layer) {
    const auto& op = layer.op;
    return std::holds_alternative<network::Conv>(op) || std::holds_alternative<network::Pool>(op) ||
           std::holds_alternative<network::BatchNorm>(op) ||
           std::holds_alternative<network::GlobalAvgPool>(op);
  }

  Op MakeOp(OpKind kind, const std::string& name, std::vector<int> inputs) const {
    Op op;
    op.kind = kind;
    op.name = name;
    op.layer = layer_;
    op.inputs = std::move(inputs);
    return op;
  }

  void SetWindow(const network::Extent& kernel, const network::Extent& stride,
                 const network::Padding& padding, Op* op) const {
    op->kernel_h = kernel.height;
    op->kernel_w = kernel.width;
    op->stride_h = stride.height;
    op->stride_w = stride.width;
    op->pad_top = padding.top;
    op->pad_bottom = padding.bottom;
    op->pad_left = padding.left;
    op->pad_right = padding.right;
  }

  Seen Push(Op op, const Shape& shape) {
    op.output = static_cast<int>(graph().values.size());
    graph().values.push_back(Convert(shape));
    graph().ops.push_back(std::move(op));
    return {graph().ops.back().output, shape};
  }

  // For ops that don't care about the shape: what the graph holds stays an image, flattened or not.
  Seen PushElementwise(Op op, const Seen& in) {
    const Seen out = Push(std::move(op), GraphShape(in));
    return {out.value, in.shape};
  }

  Plan plan_;
  std::vector<int64_t> offsets_;  // by parameter
  size_t next_ = 0;               // parameter
  int next_dropout_ = 0;
  int layer_ = 0;  // layers walked so far, nested ones counted
};

}  // namespace

kernels::Precision PrecisionOf(const network::Training& training) {
  switch (training.precision) {
    case network::Precision::kTf32:
      return kernels::Precision::kTf32;
    case network::Precision::kBf16:
      return kernels::Precision::kBf16;
    default:
      return kernels::Precision::kFp32;
  }
}

std::vector<float> DropoutRates(const network::Network& network) {
  std::vector<float> rates;
  AddDropoutRates(network.layers, &rates);
  return rates;
}

Plan MakePlan(const network::Network& network, int batch_size) {
  return Planner(network, batch_size).Take();
}

}  // namespace trainyard::engine
