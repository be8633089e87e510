#include "kernels/cuda/gatherer.h"

#include <cstring>

namespace trainyard::kernels::cuda {

Gatherer::Gatherer() : thread_([this] { Run(); }) {}

Gatherer::~Gatherer() {
  Cancel();
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Gatherer::Start(const Job& job) {
  {
    const std::lock_guard lock(mutex_);
    job_ = job;
    cancelled_ = false;
  }
  changed_.notify_all();
}

bool Gatherer::Done() {
  const std::lock_guard lock(mutex_);
  return !job_;
}

void Gatherer::Wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !job_; });
}

void Gatherer::Cancel() {
  cancelled_ = true;
  Wait();
}

void Gatherer::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return job_ || ends_; });
    if (ends_) return;
    const Job job = *job_;
    lock.unlock();
    Gather(job);
    lock.lock();
    job_.reset();
    changed_.notify_all();
  }
}

void Gatherer::Gather(const Job& job) const {
  const int64_t bytes = job.images.shape.size();
  for (size_t i = 0; i < job.indices.size() && !cancelled_; ++i) {
    const int64_t image = job.indices[i];
    std::memcpy(job.pixels + static_cast<int64_t>(i) * bytes,
                job.images.pixels.data() + image * bytes, static_cast<size_t>(bytes));
    job.labels[i] = job.images.labels[image];
  }
}

}  // namespace trainyard::kernels::cuda
