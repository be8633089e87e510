// The memory of a program: the trainable state, what a step works in, and how the one is updated
// from the other.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/cpu/arena.h"
#include "kernels/cpu/parameter_layout.h"

namespace trainyard::kernels::cpu {

class ProgramMemory {
 public:
  struct Room {
    int64_t transient_bytes = 0;  // buffers of the largest plan
    int64_t scratch_bytes = 0;    // of all threads
  };
  // What the state alone takes.
  static int64_t StateBytes(const ParameterLayout& layout);
  static int64_t Bytes(const ParameterLayout& layout, const Room& room);

  // The state is all zeros. `layout` outlives it. Throws Error when there is not enough memory.
  ProgramMemory(const ParameterLayout& layout, const Room& room);

  // In the layout's form.
  float* parameters() const { return parameters_; }
  float* gradients() const { return gradients_; }
  float* statistics() const { return statistics_; }
  char* transient() const { return transient_; }
  float* scratch() const { return scratch_; }
  int64_t bytes() const { return arena_.bytes(); }

  // Canonical; sizes were checked (check.h).
  void WriteState(const ProgramState& state);
  void ReadState(ProgramState& state) const;
  void ReadGradients(std::span<float> gradients) const;

  // Whether a parameter or statistic is not finite, or was once. A loss need not show it: training
  // reads no running statistics, and dropout may hide what a lost parameter makes. Only WriteState
  // heals it.
  bool lost() const { return lost_; }

  // Updates the parameters from the gradients, and looks whether statistics are finite. Returns the
  // gradients' L2 norm before clipping.
  double Update(const StepScalars& scalars);

  // Fills everything that a step must not read before writing it with NaN. For tests.
  void PoisonScratch();

 private:
  // A run of one slice that one thread updates at a time.
  struct Chunk {
    int64_t offset = 0, size = 0;
    bool decays = false;
    double squares = 0;  // of its gradients
    float lost = 0;      // not 0 once a parameter is not finite
  };
  template <typename Body>
  void ForChunks(const Body& body);
  double Norm() const;

  const ParameterLayout& layout_;
  Arena arena_;
  float *parameters_ = nullptr, *gradients_ = nullptr, *moment1_ = nullptr, *moment2_ = nullptr;
  float* statistics_ = nullptr;
  char* transient_ = nullptr;
  float* scratch_ = nullptr;
  std::vector<Chunk> chunks_;
  bool lost_ = false;
};

}  // namespace trainyard::kernels::cpu
