// Work spread over threads that the system may not have.
#pragma once

#include <cstddef>
#include <functional>

namespace trainyard::engine {

// As many as BackendOptions::threads says; <= 0: one per core that this process may use.
size_t CountThreads(int threads);

// work(0) ... work(count - 1), each once: on a thread each as long as there are any to be had
// (limits of processes, of a container), and the others in turn on the caller's. `work` must not
// throw.
void InThreads(size_t count, const std::function<void(size_t)>& work);

}  // namespace trainyard::engine
