#include "worker/agent/checkpoint_publisher.h"

#include <cmath>
#include <filesystem>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "worker/agent/digest.h"
#include "worker/agent/report_buffer.h"
#include "worker/engine/mapped_file.h"

namespace trainyard::agent {
namespace {

using std::chrono::milliseconds;

constexpr double kWorthless = -std::numeric_limits<double>::infinity();

}  // namespace

CheckpointPublisher::CheckpointPublisher(v1::AttemptRef attempt, v1::Target::Metric metric,
                                         std::string folder, BlobClient& blobs, Uplink& uplink,
                                         AttemptControl& control)
    : attempt_(std::move(attempt)),
      metric_(metric),
      folder_(std::move(folder)),
      blobs_(blobs),
      uplink_(uplink),
      control_(control),
      thread_([this] { Run(); }) {}

CheckpointPublisher::~CheckpointPublisher() {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
    changed_.notify_all();
  }
  thread_.join();
}

void CheckpointPublisher::OnEpoch(int epoch, double val_accuracy, double val_loss) {
  const double worth = metric_ == v1::Target::VAL_LOSS ? -val_loss : val_accuracy;
  std::lock_guard lock(mutex_);
  worth_[epoch] = std::isnan(worth) ? kWorthless : worth;
}

void CheckpointPublisher::Add(engine::Checkpoint checkpoint, bool last) {
  Item item{.step = checkpoint.step,
            .epoch = checkpoint.epoch,
            .end_of_epoch = checkpoint.end_of_epoch,
            .last = last};
  for (const auto& adjusted : checkpoint.adjusted) item.adjusted_at.push_back(adjusted.step);
  item.checkpoint = std::move(checkpoint);
  Enqueue(std::move(item));
}

void CheckpointPublisher::Add(Packed packed, bool last) {
  Enqueue({.step = packed.step,
           .epoch = packed.epoch,
           .end_of_epoch = packed.end_of_epoch,
           .last = last,
           .sha256 = std::move(packed.sha256),
           .file = std::move(packed.file)});
}

void CheckpointPublisher::Enqueue(Item item) {
  std::lock_guard lock(mutex_);
  waiting_.push_back(std::move(item));
  Prune();
  changed_.notify_all();
}

CheckpointPublisher::Drained CheckpointPublisher::Drain() {
  std::unique_lock lock(mutex_);
  AttemptControl::Interrupt interrupt(control_, Wish::kGiveUp, [this] { changed_.notify_all(); });
  const auto done = [&] {
    if (waiting_.empty() || control_.wish() >= Wish::kGiveUp) return true;
    return !publishing() && in_work_ == nullptr && !waiting_.back().file.empty();
  };
  while (!done()) changed_.wait_for(lock, milliseconds(200));
  if (waiting_.empty()) return Drained::kPublished;
  return waiting_.back().file.empty() ? Drained::kNothing : Drained::kKept;
}

std::string CheckpointPublisher::trouble() const {
  std::lock_guard lock(mutex_);
  return trouble_;
}

bool CheckpointPublisher::publishing() const {
  if (control_.wish() < Wish::kStop) return true;
  const std::optional<StopRequest> stop = control_.stop();
  return !stop || stop->publish;
}

double CheckpointPublisher::Worth(const Item& item) const {
  if (!item.end_of_epoch) return kWorthless;
  const auto found = worth_.find(item.epoch);
  return found == worth_.end() ? kWorthless : found->second;
}

void CheckpointPublisher::Prune() {
  auto best = waiting_.end();
  for (auto item = waiting_.begin(); item != waiting_.end(); ++item) {
    // Of equals the later one: it stands nearer to what is continued.
    if (item->end_of_epoch && (best == waiting_.end() || Worth(*item) >= Worth(*best))) {
      best = item;
    }
  }
  const auto newest = std::prev(waiting_.end());
  for (auto item = waiting_.begin(); item != waiting_.end();) {
    if (item == best || item == newest || &*item == in_work_) {
      ++item;
      continue;
    }
    std::error_code ignored;
    if (!item->file.empty()) std::filesystem::remove(item->file, ignored);
    item = waiting_.erase(item);
  }
}

void CheckpointPublisher::Run() {
  Backoff backoff(milliseconds(200), milliseconds(5'000));
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return closing_ || !waiting_.empty(); });
    if (closing_ || control_.wish() >= Wish::kAbandon) return;
    // What is in work stays where it is; others come and go around it. Where nothing can be
    // uploaded any more, the newest is what has to reach the work folder.
    const auto item = publishing() ? waiting_.begin() : std::prev(waiting_.end());
    in_work_ = &*item;
    lock.unlock();
    const bool stored = Store(*item);
    lock.lock();
    in_work_ = nullptr;
    if (stored) {
      std::error_code ignored;
      if (!item->file.empty()) std::filesystem::remove(item->file, ignored);
      waiting_.erase(item);
      trouble_.clear();
      backoff.Reset();
    } else {
      Prune();
      changed_.notify_all();
      changed_.wait_for(lock, backoff.Next(), [&] { return closing_; });
    }
    changed_.notify_all();
  }
}

bool CheckpointPublisher::Store(Item& item) {
  if (item.sha256.empty()) {
    item.bytes = engine::SerializeCheckpoint(*item.checkpoint);
    item.sha256 = HashOf(item.bytes);
    item.checkpoint.reset();  // the bytes say it all
  }
  if (item.file.empty()) WriteLocally(item);
  return Publish(item);
}

void CheckpointPublisher::WriteLocally(Item& item) {
  const std::string file =
      absl::StrCat(folder_, "/step-", item.step, item.end_of_epoch ? "-epoch" : "", ".safetensors");
  try {
    engine::WriteFileAtomically(file, item.bytes);
    std::lock_guard lock(mutex_);
    item.file = file;
  } catch (const std::exception& error) {
    // Uploaded all the same: the coordinator's disk may have room.
    Fail(absl::StrCat("checkpoint of step ", item.step,
                      " is not in the work folder: ", error.what()));
  }
}

bool CheckpointPublisher::Publish(Item& item) {
  if (!publishing() || control_.wish() >= Wish::kGiveUp) return false;
  if (!uplink_.WaitForLease(milliseconds(200))) {
    Fail("the lease is lost: publishing waits, training goes on");
    return false;
  }
  // Empty where this one is in memory.
  const std::optional<engine::MappedFile> mapped =
      item.bytes.empty() ? engine::MappedFile::Open(item.file) : std::nullopt;
  if (item.bytes.empty() && !mapped) {
    Fail(absl::StrCat("checkpoint of step ", item.step, " cannot be read from the work folder"));
    return false;
  }
  const std::string_view bytes = mapped ? mapped->bytes() : item.bytes;
  const absl::Status status = blobs_.Upload(bytes, item.sha256, attempt_, control_, Wish::kGiveUp);
  if (!status.ok()) {
    Fail(absl::StrCat("checkpoint of step ", item.step, " cannot be uploaded, the ",
                      "coordinator says: ", status.message()));
    return false;
  }
  v1::WorkerMessage message;
  v1::CheckpointReport* report = message.mutable_checkpoint();
  *report->mutable_attempt() = attempt_;
  report->set_sha256(item.sha256);
  report->set_bytes(static_cast<int64_t>(bytes.size()));
  report->set_step(item.step);
  report->set_epoch(item.epoch);
  report->set_end_of_epoch(item.end_of_epoch);
  report->set_final(item.last);
  for (const int64_t step : item.adjusted_at) report->add_adjusted_at(step);
  uplink_.Report(std::move(message), control_);
  spdlog::info("{}: checkpoint of step {} stored, {} bytes", Describe(attempt_), item.step,
               bytes.size());
  return true;
}

void CheckpointPublisher::Fail(const std::string& message) {
  std::lock_guard lock(mutex_);
  if (std::exchange(trouble_, message) != message) {
    spdlog::warn("{}: {}", Describe(attempt_), message);
  }
}

}  // namespace trainyard::agent
