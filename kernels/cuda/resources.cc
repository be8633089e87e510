#include "kernels/cuda/resources.h"

#include <algorithm>
#include <utility>

#include "kernels/backend.h"
#include "kernels/cuda/check.h"

namespace trainyard::kernels::cuda {

std::string DescribeDevice() {
#if defined(TRAINYARD_CUDA_EMULATION)
  return "emulated machine";
#else
  int device = 0, driver = 0, runtime = 0;
  cudaDeviceProp properties;
  CheckCuda(cudaGetDevice(&device), "asking for the device");
  CheckCuda(cudaGetDeviceProperties(&properties, device), "asking for the device's properties");
  CheckCuda(cudaDriverGetVersion(&driver), "asking for the driver's version");
  CheckCuda(cudaRuntimeGetVersion(&runtime), "asking for the runtime's version");
  return std::string(properties.name) + " sm_" + std::to_string(properties.major) +
         std::to_string(properties.minor) + " driver=" + std::to_string(driver) +
         " runtime=" + std::to_string(runtime);
#endif
}

void CheckDeviceMemory(const std::string& what, int64_t bytes) {
  size_t free = 0, total = 0;
  CheckCuda(cudaMemGetInfo(&free, &total), "asking for the device's memory");
  if (bytes <= static_cast<int64_t>(free)) return;
  throw Error(what + ": this network and batch size need " + std::to_string(bytes >> 20) +
              " MiB, and the device has " + std::to_string(free >> 20) + " MiB free of " +
              std::to_string(total >> 20) + " MiB; a smaller batch needs less");
}

// What others do on the legacy stream must neither wait for steps nor break their capture.
Stream::Stream() {
  CheckCuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
}

Stream::~Stream() { cudaStreamDestroy(stream_); }

void Stream::Synchronize() const {
  CheckCuda(cudaStreamSynchronize(stream_), "waiting for the device");
}

DeviceMemory::DeviceMemory(const std::string& what, int64_t bytes)
    : bytes_(std::max<int64_t>(bytes, 1)) {
  const cudaError_t status =
      cudaMalloc(reinterpret_cast<void**>(&data_), static_cast<size_t>(bytes_));
  const std::string text = what + ": " + std::to_string(bytes_ >> 20) + " MiB of device memory";
  CheckCuda(status, text.c_str());
}

DeviceMemory::~DeviceMemory() {
  if (data_ != nullptr) cudaFree(data_);
}

DeviceMemory::DeviceMemory(DeviceMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

PinnedMemory::PinnedMemory(int64_t bytes) {
  CheckCuda(cudaMallocHost(reinterpret_cast<void**>(&data_), static_cast<size_t>(bytes)),
            "pinned memory");
}

PinnedMemory::~PinnedMemory() {
  if (data_ != nullptr) cudaFreeHost(data_);
}

PinnedMemory::PinnedMemory(PinnedMemory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)) {}

PinnedMemory& PinnedMemory::operator=(PinnedMemory&& other) noexcept {
  std::swap(data_, other.data_);
  return *this;
}

StepGraph::StepGraph(const Stream& stream, const std::function<void()>& enqueue) {
  CheckCuda(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal),
            "starting the capture of a step");
  cudaGraph_t captured = nullptr;
  try {
    enqueue();
  } catch (...) {
    if (cudaStreamEndCapture(stream.get(), &captured) == cudaSuccess) cudaGraphDestroy(captured);
    cudaGetLastError();  // what went wrong is told by what was thrown
    throw;
  }
  CheckCuda(cudaStreamEndCapture(stream.get(), &captured), "capturing a step");
  const cudaError_t status = cudaGraphInstantiate(&graph_, captured, 0);
  cudaGraphDestroy(captured);
  CheckCuda(status, "instantiating a captured step");
}

StepGraph::~StepGraph() {
  if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
}

StepGraph::StepGraph(StepGraph&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}

StepGraph& StepGraph::operator=(StepGraph&& other) noexcept {
  std::swap(graph_, other.graph_);
  return *this;
}

void StepGraph::Launch(const Stream& stream) const {
  CheckCuda(cudaGraphLaunch(graph_, stream.get()), "launching a captured step");
}

void CopyToDevice(const Stream& stream, const void* host, int64_t bytes, void* device) {
  if (bytes == 0) return;
  CheckCuda(cudaMemcpyAsync(device, host, static_cast<size_t>(bytes), cudaMemcpyHostToDevice,
                            stream.get()),
            "copying to the device");
  stream.Synchronize();
}

void CopyToHost(const Stream& stream, const void* device, int64_t bytes, void* host) {
  if (bytes == 0) return;
  CheckCuda(cudaMemcpyAsync(host, device, static_cast<size_t>(bytes), cudaMemcpyDeviceToHost,
                            stream.get()),
            "copying from the device");
  stream.Synchronize();
}

}  // namespace trainyard::kernels::cuda
