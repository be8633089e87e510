#include "kernels/cuda/emulation/runtime.h"

#include <chrono>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/cuda/emulation/capture.h"

namespace trainyard::kernels::cuda::emulation {

struct Graph {
  std::vector<std::function<void()>> nodes;
};

struct Stream {
  bool blocking = true;  // it waits for the default stream, and the default stream for it
  bool capturing = false, invalid = false;
  cudaStreamCaptureMode mode{};
  std::thread::id thread;  // that began the capture
  Graph captured;
};

struct Event {
  bool recorded = false;
  std::chrono::steady_clock::time_point time;
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

}  // namespace

cudaError_t Note(cudaError_t error) {
  if (error != cudaSuccess) last_error = error;
  return error;
}

cudaError_t RefuseInCapture(bool waits) {
  const std::thread::id here = std::this_thread::get_id();
  const bool refused = InvalidateCaptures([&](const Stream& stream) {
    return waits || stream.mode == cudaStreamCaptureModeGlobal ||
           (stream.mode == cudaStreamCaptureModeThreadLocal && stream.thread == here);
  });
  return Note(refused ? cudaErrorStreamCaptureUnsupported : cudaSuccess);
}

cudaError_t Enqueue(cudaStream_t stream, std::function<void()> work) {
  if (stream == nullptr) {
    if (InvalidateCaptures([](const Stream& capturing) { return capturing.blocking; })) {
      return Note(cudaErrorStreamCaptureImplicit);
    }
    work();
    return cudaSuccess;
  }
  if (!stream->capturing) {
    work();
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
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorIllegalState, "cudaErrorIllegalState",
     "the operation cannot be performed in the present state"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
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
  if (stream == nullptr || flags > cudaStreamNonBlocking) return Note(cudaErrorInvalidValue);
  *stream = new Stream{.blocking = flags == cudaStreamDefault};
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  if (stream == nullptr) return Note(cudaErrorInvalidResourceHandle);
  StopCapture(stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream) { return cudaStreamSynchronize(stream); }

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const bool refused = InvalidateCaptures([&](const Stream& capturing) {
    return stream == nullptr ? capturing.blocking : &capturing == stream;
  });
  if (!refused) return cudaSuccess;
  return Note(stream == nullptr ? cudaErrorStreamCaptureImplicit
                                : cudaErrorStreamCaptureUnsupported);
}

cudaError_t cudaDeviceSynchronize() {
  constexpr bool kWaits = true;
  return RefuseInCapture(kWaits);
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  if (event == nullptr) return Note(cudaErrorInvalidValue);
  *event = new Event;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (event == nullptr) return Note(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  if (event == nullptr) return Note(cudaErrorInvalidResourceHandle);
  return Enqueue(stream, [event] {
    event->recorded = true;
    event->time = std::chrono::steady_clock::now();
  });
}

cudaError_t cudaEventQuery(cudaEvent_t event) { return cudaEventSynchronize(event); }

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  return Note(event == nullptr ? cudaErrorInvalidResourceHandle : cudaSuccess);
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  if (milliseconds == nullptr || start == nullptr || end == nullptr || !start->recorded ||
      !end->recorded) {
    return Note(cudaErrorInvalidResourceHandle);
  }
  *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  if (event == nullptr) return Note(cudaErrorInvalidResourceHandle);
  if (stream == nullptr || !stream->capturing) return cudaSuccess;
  stream->invalid = true;
  return Note(cudaErrorStreamCaptureUnsupported);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
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
  if (executable == nullptr || graph == nullptr) return Note(cudaErrorInvalidValue);
  *executable = new Graph(*graph);
  return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  if (executable == nullptr) return Note(cudaErrorInvalidValue);
  for (const std::function<void()>& node : executable->nodes) {
    const cudaError_t error = Enqueue(stream, node);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}
