// A thread that lays images of a data set side by side in host memory, which is all that it
// touches: who owns it goes on with other work meanwhile.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <thread>

#include "kernels/backend.h"

namespace trainyard::kernels::cuda {

class Gatherer {
 public:
  // images[indices[i]] becomes image i of `pixels`, its label labels[i]. All must stay until it is
  // done.
  struct Job {
    ImageSet images;
    std::span<const int32_t> indices;
    char* pixels = nullptr;
    int32_t* labels = nullptr;
  };

  Gatherer();
  ~Gatherer();  // as Cancel
  Gatherer(const Gatherer&) = delete;
  Gatherer& operator=(const Gatherer&) = delete;

  // Only when the one before is done or cancelled.
  void Start(const Job& job);
  bool Done();
  void Wait();
  // Ends the job in progress, if there is one, wherever it stands.
  void Cancel();

 private:
  void Run();
  void Gather(const Job& job) const;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Job> job_;  // until it is done
  bool ends_ = false;
  std::atomic<bool> cancelled_ = false;
  std::thread thread_;
};

}  // namespace trainyard::kernels::cuda
