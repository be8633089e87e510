// How much a GPU is used, asked now and then on a thread of its own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "trainyard/v1/resources.pb.h"

namespace trainyard::agent {

class GpuWatch {
 public:
  // Nothing: it is not known.
  using Sample = std::function<std::optional<v1::GpuUse>()>;

  GpuWatch(Sample sample, std::chrono::milliseconds every);
  ~GpuWatch();
  GpuWatch(const GpuWatch&) = delete;
  GpuWatch& operator=(const GpuWatch&) = delete;

  // What was found last.
  std::optional<v1::GpuUse> latest();

 private:
  void Run(const Sample& sample, std::chrono::milliseconds every);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<v1::GpuUse> latest_;
  bool ends_ = false;
  std::thread thread_;
};

// Of the GPU with this UUID, as kernels::UseOfCuda tells it.
std::optional<v1::GpuUse> UseOfGpu(const std::string& uuid);

}  // namespace trainyard::agent
