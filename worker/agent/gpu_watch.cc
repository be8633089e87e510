#include "worker/agent/gpu_watch.h"

#include <utility>

#include "kernels/cuda_module.h"

namespace trainyard::agent {

GpuWatch::GpuWatch(Sample sample, std::chrono::milliseconds every)
    : thread_([this, sample = std::move(sample), every] { Run(sample, every); }) {}

GpuWatch::~GpuWatch() {
  {
    std::lock_guard lock(mutex_);
    ends_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

std::optional<v1::GpuUse> GpuWatch::latest() {
  std::lock_guard lock(mutex_);
  return latest_;
}

void GpuWatch::Run(const Sample& sample, std::chrono::milliseconds every) {
  std::unique_lock lock(mutex_);
  while (!ends_) {
    lock.unlock();
    std::optional<v1::GpuUse> found = sample();
    lock.lock();
    latest_ = std::move(found);
    changed_.wait_for(lock, every, [this] { return ends_; });
  }
}

std::optional<v1::GpuUse> UseOfGpu(const std::string& uuid) {
  const kernels::CudaUse found = kernels::UseOfCuda(uuid);
  if (found.memory_used_bytes < 0) return std::nullopt;
  v1::GpuUse use;
  use.set_memory_used_bytes(found.memory_used_bytes);
  use.set_busy_percent(found.busy_percent);
  return use;
}

}  // namespace trainyard::agent
