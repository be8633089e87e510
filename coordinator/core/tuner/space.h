// What a search may choose, and what a choice makes of the configuration that it starts from.
//
// Paths are those of fields.h, and four more that change the network as a whole:
//   network          one of some whole networks
//   network.width    times as many filters and hidden units (Widen; below 1: fewer)
//   network.depth    so many blocks more (Deepen)
//   network.dropout  rate of the dropout in front of the last dense layer
// Width comes before depth, so that blocks are as wide as what they are put into.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/core/request.h"
#include "network/shapes.h"
#include "network/training.h"

namespace trainyard::core {

// Of each dimension the number out of its range, or the index of its choice.
using Point = std::vector<double>;

class Space {
 public:
  // `first` is trial 1's; both must outlive the space, in which CheckSpace finds nothing wrong.
  Space(const std::vector<Dimension>& dimensions, const network::Configuration& first);

  size_t size() const { return dimensions_.size(); }
  int choices(size_t dimension) const;                              // 0: a range
  bool whole(size_t dimension) const { return whole_[dimension]; }  // takes whole numbers only

  // The value at `unit`, from 0 to 1: even over the range, or over its logarithm; over choices and
  // steps each has the same share. Whole numbers where the field is whole.
  double FromUnit(size_t dimension, double unit) const;
  double ToUnit(size_t dimension, double value) const;  // for choices: the middle of the share

  network::Configuration At(const Point& point) const;

  // What a configuration has in this dimension, whoever made it. Choices: none if it is none of
  // them. Width, depth and dropout are measured: by the widest layer, the convs, the last dropout.
  std::optional<double> Read(size_t dimension, const network::Configuration& configuration) const;

  std::string Text(const Point& point) const;  // "train.lr 0.0132, network.width 2"

 private:
  double StepOf(size_t dimension) const;  // 0: any value between
  void Apply(size_t dimension, double value, network::Configuration& configuration) const;
  std::optional<double> Measure(const std::string& path,
                                const network::Configuration& configuration) const;

  const std::vector<Dimension>& dimensions_;
  const network::Configuration& first_;
  std::vector<bool> whole_;
};

// Every path that a space for this configuration may have.
std::vector<std::string> SpacePaths(const network::Configuration& first);

// Everything that is wrong with a space, with paths under "tune.space". What needs the shapes is
// left out while the network's input or classes are unknown. A path that SpacePaths lacks, a
// dimension without range and choices and the like are for whoever reads the space to refuse.
std::vector<network::Problem> CheckSpace(const std::vector<Dimension>& dimensions,
                                         const network::Configuration& first);

}  // namespace trainyard::core
