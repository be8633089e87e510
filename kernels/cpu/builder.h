// Lowers a graph, for one batch size, to a Plan: a pass or two for each group of ops (fusion.h).
//
// A value that others read is stored once, channels last, and read through its view: batch norm and
// ReLU are done by who reads it. Only dense layers and the loss need it as it reads, so for them
// alone it is written out.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "kernels/cpu/convolution.h"
#include "kernels/cpu/fusion.h"
#include "kernels/cpu/parameter_layout.h"
#include "kernels/cpu/plan.h"
#include "kernels/cpu/simd/layout.h"
#include "kernels/cpu/simd/loops.h"
#include "kernels/graph.h"
#include "kernels/value_uses.h"

namespace trainyard::kernels::cpu {

class Builder {
 public:
  // `graph` and `parameters` must outlive the plan. CheckGraph must have passed.
  Builder(const Graph& graph, const ParameterLayout& parameters, int batch, Plan& plan);

  // Adds all steps and finishes the plan. Throws Error naming the op that cannot be lowered.
  void Build();

 private:
  // A View whose arrays are a place: the batch norm's mean, scale and shift, one behind another.
  struct ViewPlace {
    Place norm;
    int channels = 0;
    float slope = 1;
    bool plain() const { return !norm.valid() && slope == 1; }
    View At(const Call& call) const;
  };
  // A SparseGradient that is a place.
  struct SparsePlace {
    Place at;
    Layout layout;
    Stride stride;
    bool valid() const { return at.valid(); }
    SparseGradient At(const Call& call) const { return {call.At(at), layout, stride}; }
  };
  struct Value : ValueUse {
    explicit Value(const ValueUse& use) : ValueUse(use) {}

    Layout layout;
    Place stored;  // none: within a group
    ViewPlace view;
    Place active;        // as it reads, once it was asked for
    Place gradient;      // of what is read; none until a reader's backward has given one
    SparsePlace sparse;  // waits to join it, see GiveSparse
    int group = -1;      // that makes it
  };
  // What one group's forward leaves for its backward.
  struct GroupState {
    Group group;
    std::shared_ptr<const Convolution> conv;
    Place packed, codes, keep, index;
    Place means, m2s;             // by image
    Place norm, norm_gradient;    // arrays by channel, see builder_norm.cc
    Place sums, dots;             // by image; none until the gradient's giver leaves them
    bool gradient_ended = false;  // by its giver, see EndPlace
  };

  // builder.cc: what all groups need
  std::string Label(int op, const char* what) const;
  Place Parameter(int64_t canonical) const;
  Place Gradient(int64_t canonical) const;
  Place Statistic(int64_t canonical) const;
  void LoadInput();
  Place NewValue(int value);
  // Where the value lies as it reads.
  Place Active(int value);
  void DropoutMask(GroupState& state, int op, const Layout& layout);
  void ExplainGroup(const GroupState& state, const std::string& how);

  void Forward(GroupState& state);
  void Loss();
  void Backward(GroupState& state);

  // builder_norm.cc
  void StoreMoments(GroupState& state, const Layout& layout);
  void NormForward(GroupState& state, const Layout& layout);
  void NormAloneForward(GroupState& state);
  // The batch norm's sums, unless they are there, and what they come to.
  void NormBackward(GroupState& state);
  static void AddNorm(const Call& call, Place coefficients, int channels, GradientView& gradient);

  // builder_gradients.cc
  // Adds to the value's gradient. `gradient` may become the value's own buffer.
  void GiveGradient(int value, Place gradient);
  // The next convolution that gives the value a gradient takes it along, unless another of its kind
  // comes first.
  void GiveSparse(int value, const SparsePlace& sparse);
  // Adds what waits for that to the gradient: before another comes, or the gradient is read.
  void JoinSparse(int value);
  // Where who gives the last gradient of a value leaves the sums that the value's batch norm needs
  // of it, so that nobody reads it again for them.
  struct SumsPlace {
    Place stored, sums, dots;
    ViewPlace view;
    Layout layout;
    bool valid() const { return sums.valid(); }
    NormSums At(const Call& call, int64_t image) const;
    void AddUses(std::vector<Place>& uses) const;
  };
  // All that is to be done to a value's gradient once it is whole: those sums; or an addition's
  // ReLU, and the sums for its terms' batch norms.
  struct EndPlace {
    Place stored;
    float slope = 1;
    std::vector<SumsPlace> sums;
    GradientEnd At(const Call& call) const;
    void AddUses(std::vector<Place>& uses) const;
  };
  // Who takes one of these must leave the sums, and do the rest: nobody does after him. Nothing is
  // to be done where the value has no batch norm, or ops before `reader` are still to add to its
  // gradient.
  SumsPlace TakeNormSums(int value, int reader);
  EndPlace TakeEnd(int value, int reader);
  // Of an addition's terms that have no other reader.
  std::vector<SumsPlace> TakeTermsNormSums(const GroupState& sum);
  bool GradientGrows(int value, int reader) const;
  // What gradients pass on the way back: the view, or the ReLU of which what is stored tells the
  // sign.
  ViewPlace BackwardView(const GroupState& state) const;
  // The gradient of what is stored in place of that of what is read, and of that these sums.
  void ApplyView(GroupState& state, const char* what, const std::vector<SumsPlace>& sums = {});

  // builder_conv.cc
  Place ChunkOf(const Convolution& conv);
  void ConvForward(GroupState& state);
  void ConvBackward(GroupState& state);

  // builder_ops.cc
  void LinearForward(GroupState& state);
  void LinearBackward(GroupState& state);
  void AddForward(GroupState& state);
  void AddBackward(GroupState& state);
  void PoolForward(GroupState& state);
  void PoolBackward(GroupState& state);
  void DropoutForward(GroupState& state);
  void DropoutBackward(GroupState& state);
  void ReluAloneForward(GroupState& state);
  Window WindowOf(const Op& op) const;
  bool MayShareGradient(int value, int with, int add) const;

  const Graph& graph_;
  const ParameterLayout& parameters_;
  const int batch_;
  Plan& plan_;
  std::vector<Value> values_;
  std::vector<GroupState> groups_;
};

}  // namespace trainyard::kernels::cpu
