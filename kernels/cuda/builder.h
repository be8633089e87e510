// Lowers a graph, for one batch size, to a Plan: of a training step (images to updated parameters)
// or of an evaluation (images to loss and logits).
//
// Fusions: a ReLU with the convolution, linear layer, batch norm or addition before it, if nothing
// else reads what it reads; a batch norm with the addition that alone reads it. Dropout and ReLU
// work in place where nothing else reads their input.
#pragma once

#include <string>
#include <vector>

#include "kernels/cuda/batch_norm.h"
#include "kernels/cuda/conv_steps.h"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/pool.h"
#include "kernels/cuda/spans.h"
#include "kernels/cuda/types.h"
#include "kernels/graph.h"
#include "kernels/value_uses.h"

namespace trainyard::kernels::cuda {

class Builder {
 public:
  // `graph` and `spans` must outlive the builder. CheckGraph must have passed.
  Builder(const Graph& graph, const SpanLayout& spans, int batch, bool training, Plan& plan);

  // Adds all steps; the plan is then to be finished. Throws Error naming the op that cannot be
  // lowered.
  void Build();

  // Where the logits lie, (batch, classes), after an evaluation.
  Place logits() const;

 private:
  struct Value : ValueUse {
    explicit Value(const ValueUse& use) : ValueUse(use) {}

    Place data;
    Place gradient;  // none until a consumer's backward has given one
  };
  struct OpState {
    int relu = -1;       // the op of the ReLU that this op's forward applies
    int norm = -1;       // an addition: the op of the batch norm that does it
    bool fused = false;  // another op's steps do this op's work
    Place saved;         // batch norm: statistics; max pool: indices
  };
  // A gradient as a kernel gives it: written, or added to what is there.
  struct Target {
    Place place;
    bool accumulate = false;
  };

  // builder.cc: analysis and helpers
  void FuseNorms();
  void FuseRelus();
  void CheckOps() const;
  int OutputOf(int op) const;  // value that the op's forward writes, fused ops included
  Activation ActivationOf(int op) const;
  std::string Label(int op, const char* what) const;
  int64_t Elements(int value) const;
  Place NewValue(int value);
  Place OutputOver(int value, const Value& input);  // over the input where nobody else reads it
  Place ParameterPlace(int64_t canonical) const;
  Place GradientPlace(int64_t canonical) const;
  Place StatisticPlace(int64_t canonical) const;
  ConvLayer LayerOf(int op) const;
  BatchNormShape NormShapeOf(int value) const;
  PoolShape PoolShapeOf(const Op& op) const;

  // builder_forward.cc
  void Images();
  void Forward(int op);
  void ForwardConv(int op);
  void ForwardNorm(int op);
  void ApplyNorm(int op, int output, Activation activation, Place residual);
  void ForwardRelu(int op);
  void ForwardPool(int op);
  void ForwardGlobalPool(int op);
  void ForwardDropout(int op);
  void AddDropout(int op, const char* direction, Place from, Target to);
  void ForwardAdd(int op);
  void Loss();

  // builder_backward.cc
  void Backward(int op);
  void BackwardConv(int op);
  Place BeforeBias(int op);  // the gradient before bias and activation, and the bias's on the way
  void BackwardNorm(int op, int residual, int output, Activation activation);
  void BackwardRelu(int op);
  void AddActivationBackward(std::string name, Place y, Place dy, Activation activation,
                             int64_t count, Target dx);
  void BackwardPool(int op);
  void BackwardGlobalPool(int op);
  void BackwardDropout(int op);
  void BackwardAdd(int op);
  void Update();

  // Gradients. A buffer may be the gradient of several values at once (an addition's output and its
  // inputs) until one of them has to change it.
  Target Receive(int value);  // what a consumer gives; no place: nobody wants it
  Target ReceiveOver(int value,
                     int output);   // the same, over the output's gradient if that is free
  bool Exclusive(int value) const;  // whether the value's gradient is that of no other
  void Hold(int value, Place gradient);
  void Release(int value);
  void CopyGradient(int value);  // makes it exclusive

  const Graph& graph_;
  const SpanLayout& spans_;
  const int batch_;
  const bool training_;
  Plan& plan_;
  std::vector<Value> values_;
  std::vector<OpState> states_;
  std::vector<int> holders_;  // by buffer: values whose gradient it is
};

}  // namespace trainyard::kernels::cuda
