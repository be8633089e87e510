// The world of one simulation: shell, store, launcher, network, workers, people and faults.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "coordinator/core/step.h"
#include "tests/coordinator/core/durable.h"
#include "tests/sim/simulation.h"
#include "tests/sim/worker.h"

namespace trainyard::sim {

inline constexpr int64_t kFaultMs = 30'000;
inline constexpr int64_t kBoundMs = kFaultMs + 900'000;

class World : public Surroundings {
 public:
  explicit World(const Options& options);
  Report Run();

  // ---- Surroundings. ----
  Clock& clock() override { return clock_; }
  Random& random() override { return random_; }
  std::map<std::string, Blob>& blobs() override { return blobs_; }
  const network::Configuration& ConfigurationOf(core::TrialId trial) override;
  void Register(int process) override;
  void Connect(int process) override;
  void Send(int process, core::Event event) override;
  void Started(core::TrialId trial, uint64_t weights) override;
  void Missing(const core::Claim& claim, const std::string& sha256) override;
  void Exited(int process, core::ExitKind kind, int number) override;
  void Violation(const std::string& what) override;
  bool ordered() const override { return !unordered_; }

 private:
  // A process and its connection.
  struct Process {
    std::unique_ptr<Worker> worker;
    bool gpu = false;  // has one
    bool open = false;
    int session = 0;
    bool close_untold = false;  // the coordinator does not know yet that the session closed
    int64_t last_up_ms = 0;     // arrival of the latest message, each way: order is kept
    int64_t last_down_ms = 0;
    int64_t cut_off_until_ms = 0;
  };
  // What somebody wants of the coordinator, and asks for until it is answered.
  struct Wish {
    std::function<core::Event(core::RequestId)> ask;
    std::function<void(const core::Answer&)> done;
    bool granted = false;
  };

  // ---- shell.cc: the coordinator process around the core. ----
  void Start();
  void Crash(const char* kind);
  void Post(core::Event event);
  void Loop();
  void StepOne(core::Event event);
  bool CommitAll();
  void PerformAll();
  void Perform(const core::Effect& effect);
  void Launch(const core::LaunchWorker& effect);
  void EndProcess(const core::StopWorker& effect);
  void EndStrays();
  void Drop(const core::DropCheckpoint& effect);
  void ToWorker(core::WorkerId worker, const core::Effect& effect);
  Order OnTheWire(const core::Effect& effect) const;
  void Tick();
  void CheckRecovered();

  // ---- account.cc: what must be true, kept apart from the core. ----
  void Account(const core::Event& event, const core::State& before, const core::Result& result);
  void CheckEffect(const core::Effect& effect);
  void CheckReplay(const core::Checkpoint& checkpoint);
  void Remember(const core::Event& event, const core::Result& result);
  bool Quiet() const;
  void CheckEnd();
  Report Finish();

  // ---- people.cc: jobs and what people do to them. ----
  void PlanPools(Random& plan);
  bool HasGpu() const;
  void PlanJobs();
  void Want(std::function<core::Event(core::RequestId)> ask,
            std::function<void(const core::Answer&)> done);
  void Ask(int64_t wish);
  void Submit(core::JobRequest request);
  void Watch(const std::string& commit);
  void Push(core::ProjectId project, const std::string& commit);
  void AcceptProposals();
  void Meddle();
  void Adjust();
  core::JobId AnyJob();

  // ---- faults.cc. ----
  void Fault();
  void WorkerFault(int64_t kind, int process);
  void TearBlob();
  void LoseHost();
  void Cut(int process);
  bool Faulty() const { return options_.faults && clock_.now_ms() < kFaultMs; }
  bool Hits(int percent_of_10000) {
    return Faulty() && random_.Between(1, 10'000) <= percent_of_10000;
  }
  int AnyProcess();  // that has registered; -1: there is none
  int Spawn(core::LaunchId launch, bool gpu);
  Process* Find(core::LaunchId launch);
  Process* Find(core::WorkerId worker);
  void Count(const std::string& what) { ++report_.coverage[what]; }

  const Options options_;
  Clock clock_;
  Random random_;  // of the world; the jobs have their own, so that faults don't change them
  Report report_;
  core::Settings settings_;
  bool same_path_ = false;  // only faults after which the same work has to be done
  bool unordered_ = false;  // messages overtake each other, get lost and come twice

  // The coordinator.
  core::Durable disk_;
  core::State state_;
  bool up_ = false;
  bool looping_ = false;
  int64_t life_ = 0;  // number of the process; what an earlier one began is gone
  std::deque<core::Event> queue_;
  core::Changes unwritten_;
  std::vector<core::Effect> withheld_;
  std::map<core::RequestId, int64_t> asked_;
  int64_t requests_ = 0;

  // Everybody else.
  std::map<std::string, Blob> blobs_;
  std::vector<Process> processes_;
  std::map<int64_t, Wish> wishes_;
  std::set<core::HostName> lost_hosts_;
  std::map<std::string, core::JobRequest> commits_;  // what a repository holds
  size_t jobs_planned_ = 0;
  std::set<core::JobId> touched_;
  bool paths_changed_ = false;  // a fault may have led any job elsewhere

  // The account.
  std::map<core::TrialId, core::Claim> holder_;  // who may write, by what was told to workers
  std::map<core::TrialId, uint64_t> start_weights_;
  std::set<core::TrialId> restarted_;  // began with other weights than before
  std::deque<std::pair<core::Event, std::vector<core::Effect>>> recent_;
};

}  // namespace trainyard::sim
