#include "tests/kernels/cuda/support/activity.h"

#if defined(TRAINYARD_CUPTI)
#include <cupti.h>

#include <algorithm>
#include <cstdlib>
#include <utility>
#include <vector>
#endif

namespace trainyard::kernels::cuda::testing {

#if defined(TRAINYARD_CUPTI)
namespace {

constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,
                                         CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_MEMSET};
constexpr size_t kBufferBytes = size_t{8} << 20;

// Start and end in ns. CUPTI calls back without an argument of ours.
std::vector<std::pair<uint64_t, uint64_t>> recorded_spans;

void CUPTIAPI GiveBuffer(uint8_t** buffer, size_t* bytes, size_t* records_max) {
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(64, kBufferBytes));
  *bytes = *buffer == nullptr ? 0 : kBufferBytes;
  *records_max = 0;  // as many as fit
}

template <typename Record>
void Keep(const CUpti_Activity* record) {
  const auto* activity = reinterpret_cast<const Record*>(record);
  recorded_spans.emplace_back(activity->start, activity->end);
}

void CUPTIAPI TakeBuffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid_bytes) {
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, valid_bytes, &record) == CUPTI_SUCCESS) {
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) Keep<CUpti_ActivityKernel9>(record);
    if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) Keep<CUpti_ActivityMemcpy5>(record);
    if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET) Keep<CUpti_ActivityMemset4>(record);
  }
  std::free(buffer);
}

bool StartRecording() {
  bool started = cuptiActivityRegisterCallbacks(GiveBuffer, TakeBuffer) == CUPTI_SUCCESS;
  for (CUpti_ActivityKind kind : kKinds) {
    started = started && cuptiActivityEnable(kind) == CUPTI_SUCCESS;
  }
  return started;
}

}  // namespace

Activity WatchDevice(const std::function<void()>& work) {
  recorded_spans.clear();
  const bool started = StartRecording();
  work();
  for (CUpti_ActivityKind kind : kKinds) cuptiActivityDisable(kind);
  cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  Activity activity;
  if (!started) return activity;
  std::sort(recorded_spans.begin(), recorded_spans.end());
  activity.spans = static_cast<int64_t>(recorded_spans.size());
  uint64_t busy = 0, until = 0;
  for (const auto& [start, end] : recorded_spans) {
    if (end > until) busy += end - std::max(start, until);
    until = std::max(until, end);
  }
  activity.busy_seconds = static_cast<double>(busy) * 1e-9;
  return activity;
}

#else

Activity WatchDevice(const std::function<void()>& work) {
  work();
  return {};
}

#endif

}  // namespace trainyard::kernels::cuda::testing
