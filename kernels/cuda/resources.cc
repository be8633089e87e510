#include "kernels/cuda/resources.h"

#include <algorithm>
#include <utility>

#include "kernels/backend.h"
#include "kernels/cuda/check.h"

namespace trainyard::kernels::cuda {

std::string DescribeDevice() {
#if defined(TRAINYARD_CUDA_EMULATION)
  return DeviceName();
#else
  int device = 0, driver = 0, runtime = 0, major = 0, minor = 0;
  CheckCuda(cudaGetDevice(&device), "asking for the device");
  CheckCuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device),
            "asking for the device's capability");
  CheckCuda(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device),
            "asking for the device's capability");
  CheckCuda(cudaDriverGetVersion(&driver), "asking for the driver's version");
  CheckCuda(cudaRuntimeGetVersion(&runtime), "asking for the runtime's version");
  return DeviceName() + " sm_" + std::to_string(major) + std::to_string(minor) +
         " driver=" + std::to_string(driver) + " runtime=" + std::to_string(runtime);
#endif
}

DeviceBytes DeviceMemoryNow() {
  size_t free = 0, total = 0;
  CheckCuda(cudaMemGetInfo(&free, &total), "asking for the device's memory");
  return {static_cast<int64_t>(free), static_cast<int64_t>(total)};
}

int64_t DeviceReserve(int64_t total_bytes) {
  return std::min(total_bytes / 16, int64_t{1} << 30);
}

void CheckDeviceMemory(const std::string& what, int64_t bytes) {
  const auto [free, total] = DeviceMemoryNow();
  if (bytes <= free) return;
  const std::string problem = what + ": this network and batch size need " +
                              std::to_string(bytes >> 20) + " MiB, and the device has " +
                              std::to_string(free >> 20) + " MiB free of " +
                              std::to_string(total >> 20) + " MiB; a smaller batch needs less";
  if (bytes > total) throw OutOfMemory(problem);
  throw Unavailable(problem + "; others use the device now");
}

// What others do on the legacy stream must neither wait for steps nor break their capture.
Stream::Stream() {
  CheckCuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
}

Stream::~Stream() { cudaStreamDestroy(stream_); }

void Stream::Synchronize() const {
  CheckCuda(cudaStreamSynchronize(stream_), "waiting for the device");
}

Event::Event() {
  CheckCuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "making an event");
}

Event::~Event() { cudaEventDestroy(event_); }

void Event::Record(const Stream& stream) {
  CheckCuda(cudaEventRecord(event_, stream.get()), "recording an event");
}

void Event::Synchronize() const { CheckCuda(cudaEventSynchronize(event_), "waiting for an event"); }

void Event::HoldBack(const Stream& stream) const {
  CheckCuda(cudaStreamWaitEvent(stream.get(), event_, 0), "making a stream wait for an event");
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
  // Relaxed: kernels that are first used here, ours and those of NVIDIA's libraries, are loaded on
  // the way, which stricter modes may take for work that a capture would lose.
  CheckCuda(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeRelaxed),
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
