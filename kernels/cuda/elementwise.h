// Activations, additions, biases, changes of type: what is bound by memory alone. Tensors are flat,
// aligned to 16 bytes; counts of any size from 1 (64-bit indices). An output may be one of the
// inputs of its type, element for element; it may not overlap one otherwise. Errors are thrown for
// empty tensors, other alignments and slopes outside [0, 1).
//
// Source: Maas, Hannun and Ng, "Rectifier Nonlinearities Improve Neural Network Acoustic Models",
// 2013 (the activation).
//
// "Moves": the fewest bytes, in elements of T; each kernel moves no more.
#pragma once

#include <cstdint>

#include "kernels/cuda/runtime.h"
#include "kernels/cuda/types.h"

namespace trainyard::kernels::cuda {

// y = activation(x). Moves 2 count.
template <typename T>
void ActivationForward(const T* x, Activation activation, int64_t count, T* y, cudaStream_t stream);

// dx = (accumulate ? dx : 0) + dy * activation'(y), where y is what the activation gave: its sign
// is that of x. With the activation off, y is not read and may be null: a copy or a sum. Moves
// (2 + on + accumulate) count.
template <typename T>
void ActivationBackward(const T* y, const T* dy, Activation activation, bool accumulate,
                        int64_t count, T* dx, cudaStream_t stream);

// y = activation(a + b). Moves 3 count.
template <typename T>
void AddForward(const T* a, const T* b, Activation activation, int64_t count, T* y,
                cudaStream_t stream);

// y = x, as floats. Moves 6 count bytes.
void WidenBf16(const bf16* x, int64_t count, float* y, cudaStream_t stream);

// Rows of `channels`: y[i, c] = activation(x[i, c] + bias[c]). bias: any alignment. Moves
// 2 rows channels.
template <typename T>
void BiasForward(const T* x, const float* bias, Activation activation, int64_t rows, int channels,
                 T* y, cudaStream_t stream);

// dz = dy * activation'(y), and dbias[c] = sum over rows of dz before it is rounded to T, in one
// pass over y and dy. dz may be dy, or null where only the sum is wanted; with the activation off,
// y is not read and may be null, and dz is not written where it is dy. The sum is in fp32 and has
// two stages, cut by the shape alone (kernels/cuda/columns.h). Moves
// (1 + on + (dz is written)) rows channels. workspace: aligned to 16 bytes; dbias: any alignment.
template <typename T>
void BiasBackward(const T* y, const T* dy, Activation activation, int64_t rows, int channels, T* dz,
                  float* workspace, float* dbias, cudaStream_t stream);

// Floats that BiasBackward works in.
int64_t BiasBackwardWorkspace(int64_t rows, int channels);

}  // namespace trainyard::kernels::cuda
