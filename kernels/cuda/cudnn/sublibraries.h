// cuDNN 9 is several libraries, of which libcudnn.so.9 alone is loaded with who is linked to it.
#pragma once

#include <span>
#include <string>

namespace trainyard::kernels::cuda {

// Those that making and running plans needs, by the names under which cuDNN loads them late.
std::span<const char* const> CudnnSublibraries();

// Loads each of them, beside libcudnn.so.9 or where the system looks. Empty where that works, else
// in one line which does not and why. Loaded ones stay loaded.
std::string ProblemOfSublibraries(std::span<const char* const> names = CudnnSublibraries());

}  // namespace trainyard::kernels::cuda
