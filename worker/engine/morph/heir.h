// Walks through a parent and its child side by side and hands every weight to its heir.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "network/training.h"
#include "worker/engine/morph/donor.h"
#include "worker/engine/morph/flow.h"
#include "worker/engine/morph/morph.h"
#include "worker/engine/morph/tensors.h"

namespace trainyard::engine {

class Heir {
 public:
  // Both networks are valid, for the same images and classes, and `given` is the parent's state.
  Heir(const network::Network& parent, const kernels::ProgramState& given,
       const network::Configuration& child, int threads);

  // Once. Throws kernels::Error where no weight is taken over.
  Inheritance Run();

 private:
  using Layer = network::Layer;
  using Layers = std::vector<Layer>;
  using Path = std::string;  // "layers.4.body.1"

  // All of these leave `flow` behind the layers that they are given.
  void Walk(const Layers& parent, const Path& from, const Layers& child, const Path& to,
            Flow* flow);
  void Match(const Layer& parent, const Path& from, const Layer& child, const Path& to, Flow* flow);
  void Insert(const Layer& layer, const Path& path, Flow* flow);
  void Remove(const Layer& layer, const Path& path, Flow* flow);
  // The child's layers from `begin` to before `end` do what the dense layer did.
  void Mirror(const Layer& dense, const Path& from, const Layers& child, const Path& list,
              size_t begin, size_t end, Flow* flow);

  void TakeFilters(const Donor& donor, const Layer& child, const Path& path, Flow* flow);
  void MatchNorm(const network::BatchNorm& parent, const Path& from,
                 const network::BatchNorm& child, const Path& to, Flow* flow);
  void InsertNorm(const network::BatchNorm& norm, const Path& path);
  void MatchResidual(const network::Residual& parent, const Path& from,
                     const network::Residual& child, const Path& to, Flow* flow);
  void InsertResidual(const network::Residual& residual, const Path& path, Flow* flow);

  Donor DonorOf(const Layer& layer, const Path& path, const network::Shape& in) const;
  std::span<float> Taken(const std::string& name) {
    return child_tensors_.Of(name, result_.state.parameters);
  }

  void Say(const Path& path, const std::string& text);
  void Lose(const Path& path, const std::string& reason, Flow* flow);

  const network::Network& parent_;
  const network::Network& child_;
  const kernels::ProgramState& given_;
  const Tensors parent_tensors_, child_tensors_;
  const std::vector<int> groups_;  // of the child's convs
  const bool keeps_moments_;
  bool takes_any_ = false;
  Inheritance result_;
};

}  // namespace trainyard::engine
