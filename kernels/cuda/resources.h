// What a program owns of the CUDA runtime: memory, a stream, captured steps. Each frees itself.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "kernels/cuda/runtime.h"

namespace trainyard::kernels::cuda {

// What results depend on beside the program: the current device's name and capability, driver and
// runtime. "NVIDIA H100 80GB HBM3 sm_90 driver=13000 runtime=13000"
std::string DescribeDevice();

struct DeviceBytes {
  int64_t free = 0, total = 0;
};
DeviceBytes DeviceMemoryNow();

// What a program leaves free: for kernels and libraries that load when they are first used, and for
// plans of smaller batches.
int64_t DeviceReserve(int64_t total_bytes);

// Throws OutOfMemory, starting with `what`, unless `bytes` of device memory are free.
void CheckDeviceMemory(const std::string& what, int64_t bytes);

class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  cudaStream_t get() const { return stream_; }
  void Synchronize() const;

 private:
  cudaStream_t stream_ = nullptr;
};

// A point in a stream's work. One that was never recorded has passed.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void Record(const Stream& stream);
  void Synchronize() const;                   // the host waits
  void HoldBack(const Stream& stream) const;  // what comes next on the stream waits

 private:
  cudaEvent_t event_ = nullptr;
};

// Memory of the device, aligned to 256 bytes. Its content is undefined.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  DeviceMemory(const std::string& what,
               int64_t bytes);  // throws OutOfMemory when it is not to be had
  ~DeviceMemory();
  DeviceMemory(DeviceMemory&& other) noexcept;
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;
  char* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  char* data_ = nullptr;
  int64_t bytes_ = 0;
};

// Memory of the host that the device copies from and to on its own.
class PinnedMemory {
 public:
  PinnedMemory() = default;
  explicit PinnedMemory(int64_t bytes);
  ~PinnedMemory();
  PinnedMemory(PinnedMemory&& other) noexcept;
  PinnedMemory& operator=(PinnedMemory&& other) noexcept;
  char* data() const { return data_; }

 private:
  char* data_ = nullptr;
};

// What was enqueued on a stream once, to be enqueued as a whole again and again.
class StepGraph {
 public:
  // Nothing that `enqueue` puts on the stream runs now. What it throws comes through.
  StepGraph(const Stream& stream, const std::function<void()>& enqueue);
  ~StepGraph();
  StepGraph(StepGraph&& other) noexcept;
  StepGraph& operator=(StepGraph&& other) noexcept;
  void Launch(const Stream& stream) const;

 private:
  cudaGraphExec_t graph_ = nullptr;
};

// Blocking copies between host and device.
void CopyToDevice(const Stream& stream, const void* host, int64_t bytes, void* device);
void CopyToHost(const Stream& stream, const void* device, int64_t bytes, void* host);

}  // namespace trainyard::kernels::cuda
