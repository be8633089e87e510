// Tree-structured Parzen estimator (Bergstra, Bardenet, Bengio, Kegl: "Algorithms for
// Hyper-Parameter Optimization", 2011): the trials so far are split into the good ones and the
// rest; each dimension gets a density of either, l and g; of some candidates drawn from l the one
// with the largest l / g is taken, which is where the expected improvement is largest. Dimensions
// are independent of each other.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "coordinator/core/tuner/space.h"

namespace trainyard::core {

class Draws;

struct Observation {
  std::vector<std::optional<double>> point;  // Space::Read; none: not in that dimension
  double score = 0;                          // higher is better; -infinity: nothing to show
};

class Tpe {
 public:
  // The observations in the order of their trials.
  Tpe(const Space& space, const std::vector<Observation>& observations);

  Point Draw(uint64_t seed, int trial, int redraw) const;
  int good() const { return good_; }
  double threshold() const { return threshold_; }  // the score of the worst good one

 private:
  // Of one dimension and one side. A range is a sum of Gaussians, one for each observation and a
  // wide one that stands for knowing nothing, each cut off outside of 0 to 1 and of the same
  // weight. Choices have how often each was seen, plus once.
  struct Density {
    std::vector<double> means;
    std::vector<double> deviations;
    std::vector<double> weights;  // choices

    double At(double unit) const;
  };
  Density DensityOf(size_t dimension, const std::vector<const Observation*>& observations) const;
  double Candidate(size_t dimension, const Density& density, Draws& draws) const;

  const Space& space_;
  std::vector<Density> of_good_;
  std::vector<Density> of_rest_;
  int good_ = 0;
  double threshold_ = 0;
};

}  // namespace trainyard::core
