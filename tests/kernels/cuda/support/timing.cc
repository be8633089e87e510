#include "tests/kernels/cuda/support/timing.h"

#include <algorithm>
#include <vector>

#include "kernels/cuda/check.h"
#include "kernels/cuda/resources.h"

namespace trainyard::kernels::cuda::testing {
namespace {

constexpr int kReplays = 11, kMostLaunches = 1000;
constexpr double kSecondsPerReplay = 2e-3;
constexpr double kWarmUpSeconds = 0.2;  // until clocks that fell while the host was busy are up

class Event {
 public:
  Event() { CheckCuda(cudaEventCreate(&event_), "cudaEventCreate"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_;
};

double ReplaySeconds(const StepGraph& graph, const Stream& stream) {
  const Event start, end;
  CheckCuda(cudaEventRecord(start, stream.get()), "cudaEventRecord");
  graph.Launch(stream);
  CheckCuda(cudaEventRecord(end, stream.get()), "cudaEventRecord");
  CheckCuda(cudaEventSynchronize(end), "the timed kernels");
  float milliseconds = 0;
  CheckCuda(cudaEventElapsedTime(&milliseconds, start, end), "cudaEventElapsedTime");
  return milliseconds * 1e-3;
}

}  // namespace

Device DescribeDevice() {
#if defined(TRAINYARD_CUDA_EMULATION)
  return {"the emulated machine", 0};
#else
  cudaDeviceProp properties;
  CheckCuda(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
  return {properties.name, properties.l2CacheSize};
#endif
}

double SecondsPerLaunch(const std::function<void(cudaStream_t)>& launch) {
  const Stream stream;
  CheckCuda(cudaDeviceSynchronize(), "what the launch works on");
  launch(stream.get());  // loads the module
  const StepGraph once(stream, [&] { launch(stream.get()); });
  ReplaySeconds(once, stream);
  const double estimate = ReplaySeconds(once, stream);
  const int count = kEmulated
                        ? 1
                        : static_cast<int>(std::clamp(kSecondsPerReplay / std::max(estimate, 1e-9),
                                                      1.0, double{kMostLaunches}));
  // One after the other, without the gaps that the host leaves between them.
  const StepGraph graph(stream, [&] {
    for (int i = 0; i < count; ++i) launch(stream.get());
  });
  double warm_up = 0;
  do {
    warm_up += ReplaySeconds(graph, stream);
  } while (!kEmulated && warm_up < kWarmUpSeconds);
  std::vector<double> seconds;
  for (int i = 0; i < (kEmulated ? 1 : kReplays); ++i)
    seconds.push_back(ReplaySeconds(graph, stream));
  std::nth_element(seconds.begin(), seconds.begin() + seconds.size() / 2, seconds.end());
  return seconds[seconds.size() / 2] / count;
}

}  // namespace trainyard::kernels::cuda::testing
