#include "kernels/cuda/emulation/machine.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>
#include <utility>

#include "kernels/backend.h"
#include "kernels/cuda/emulation/sanitizers.h"

namespace trainyard::kernels::cuda::emulation {
namespace {

std::string Hex(uint32_t mask) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%08x", mask);
  return text;
}

uint3 Position(uint64_t index, dim3 size) {
  return {static_cast<unsigned>(index % size.x), static_cast<unsigned>(index / size.x % size.y),
          static_cast<unsigned>(index / size.x / size.y)};
}

// With constant sizes: ThreadSanitizer takes part in every call of memcpy.
void CopyValue(void* to, const void* from, size_t bytes) {
  switch (bytes) {
    case 1:
      std::memcpy(to, from, 1);
      break;
    case 4:
      std::memcpy(to, from, 4);
      break;
    case 8:
      std::memcpy(to, from, 8);
      break;
    case 16:
      std::memcpy(to, from, 16);
      break;
    case 24:
      std::memcpy(to, from, 24);
      break;
    default:
      throw Error("a warp exchanges no values of " + std::to_string(bytes) + " bytes");
  }
}

// ThreadSanitizer orders what runs on one of its fibers, and what created a fiber before what runs
// on it. So the host creates them; they are used in turns, and as they are twice as many as a block
// has threads, no two blocks that run one after the other share one.
constexpr unsigned kRaceFibersMin = 64;

}  // namespace

std::string Text(uint3 position) {
  return "(" + std::to_string(position.x) + "," + std::to_string(position.y) + "," +
         std::to_string(position.z) + ")";
}

std::string Text(const Site& site) {
  return std::string(site.file_name()) + ":" + std::to_string(site.line());
}

Machine& Machine::OfThisThread() {
  static thread_local Machine machine;
  return machine;
}

void Machine::Fail(const std::string& what) const {
  throw Error("block " + Text(blockIdx) + ", thread " + Text(running_->position) + ": " + what);
}

void Machine::Run(const LaunchShape& shape, const std::function<void()>& body) {
  if (current_machine_ != nullptr) Fail("a kernel launches a kernel");
  struct Finish {
    Machine& machine;
    ~Finish() {
      machine.shared_.EndLaunch();
      current_machine_ = nullptr;
    }
  };
  const Finish finish{*this};
  current_machine_ = this;
  gridDim = shape.grid;
  blockDim = shape.block;
  body_ = &body;
  thread_count_ = shape.block.x * shape.block.y * shape.block.z;
  random_ = Random(schedule.seed);
  ready_.reserve(2 * thread_count_);  // what grows on one stack must not be freed on another
  at_barrier_.reserve(thread_count_);
  shared_.StartLaunch(shape.dynamic_shared_bytes, shape.shared_bytes_max);
  if (kRaceDetector) {
    while (threads_.size() < std::max(kRaceFibersMin, 2 * thread_count_)) AddThread();
  }
  launched_.Renew();
  finished_.Renew();
  launched_.Release();
  const uint32_t blocks = shape.grid.x * shape.grid.y * shape.grid.z;
  if (schedule.blocks == Order::kForward) {
    for (uint32_t block = 0; block < blocks; ++block) RunBlock(block);
  } else {
    for (uint32_t block : Sequence(blocks, schedule.blocks, random_)) RunBlock(block);
  }
  finished_.Acquire();
}

void Machine::RunBlock(uint32_t block) {
  blockIdx = Position(block, gridDim);
  shared_.StartBlock();
  for (unsigned first = 0; first < thread_count_; first += kLanes) {
    warps_[first / kLanes].StartBlock(std::min(kLanes, thread_count_ - first));
  }
  if (schedule.threads != Order::kForward) {
    sequence_ = Sequence(thread_count_, schedule.threads, random_);
  } else {
    sequence_.clear();
  }
  started_ = 0;
  live_ = thread_count_;
  SwitchTo(Next());
  if (fault_ == nullptr) return;
  finished_.Acquire();
  // Where the other threads stand is of no use to anyone.
  threads_.clear();
  idle_.clear();
  ready_.clear();
  ready_head_ = 0;
  at_barrier_.clear();
  std::rethrow_exception(std::exchange(fault_, nullptr));
}

void Machine::Entry() {
  Machine& machine = Current();
  for (;;) {
    try {
      machine.RunThreads();
    } catch (...) {
      machine.fault_ = std::current_exception();
    }
    CudaThread* next = machine.fault_ == nullptr ? machine.Next() : nullptr;
    if (next == nullptr && machine.fault_ == nullptr && machine.live_ != 0) {
      machine.fault_ = std::make_exception_ptr(Error(machine.Deadlock()));
    }
    machine.finished_.Release();
    machine.SwitchTo(next);
  }
}

// The thread that was chosen, and then, as long as nobody must wait for it, the next on this stack:
// threads that never wait cost no switch.
void Machine::RunThreads() {
  for (;;) {
    threadIdx = running_->position;
    launched_.Acquire();
    (*body_)();
    Exit();
    {
      const Unobserved unobserved;
      idle_.push_back(running_);
    }
    const bool starts_another =
        started_ < thread_count_ && (ready_.empty() || schedule.threads == Order::kForward);
    if (kRaceDetector || !starts_another) return;
    Start();  // on the stack that became idle last: this one
  }
}

void Machine::Exit() {
  running_->copies.Forget();
  --live_;
  Warp& warp = this->warp();
  warp.Exit(lane());
  for (WarpMeeting* meeting : warp.meetings()) {
    if (warp.Completes(*meeting)) CompleteMeeting(*meeting);
  }
  OpenBarrierIfComplete();
}

// Who runs next: null where nobody can.
CudaThread* Machine::Next() {
  if (started_ < thread_count_ &&
      (ready_.empty() || schedule.threads == Order::kForward ||
       (schedule.threads == Order::kRandom && random_.Next() % 2 == 0))) {
    return Start();
  }
  return ready_.empty() ? nullptr : Resume();
}

CudaThread* Machine::Start() {
  CudaThread* thread = IdleThread();
  thread->index = sequence_.empty() ? started_ : sequence_[started_];
  thread->position = Position(thread->index, blockDim);
  ++started_;
  return thread;
}

CudaThread* Machine::IdleThread() {
  const Unobserved unobserved;
  if (idle_.empty()) AddThread();
  // The stack that was used last is warm.
  CudaThread* thread = kRaceDetector ? idle_.front() : idle_.back();
  kRaceDetector ? idle_.pop_front() : idle_.pop_back();
  return thread;
}

void Machine::AddThread() {
  const Unobserved unobserved;
  threads_.push_back(std::make_unique<CudaThread>(&Machine::Entry));
  idle_.push_back(threads_.back().get());
}

CudaThread* Machine::Resume() {
  CudaThread* thread;
  if (schedule.threads == Order::kReverse) {
    thread = ready_.back();
    ready_.pop_back();
  } else {
    if (schedule.threads == Order::kRandom) {
      std::swap(ready_[ready_head_],
                ready_[ready_head_ + random_.Below(ready_.size() - ready_head_)]);
    }
    thread = ready_[ready_head_++];
  }
  if (ready_head_ == ready_.size()) {
    ready_.clear();
    ready_head_ = 0;
  } else if (ready_head_ >= thread_count_) {
    const Unobserved unobserved;
    ready_.erase(ready_.begin(), ready_.begin() + static_cast<std::ptrdiff_t>(ready_head_));
    ready_head_ = 0;
  }
  return thread;
}

void Machine::SwitchTo(CudaThread* thread) {
  CudaThread* self = running_;
  if (self == thread) return;
  running_ = thread;
  Fiber::Switch(self == nullptr ? host_ : self->fiber, thread == nullptr ? host_ : thread->fiber);
}

// Lets others run until somebody makes this thread ready again.
void Machine::Wait(const char* operation, const Site& site, const WarpMeeting* meeting) {
  CudaThread* self = running_;
  self->waits_in = operation;
  self->waits_at = site;
  self->meeting = meeting;
  CudaThread* next = Next();
  if (next == nullptr) throw Error(Deadlock());
  SwitchTo(next);
  self->waits_in = nullptr;
  threadIdx = self->position;
}

void Machine::Barrier(const Site& site) {
  if (!at_barrier_.empty() && !SameLine(at_barrier_.front()->waits_at, site)) {
    Fail("waits in __syncthreads at " + Text(site) + ", thread " +
         Text(at_barrier_.front()->position) + " in __syncthreads at " +
         Text(at_barrier_.front()->waits_at) + "; expected all threads of a block at the same");
  }
  // Two in turns: when a barrier is reached by the first thread, all have left the one before the
  // last.
  Edge& edge = barrier_edges_[barriers_ % 2];
  if (at_barrier_.empty()) edge.Renew();
  edge.Release();
  at_barrier_.push_back(running_);
  // The last to come waits, too: who goes on first is for the schedule to say.
  running_->waits_at = site;
  OpenBarrierIfComplete();
  Wait("__syncthreads", site, nullptr);
  edge.Acquire();
}

void Machine::OpenBarrierIfComplete() {
  if (at_barrier_.empty() || at_barrier_.size() != live_) return;
  ++barriers_;
  for (CudaThread* thread : at_barrier_) ready_.push_back(thread);
  at_barrier_.clear();
}

WarpMeeting& Machine::Meet(uint32_t mask, const WarpOperation& operation, const Site& site,
                           const void* value, size_t bytes) {
  const unsigned lane = this->lane();
  if ((mask >> lane & 1) == 0) {
    Fail(std::string(operation.name) + " at " + Text(site) + ": lane " + std::to_string(lane) +
         " is not in its mask " + Hex(mask));
  }
  Warp& warp = this->warp();
  WarpMeeting& meeting = warp.Find(mask, lane);
  if (meeting.operation == nullptr) {
    meeting.operation = &operation;
    meeting.site = site;
  } else if (meeting.operation != &operation &&
             std::strcmp(meeting.operation->name, operation.name) != 0) {
    Fail("lane " + std::to_string(lane) + " executes " + operation.name + " at " + Text(site) +
         " while others of its warp wait for it in " + meeting.operation->name + " at " +
         Text(meeting.site) + " with the same mask " + Hex(mask));
  } else if (operation.aligned && !SameLine(meeting.site, site)) {
    Fail("lane " + std::to_string(lane) + " executes " + operation.name + " at " + Text(site) +
         " while others of its warp execute it at " + Text(meeting.site) +
         "; expected all lanes at the same");
  }
  CopyValue(meeting.values[lane], value, bytes);
  meeting.arrived |= 1u << lane;
  meeting.edge.Release();
  if (warp.Completes(meeting)) {
    CompleteMeeting(meeting);
  } else {
    meeting.waiting.push_back(running_);
    Wait(operation.name, site, &meeting);
  }
  meeting.edge.Acquire();
  return meeting;
}

void Machine::CompleteMeeting(WarpMeeting& meeting) {
  if (meeting.operation->combine != nullptr) meeting.operation->combine(meeting);
  for (CudaThread* thread : meeting.waiting) ready_.push_back(thread);
  meeting.waiting.clear();
}

std::string Machine::Deadlock() const {
  struct Group {
    unsigned threads = 0, first = kThreadsPerBlockMax;
  };
  std::map<std::string, Group> groups;
  for (const std::unique_ptr<CudaThread>& thread : threads_) {
    if (thread->waits_in == nullptr) continue;
    std::string where = std::string(thread->waits_in) + " at " + Text(thread->waits_at);
    if (thread->meeting != nullptr) {
      where += ", warp " + std::to_string(thread->index / kLanes) + ", for the lanes " +
               Hex(thread->meeting->mask & ~thread->meeting->arrived);
    }
    Group& group = groups[where];
    ++group.threads;
    group.first = std::min(group.first, thread->index);
  }
  std::string text = "deadlock in block " + Text(blockIdx) + ": ";
  for (const auto& [where, group] : groups) {
    text += std::to_string(group.threads) + " threads, the first " +
            Text(Position(group.first, blockDim)) + ", wait in " + where + "; ";
  }
  return text + "nobody is left who could go on";
}

}  // namespace trainyard::kernels::cuda::emulation
