// In place of NVIDIA's libraries, where their headers were not found.
#include "kernels/cuda/cudnn_steps.h"
#include "kernels/cuda/libraries.h"
#include "kernels/cuda/matmul_steps.h"

namespace trainyard::kernels::cuda {

class Cudnn {};
class CublasLt {};

Libraries::~Libraries() = default;
std::unique_ptr<Libraries> Libraries::Open(cudaStream_t, const std::string&) { return nullptr; }
std::string Libraries::Describe() const { return ""; }

bool IsMatmul(const ConvLayer&) { return false; }
bool AddCudnnForward(const ConvLayer&, Activation, Place, Place, Plan&) { return false; }
bool AddCudnnBackwardFilter(const ConvLayer&, Place, Place, Plan&) { return false; }
bool AddCudnnBackwardData(const ConvLayer&, Place, bool, Place, Plan&) { return false; }
bool AddMatmulForward(const ConvLayer&, Activation, Place, Place, Plan&) { return false; }
bool AddMatmulBackwardFilter(const ConvLayer&, Place, Place, Plan&) { return false; }
bool AddMatmulBackwardData(const ConvLayer&, Place, bool, Place, Plan&) { return false; }

}  // namespace trainyard::kernels::cuda
