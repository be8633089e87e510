#include "tests/kernels/cuda/emulation/nvidia/machine.h"

#include "kernels/cuda/check.h"
#include "kernels/cuda/runtime.h"

namespace trainyard::kernels::cuda::testing {

MachineStream::MachineStream() {
  cudaStream_t stream = nullptr;
  CheckCuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreate");
  stream_ = stream;
}

MachineStream::~MachineStream() {
  cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph_));
  cudaStreamDestroy(As<cudaStream_t>());
}

void MachineStream::Capture(const std::function<void()>& calls) {
  CheckCuda(cudaStreamBeginCapture(As<cudaStream_t>(), cudaStreamCaptureModeGlobal), "capture");
  calls();
  cudaGraph_t graph = nullptr;
  CheckCuda(cudaStreamEndCapture(As<cudaStream_t>(), &graph), "capture");
  cudaGraphExec_t executable = nullptr;
  CheckCuda(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
  cudaGraphDestroy(graph);
  graph_ = executable;
}

void MachineStream::Replay() {
  CheckCuda(cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph_), As<cudaStream_t>()), "replay");
}

}  // namespace trainyard::kernels::cuda::testing
