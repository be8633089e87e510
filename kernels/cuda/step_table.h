// The steps of a stride on their way to the device and back: the host writes a row for each, one
// copy takes the rows to the device, each replay of a captured step takes its own (step_ends.h),
// and one copy brings back what all of them gave.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.h"
#include "kernels/cuda/placement.h"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/resources.h"
#include "kernels/cuda/step_block.h"
#include "kernels/cuda/step_ends.h"
#include "kernels/graph.h"

namespace trainyard::kernels::cuda {

class StepTable {
 public:
  explicit StepTable(const Graph& graph);

  // How many steps it holds.
  int capacity() const { return capacity_; }

  // It lies in device memory of so many bytes, aligned to 256: no step before it has a place.
  int64_t device_bytes() const { return end_; }
  void PlaceAt(char* device) { device_ = device; }
  char* device() const { return device_; }

  // Where captured steps read and write: the same places in every step.
  void SetPlaces(bool training, Call& call) const;
  // What a captured step of `batch` images begins and ends with.
  void EnqueueBegin(int batch, cudaStream_t stream) const;
  void EnqueueEnd(bool training, cudaStream_t stream) const;

  // The next row is the first.
  void Start();
  // One more row, for a step on these images, which lie as the placement says. scalars: null for
  // evaluation.
  void Add(const StepScalars* scalars, const Placement& placement,
           std::span<const int32_t> indices);
  // Takes the rows that were added since the last time to the device.
  void Send(const Stream& stream);
  // Waits for all steps, and gives what each row's gave.
  std::span<const StepOutcome> Fetch(const Stream& stream);

 private:
  // The row in work, where kernels read; and what the step in work gives.
  char* row_at_work() const { return device_ + at_work_; }
  StepOutcome* outcome_at_work() const {
    return reinterpret_cast<StepOutcome*>(device_ + outcome_at_work_);
  }

  const Graph& graph_;
  // Within a row; the step block is at 0.
  int64_t rates_ = 0, source_ = 0, indices_ = 0, row_bytes_ = 0;
  int capacity_ = 0;
  // In device memory: the cursor is at 0, the rows follow it. In pinned memory these two lie alike.
  int64_t at_work_ = 0, outcome_at_work_ = 0, outcomes_ = 0, end_ = 0;
  char* device_ = nullptr;
  PinnedMemory host_rows_, host_outcomes_;
  int rows_ = 0, sent_ = 0;
};

}  // namespace trainyard::kernels::cuda
