#include <string>

#include "kernels/backend.h"
#include "kernels/cuda/arithmetic.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/step_ends.h"
#include "kernels/cuda/vectors.h"

namespace trainyard::kernels::cuda {
namespace {

using Chunk = Vector<uint32_t>;
constexpr int kThreads = 128;
constexpr int kChunkBytes = sizeof(Chunk);

__global__ void __launch_bounds__(kThreads)
    BeginStepKernel(const char* __restrict__ rows, const int32_t* __restrict__ cursor,
                    int row_chunks, int chunks, char* __restrict__ inputs) {
  const int chunk = blockIdx.x * kThreads + static_cast<int>(threadIdx.x);
  if (chunk >= chunks) return;
  const Chunk* from = reinterpret_cast<const Chunk*>(rows) + int64_t{*cursor} * row_chunks;
  reinterpret_cast<Chunk*>(inputs)[chunk] = from[chunk];
}

__global__ void EndStepKernel(const LossResult* __restrict__ loss, const double* __restrict__ norm,
                              StepOutcome* __restrict__ outcomes, int32_t* __restrict__ cursor) {
  const int step = *cursor;
  outcomes[step] = {*loss, norm == nullptr ? 0 : *norm};
  *cursor = step + 1;
}

void CheckRow(const char* name, int bytes) {
  CheckPositive("BeginStep", name, bytes);
  if (bytes % kChunkBytes == 0) return;
  throw Error(std::string("BeginStep: ") + name + " = " + std::to_string(bytes) +
              ", expected a multiple of 16");
}

}  // namespace

void BeginStep(const char* rows, const int32_t* cursor, int row_bytes, int bytes, char* inputs,
               cudaStream_t stream) {
  CheckRow("row_bytes", row_bytes);
  CheckRow("bytes", bytes);
  if (bytes > row_bytes) {
    throw Error("BeginStep: bytes = " + std::to_string(bytes) + ", expected at most a row's " +
                std::to_string(row_bytes));
  }
  CheckAligned("BeginStep", "rows", rows);
  CheckAligned("BeginStep", "inputs", inputs);
  const int chunks = bytes / kChunkBytes;
  Launch(BeginStepKernel, Blocks(chunks, kThreads), kThreads, 0, stream, rows, cursor,
         row_bytes / kChunkBytes, chunks, inputs);
}

void EndStep(const LossResult* loss, const double* norm, StepOutcome* outcomes, int32_t* cursor,
             cudaStream_t stream) {
  Launch(EndStepKernel, 1, 1, 0, stream, loss, norm, outcomes, cursor);
}

}  // namespace trainyard::kernels::cuda
