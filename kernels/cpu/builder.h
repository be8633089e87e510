// Lowers a graph, for one batch size, to a Plan.
//
// Fusions: a ReLU with the convolution, batch norm, addition or linear layer before it, if nothing
// else reads what it reads; a ReLU's derivative with that of a max pool after it (on the pooled
// side, where there is less of it); dropout and ReLU in place where nothing else reads their input.
#pragma once

#include <dnnl.hpp>
#include <map>
#include <string>
#include <vector>

#include "kernels/cpu/conv.h"
#include "kernels/cpu/layout.h"
#include "kernels/cpu/loops.h"
#include "kernels/cpu/plan.h"
#include "kernels/cpu/tensor_ops.h"
#include "kernels/graph.h"
#include "kernels/value_uses.h"

namespace trainyard::kernels::cpu {

class Builder {
 public:
  // `graph` must outlive the plan. CheckGraph must have passed.
  Builder(const Graph& graph, int batch, const dnnl::engine& engine, Plan& plan);

  // Adds all steps and finishes the plan. Throws Error naming the op that cannot be lowered.
  void Build();

 private:
  struct Value : ValueUse {
    explicit Value(const ValueUse& use) : ValueUse(use) {}

    Layout layout;
    Place data;
    Place gradient;                  // none until a consumer's backward has given one
    std::map<int, Place> converted;  // copies of `data` in other layouts, by block
  };
  // What one op's forward leaves for its backward.
  struct OpState {
    int fused_relu = -1;          // op: the ReLU that this op's forward applies
    int fused_into = -1;          // a ReLU: the op whose forward applies it
    bool sign_elsewhere = false;  // a ReLU whose derivative another op's backward applies
    int relu_before = -1;         // max pool: the ReLU whose derivative it applies
    bool in_place = false;        // dropout, ReLU
    Place kept;                   // batch norm statistics, pool index or dropout mask
    ForwardChoice conv;
    Place packed;  // convolution weights as `conv` wants them
  };

  // builder.cc: analysis and helpers
  void FuseRelus();
  int OutputOf(int op) const;   // value that the op's forward writes, a fused ReLU included
  float SlopeOf(int op) const;  // of the fused ReLU; 1: none
  std::string Label(int op, const char* what) const;
  Layout LayoutFor(int value, int block) const;  // flat values are always plain
  Place NewValue(int value, int block);
  // Where an elementwise op writes: over its input, or to a new place of the same layout.
  Place OutputLike(int value, const Value& input, bool in_place);
  Place AsBlock(int value, int block);  // the value's data in that layout, converted at most once
  void Convert(const std::string& name, const Layout& from, Place source, int block, Place to);
  Place Converted(const std::string& name, const Layout& from, Place source, int block);
  Window WindowOf(const Op& op, int block) const;
  // A consumer's share of a value's gradient, in layout `block`. The place becomes the value's.
  void GiveGradient(int value, Place gradient, int block);

  // builder_forward.cc
  void Forward(int op);
  void ConvForward(int op);
  void BatchNormForward(int op);
  void ReluForward(int op);
  void PoolForward(int op);
  void DropoutForward(int op);
  void LinearForward(int op);
  void AddForward(int op);
  void Loss();

  // builder_backward.cc
  void Backward(int op);
  void ConvWeightsBackward(int op);
  void FirstConvBackward(int op, const FirstConvGradient& conv);
  void ConvDataBackward(int op);
  void BatchNormBackward(int op);
  void ReluBackward(int op);
  void PoolBackward(int op);
  void LinearBackward(int op);
  void AddBackward(int op);
  ConvGeometry Geometry(int op) const;
  // The packed copy (or the plain original) of an op's convolution weights.
  Place PackWeights(int op, const dnnl::memory::desc& wanted, const char* what);

  const Graph& graph_;
  const int batch_;
  const dnnl::engine engine_;
  Plan& plan_;
  const Loops& loops_;
  std::vector<Value> values_;
  std::vector<OpState> states_;
};

inline Place ParameterPlace(int64_t offset) {
  return offset < 0 ? Place{} : Place{Space::kParameters, offset};
}
inline Place GradientPlace(int64_t offset) {
  return offset < 0 ? Place{} : Place{Space::kGradients, offset};
}
inline Place StatisticPlace(int64_t offset) { return {Space::kStatistics, offset}; }

}  // namespace trainyard::kernels::cpu
