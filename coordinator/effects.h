// Performs every effect of the core: to workers through the gateway, to processes through the
// launcher, to repositories through the watcher, to files through the store, to people through the
// notifier. Decides nothing.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "coordinator/core/effect.h"
#include "coordinator/core/event.h"
#include "coordinator/launch/launcher.h"
#include "coordinator/loop.h"
#include "coordinator/notify/notifier.h"
#include "coordinator/rpc/worker_gateway.h"
#include "coordinator/store/blobs.h"
#include "coordinator/store/records.h"
#include "coordinator/watch/project_watcher.h"
#include "coordinator/work_queue.h"

namespace trainyard::coordinator {

class Effects final : public Performer {
 public:
  struct Parts {
    Loop* loop = nullptr;
    WorkerGateway* gateway = nullptr;
    ProjectWatcher* watcher = nullptr;
    Blobs* blobs = nullptr;
    Records* records = nullptr;
    std::map<std::string, Launcher*> launchers;  // by pool
    Notifier* notifier = nullptr;                // null: nobody wants to be told
  };

  // `on_end` is called on the loop's thread: OK after the effect Quit, else why the loop broke.
  explicit Effects(std::function<void(const absl::Status&)> on_end) : on_end_(std::move(on_end)) {}

  // Once, before the loop starts.
  void Connect(Parts parts);
  // Once the loop has stopped: finishes what is under way. The parts are not used any more.
  void Finish();

  void Perform(const core::Effect& effect, const core::State& state) override;
  void LoopBroken(const absl::Status& why) override { on_end_(why); }

 private:
  void Launch(const core::LaunchWorker& effect);
  void Adopt(const core::AdoptWorker& effect);
  void Stop(const core::StopWorker& effect);
  void RemoveStrays();
  void Drop(const core::DropCheckpoint& effect);
  Launcher* LauncherOf(const std::string& pool) const;
  // What one pool does slowly keeps no other waiting.
  WorkQueue& LaunchingIn(const std::string& pool);

  const std::function<void(const absl::Status&)> on_end_;
  Parts parts_;
  std::map<std::string, std::unique_ptr<WorkQueue>> launching_;  // by pool; the loop's thread
  std::unique_ptr<WorkQueue> files_ = std::make_unique<WorkQueue>();
};

}  // namespace trainyard::coordinator
