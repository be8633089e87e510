// What every backend checks before it computes, so that all refuse the same things in the same
// words.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "kernels/backend.h"
#include "kernels/graph.h"

namespace trainyard::kernels {

// "layers.3.body.0 (conv)", for messages.
std::string OpLabel(const Op& op);
const char* OpKindName(OpKind kind);

// Throws Error, naming the op and what was found, unless the graph is complete and consistent: ids
// and offsets in range, every value made once and before its use, shapes that agree, slices in
// order.
void CheckGraph(const Graph& graph);

// Bytes that this process may use: the machine's memory, or its container's limit if that is less.
int64_t MemoryLimit();

// Throws Error unless `bytes` fit into that, with what would help.
void CheckMemory(const std::string& backend, int64_t bytes,
                 const std::string& help = "a smaller batch needs less");

// Throws Error unless the images are of the network's input's shape, and all there.
void CheckImages(const Graph& graph, const ImageSet& images);

// Throws Error unless the batch can be run: images, size, indices, labels.
void CheckBatch(const Graph& graph, const ImageSet& images, std::span<const int32_t> indices);
// Dropout rates.
void CheckScalars(const Graph& graph, const StepScalars& scalars);
// Throws Error unless there is a result for each of the steps, and the indices are as many whole
// batches.
void CheckSteps(std::span<const int32_t> indices, std::span<const StepScalars> scalars,
                std::span<const StepResult> results);

// Throws Error unless every span has the size that the graph asks for (moments may be empty:
// zeros).
void CheckState(const Graph& graph, const ProgramState& state);
void CheckLogits(const Graph& graph, std::span<const int32_t> indices,
                 std::span<const float> logits);
void CheckGradients(const Graph& graph, std::span<const float> gradients);
void CheckNormalisation(const Graph& graph, std::span<const float> mean,
                        std::span<const float> inverse_std);

// For handlers: throws the Error that is being handled again, of its kind, with "<where>: " before
// its words.
[[noreturn]] void RethrowAt(const std::string& where);

}  // namespace trainyard::kernels
