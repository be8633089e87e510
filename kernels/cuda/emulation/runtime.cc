#include "kernels/cuda/emulation/runtime.h"

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/cuda/emulation/capture.h"
#include "kernels/cuda/emulation/faults.h"
#include "kernels/cuda/emulation/schedule.h"

namespace trainyard::kernels::cuda::emulation {

struct Graph {
  std::vector<std::function<void()>> nodes;
};

// Counts how often an event was recorded, and how far the streams have come with it.
struct Recordings {
  int64_t asked = 0, done = 0;
  Stream* last = nullptr;  // that it was recorded on
  std::chrono::steady_clock::time_point time;
};

struct Work {
  std::function<void()> run;
  // Not before this was recorded so often.
  std::shared_ptr<Recordings> after;
  int64_t count = 0;
  bool ready() const { return after == nullptr || after->done >= count; }
};

struct Stream {
  bool blocking = true;  // it waits for the default stream, and the default stream for it
  bool capturing = false, invalid = false;
  cudaStreamCaptureMode mode{};
  std::thread::id thread;  // that began the capture
  Graph captured;
  std::deque<Work> late;  // what it was told and has not done
};

struct Event {
  std::shared_ptr<Recordings> recordings = std::make_shared<Recordings>();
};

namespace {

constinit thread_local cudaError_t last_error = cudaSuccess;

// The streams that capture, of all OS threads.
std::mutex captures_mutex;
std::set<Stream*>& Captures() {
  static std::set<Stream*>& captures = *new std::set<Stream*>;
  return captures;
}

void StopCapture(Stream* stream) {
  const std::lock_guard lock(captures_mutex);
  Captures().erase(stream);
  stream->capturing = false;
}

// Invalidates the captures that `forbids` says are hurt.
template <typename Predicate>
bool InvalidateCaptures(Predicate forbids) {
  const std::lock_guard lock(captures_mutex);
  bool any = false;
  for (Stream* stream : Captures()) {
    if (!forbids(*stream)) continue;
    stream->invalid = true;
    any = true;
  }
  return any;
}

// The streams that have work to do.
std::vector<Stream*>& LateStreams() {
  static std::vector<Stream*>& streams = *new std::vector<Stream*>;
  return streams;
}

void DoNext(Stream* stream) {
  const Work work = std::move(stream->late.front());
  stream->late.pop_front();
  if (stream->late.empty()) std::erase(LateStreams(), stream);
  if (work.run) work.run();
}

// Does all that the stream was told, and what that waits for of other streams; or until `event` was
// recorded so often.
void Finish(Stream* stream, const Recordings* event = nullptr, int64_t count = 0) {
  while (!stream->late.empty() && (event == nullptr || event->done < count)) {
    const Work& next = stream->late.front();
    if (!next.ready()) Finish(next.after->last, next.after.get(), next.count);
    DoNext(stream);
  }
}

void FinishAll(bool only_blocking = false) {
  const std::vector<Stream*> streams = LateStreams();
  for (Stream* stream : streams) {
    if (stream->blocking || !only_blocking) Finish(stream);
  }
}

// Seldom, and then much of one stream, so that it overtakes others.
void DoSomeByChance() {
  static Random random(1);
  if (LateStreams().empty() || random.Below(8) != 0) return;
  Stream* stream = LateStreams()[random.Below(LateStreams().size())];
  while (!stream->late.empty() && stream->late.front().ready() && random.Below(16) != 0) {
    DoNext(stream);
  }
}

void DoOrDefer(Stream* stream, Work work) {
  if (stream->late.empty()) {
    if (!late_streams && work.ready()) return work.run ? work.run() : void();
    LateStreams().push_back(stream);
  }
  stream->late.push_back(std::move(work));
  late_streams ? DoSomeByChance() : Finish(stream);
}

}  // namespace

cudaError_t Note(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

cudaError_t NoteFault() { return Note(fault); }

cudaError_t RefuseInCapture(bool waits) {
  if (const cudaError_t lost = NoteFault(); lost != cudaSuccess) return lost;
  const std::thread::id here = std::this_thread::get_id();
  const bool refused = InvalidateCaptures([&](const Stream& stream) {
    return waits || stream.mode == cudaStreamCaptureModeGlobal ||
           (stream.mode == cudaStreamCaptureModeThreadLocal && stream.thread == here);
  });
  return Note(refused ? cudaErrorStreamCaptureUnsupported : cudaSuccess);
}

void FinishStreams() { FinishAll(); }

cudaError_t Enqueue(cudaStream_t stream, std::function<void()> work) {
  if (const cudaError_t lost = NoteFault(); lost != cudaSuccess) return lost;
  if (stream == nullptr) {
    if (InvalidateCaptures([](const Stream& capturing) { return capturing.blocking; })) {
      return Note(cudaErrorStreamCaptureImplicit);
    }
    FinishAll(/*only_blocking=*/true);
    work();
    return cudaSuccess;
  }
  if (!stream->capturing) {
    DoOrDefer(stream, {std::move(work), nullptr, 0});
    return cudaSuccess;
  }
  if (stream->invalid) return Note(cudaErrorStreamCaptureInvalidated);
  stream->captured.nodes.push_back(std::move(work));
  return cudaSuccess;
}

}  // namespace trainyard::kernels::cuda::emulation

using namespace trainyard::kernels::cuda::emulation;

namespace {

struct ErrorText {
  cudaError_t error;
  const char *name, *text;
};
constexpr ErrorText kErrorTexts[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection",
     "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorDevicesUnavailable, "cudaErrorDevicesUnavailable",
     "CUDA-capable device(s) is/are busy or unavailable"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorDeviceUninitialized, "cudaErrorDeviceUninitialized", "invalid device context"},
    {cudaErrorECCUncorrectable, "cudaErrorECCUncorrectable", "uncorrectable ECC error encountered"},
    {cudaErrorContained, "cudaErrorContained",
     "Invalid access of peer GPU memory over nvlink or a hardware error"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorIllegalState, "cudaErrorIllegalState",
     "the operation cannot be performed in the present state"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress",
     "an illegal memory access was encountered"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureImplicit, "cudaErrorStreamCaptureImplicit",
     "operation would make the legacy stream depend on a capturing blocking stream"},
};

const ErrorText* Find(cudaError_t error) {
  for (const ErrorText& entry : kErrorTexts) {
    if (entry.error == error) return &entry;
  }
  return nullptr;
}

}  // namespace

const char* cudaGetErrorName(cudaError_t error) {
  const ErrorText* found = Find(error);
  return found != nullptr ? found->name : "unrecognized error code";
}

const char* cudaGetErrorString(cudaError_t error) {
  const ErrorText* found = Find(error);
  return found != nullptr ? found->text : "unrecognized error code";
}

cudaError_t cudaGetLastError() { return std::exchange(last_error, cudaSuccess); }

cudaError_t cudaPeekAtLastError() { return last_error; }

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  if (const cudaError_t lost = NoteFault(); lost != cudaSuccess) return lost;
  if (stream == nullptr || flags > cudaStreamNonBlocking) return Note(cudaErrorInvalidValue);
  *stream = new Stream{.blocking = flags == cudaStreamDefault};
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (stream == nullptr) return Note(cudaErrorInvalidResourceHandle);
  StopCapture(stream);
  Finish(stream);
  delete stream;
  return NoteFault();
}

cudaError_t cudaStreamQuery(cudaStream_t stream) { return cudaStreamSynchronize(stream); }

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (const cudaError_t lost = NoteFault(); lost != cudaSuccess) return lost;
  const bool refused = InvalidateCaptures([&](const Stream& capturing) {
    return stream == nullptr ? capturing.blocking : &capturing == stream;
  });
  if (!refused) {
    stream == nullptr ? FinishAll(/*only_blocking=*/true) : Finish(stream);
    return cudaSuccess;
  }
  return Note(stream == nullptr ? cudaErrorStreamCaptureImplicit
                                : cudaErrorStreamCaptureUnsupported);
}

cudaError_t cudaDeviceSynchronize() {
  constexpr bool kWaits = true;
  const cudaError_t refused = RefuseInCapture(kWaits);
  if (refused == cudaSuccess) FinishAll();
  return refused;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  if (const cudaError_t lost = NoteFault(); lost != cudaSuccess) return lost;
  if (event == nullptr) return Note(cudaErrorInvalidValue);
  *event = new Event;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (event == nullptr) return Note(cudaErrorInvalidResourceHandle);
  delete event;
  return NoteFault();
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (event == nullptr) return Note(cudaErrorInvalidResourceHandle);
  const std::shared_ptr<Recordings> recordings = event->recordings;
  const int64_t number = recordings->asked + 1;
  const cudaError_t error = Enqueue(stream, [recordings, number] {
    recordings->done = number;
    recordings->time = std::chrono::steady_clock::now();
  });
  if (error != cudaSuccess || (stream != nullptr && stream->capturing)) return error;
  recordings->asked = number;
  recordings->last = stream;
  return error;
}

cudaError_t cudaEventQuery(cudaEvent_t event) { return cudaEventSynchronize(event); }

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  if (const cudaError_t lost = NoteFault(); lost != cudaSuccess) return lost;
  if (event == nullptr) return Note(cudaErrorInvalidResourceHandle);
  const Recordings& recordings = *event->recordings;
  if (recordings.done < recordings.asked) Finish(recordings.last, &recordings, recordings.asked);
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (const cudaError_t lost = NoteFault(); lost != cudaSuccess) return lost;
  if (milliseconds == nullptr || start == nullptr || end == nullptr ||
      start->recordings->done == 0 || end->recordings->done == 0) {
    return Note(cudaErrorInvalidResourceHandle);
  }
  *milliseconds =
      std::chrono::duration<float, std::milli>(end->recordings->time - start->recordings->time)
          .count();
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (const cudaError_t lost = NoteFault(); lost != cudaSuccess) return lost;
  if (event == nullptr) return Note(cudaErrorInvalidResourceHandle);
  const std::shared_ptr<Recordings>& recordings = event->recordings;
  if (stream == nullptr) return cudaEventSynchronize(event);
  if (!stream->capturing) {
    DoOrDefer(stream, {nullptr, recordings, recordings->asked});
    return cudaSuccess;
  }
  stream->invalid = true;
  return Note(cudaErrorStreamCaptureUnsupported);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  if (const cudaError_t lost = NoteFault(); lost != cudaSuccess) return lost;
  if (stream == nullptr) return Note(cudaErrorStreamCaptureUnsupported);
  if (stream->capturing) return Note(cudaErrorIllegalState);
  stream->capturing = true;
  stream->invalid = false;
  stream->mode = mode;
  stream->thread = std::this_thread::get_id();
  stream->captured.nodes.clear();
  const std::lock_guard lock(captures_mutex);
  Captures().insert(stream);
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  if (graph == nullptr) return Note(cudaErrorInvalidValue);
  *graph = nullptr;
  if (stream == nullptr || !stream->capturing) return Note(cudaErrorIllegalState);
  StopCapture(stream);
  if (const cudaError_t lost = NoteFault(); lost != cudaSuccess) return lost;
  if (stream->invalid) return Note(cudaErrorStreamCaptureInvalidated);
  *graph = new Graph{std::move(stream->captured)};
  stream->captured.nodes.clear();
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  if (status == nullptr) return Note(cudaErrorInvalidValue);
  *status = stream == nullptr || !stream->capturing ? cudaStreamCaptureStatusNone
            : stream->invalid                       ? cudaStreamCaptureStatusInvalidated
                                                    : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  if (const cudaError_t lost = NoteFault(); lost != cudaSuccess) return lost;
  if (executable == nullptr || graph == nullptr) return Note(cudaErrorInvalidValue);
  *executable = new Graph(*graph);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (const cudaError_t lost = NoteFault(); lost != cudaSuccess) return lost;
  if (executable == nullptr) return Note(cudaErrorInvalidValue);
  for (const std::function<void()>& node : executable->nodes) {
    const cudaError_t error = Enqueue(stream, node);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return NoteFault();
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return NoteFault();
}
