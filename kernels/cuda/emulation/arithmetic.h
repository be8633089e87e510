// CUDA's functions of numbers, those that kernels use, beyond the C library's.
#pragma once

#include <math.h>

#include <algorithm>
#include <bit>

using std::max;
using std::min;

inline int __popc(unsigned x) { return std::popcount(x); }
