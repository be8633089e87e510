// trainyard-worker: registers with a coordinator and trains what it is given, one attempt at a
// time.
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "kernels/backend.h"
#include "kernels/spinning.h"
#include "proto/access.h"
#include "proto/labels.h"
#include "proto/runtimes.h"
#include "spdlog/spdlog.h"
#include "worker/agent/agent.h"
#include "worker/agent/blob_cache.h"
#include "worker/agent/blob_client.h"
#include "worker/agent/choose_backend.h"
#include "worker/agent/ending.h"
#include "worker/agent/explain.h"
#include "worker/agent/gpu_watch.h"
#include "worker/agent/list_gpus.h"
#include "worker/agent/log.h"
#include "worker/agent/native_runner.h"
#include "worker/agent/work_folder.h"
#include "worker/program/program_runner.h"
#include "worker/program/sandbox.h"

namespace {

namespace fs = std::filesystem;
using namespace trainyard;  // NOLINT: this is the program

constexpr char kVersion[] = "0.1.0";
constexpr int kWakeUp = SIGUSR2;  // ends the signal thread
constexpr std::chrono::seconds kGpuSampleEvery{5};

struct Flags {
  std::string coordinator = "localhost:7700";
  std::string access_folder;
  std::string work_folder;
  std::string cache_folder;
  std::optional<int64_t> decoded_gib;
  std::string pool = "external";
  std::map<std::string, std::string> labels;
  std::string backend = "auto";
  bool list_gpus = false;
  std::string explain;
  std::string gpu_claim_folder;
  int64_t launch = 0;
  int threads = 0;
  int grace_s = 25;
  int orphan_limit_s = 1800;
  std::string programs = "none";
  std::vector<std::string> program_paths;
  bool program_network = false;
  std::vector<std::string> runtimes;
  bool private_urls = false;
  bool verbose = false;
};

// Where a user's programs keep what can be made again.
std::string DefaultCache() {
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache == '/') {
    return absl::StrCat(cache, "/trainyard");
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    return absl::StrCat(home, "/.cache/trainyard");
  }
  return absl::StrCat(fs::temp_directory_path().string(), "/trainyard-", getuid());
}

// "site=berlin" and so on; a form that no job could ask for is refused.
std::map<std::string, std::string> ParseLabels(const std::vector<std::string>& written) {
  std::map<std::string, std::string> labels;
  for (const std::string& label : written) {
    const size_t equals = std::min(label.find('='), label.size());
    const std::string name = label.substr(0, equals);
    const std::string value = label.substr(std::min(equals + 1, label.size()));
    std::string expected;
    if (equals == label.size()) {
      expected = "NAME=VALUE";
    } else if (!IsLabelName(name)) {
      expected = kLabelNameForm;
    } else if (!IsLabelValue(value)) {
      expected = kLabelValueForm;
    } else if (!labels.emplace(name, value).second) {
      expected = "each name once";
    } else if (labels.size() > kLabelsMax) {
      expected = absl::StrCat("at most ", kLabelsMax, " labels");
    }
    if (!expected.empty()) {
      throw CLI::ValidationError(
          "--label", absl::StrCat("found '", absl::CHexEscape(label), "', expected ", expected));
    }
  }
  return labels;
}

void DeclarePrograms(CLI::App& app, Flags& flags) {
  app.add_option("--programs", flags.programs,
                 "Whether it runs programs of users: none, sandbox (each one in bubblewrap), "
                 "container (this worker is alone in a container)")
      ->check(CLI::IsMember({"none", "sandbox", "container"}))
      ->capture_default_str();
  const auto repeatable = [](CLI::Option* option) {
    option->expected(1)->allow_extra_args(false)->multi_option_policy(
        CLI::MultiOptionPolicy::TakeAll);
  };
  app.add_flag("--program-network", flags.program_network,
               "Give the network to programs whose spec asks for it, in their sandbox");
  repeatable(app.add_option("--program-path", flags.program_paths,
                            "Folder that programs can read, its `bin` first on their PATH, such as "
                            "a Python venv; can be repeated")
                 ->check(CLI::ExistingDirectory));
  repeatable(app.add_option("--runtime", flags.runtimes,
                            "What it can run, of workers started by hand: native, program-keras, "
                            "...; can be repeated [native, and with --programs every program]")
                 ->check(CLI::IsMember({"native", "program-keras", "program-torch",
                                        "program-sklearn", "program-other"})));
}

void Declare(CLI::App& app, Flags& flags) {
  app.set_version_flag("--version", kVersion);
  app.add_option("--coordinator", flags.coordinator, "Address of the coordinator, host:port")
      ->envname("TRAINYARD_COORDINATOR")
      ->capture_default_str();
  app.add_option("--access", flags.access_folder,
                 "Folder with what the coordinator asks for: token, ca.pem, cert.pem and key.pem")
      ->envname("TRAINYARD_ACCESS");
  app.add_option("--work-dir", flags.work_folder,
                 "Folder for what is under way [the cache folder's `work`]")
      ->envname("TRAINYARD_WORK_DIR");
  app.add_option(
      "--cache-dir", flags.cache_folder,
      "Folder for sources and data, as fetched and decoded, shared by the workers of a host "
      "[~/.cache/trainyard]");
  app.add_option("--decoded-gib", flags.decoded_gib,
                 "GiB of the cache folder for data sets kept decoded, 0 for none: what was used "
                 "longest ago makes room [20 where it is on a local disk, else 0]")
      ->envname("TRAINYARD_DECODED_GIB")
      ->check(CLI::Range(0, 1'000'000));
  app.add_option("--pool", flags.pool, "Pool that this worker belongs to")->capture_default_str();
  app.add_option_function<std::vector<std::string>>(
         "--label",
         [&flags](const std::vector<std::string>& written) { flags.labels = ParseLabels(written); },
         "What jobs may ask for, NAME=VALUE, can be repeated; of workers started by hand")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--backend", flags.backend,
                 "What computes: auto (a GPU if it can be used, else the CPU), cpu, cuda or "
                 "reference")
      ->check(CLI::IsMember({"auto", "cpu", "cuda", "reference"}))
      ->capture_default_str();
  app.add_flag("--list-gpus", flags.list_gpus,
               "Only say which GPUs can be used, each as JSON on a line of its own");
  app.add_option("--explain", flags.explain,
                 "Only say how each op of a network would be computed with this backend and these "
                 "threads: file with a trial's configuration as JSON, - for standard input");
  app.add_option("--gpu-claims", flags.gpu_claim_folder,
                 "Folder in which the workers of a host claim a GPU each, shared by them "
                 "[/run/lock, or else the folder for temporary files]")
      ->check(CLI::ExistingDirectory);
  app.add_option("--threads", flags.threads, "Threads that compute, 0 for one per core")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--grace", flags.grace_s, "Seconds for a checkpoint after SIGTERM or SIGINT")
      ->check(CLI::Range(1, 3600))
      ->capture_default_str();
  app.add_option("--orphan-limit", flags.orphan_limit_s,
                 "Seconds to wait for a coordinator that was never reached")
      ->check(CLI::Range(1, 7 * 24 * 3600))
      ->capture_default_str();
  app.add_option("--launch", flags.launch, "Number under which the coordinator launched this")
      ->envname("TRAINYARD_LAUNCH")
      ->check(CLI::NonNegativeNumber);
  DeclarePrograms(app, flags);
  app.add_flag("--private-urls", flags.private_urls,
               "Fetch data from https URLs at loopback and private addresses too");
  app.add_flag("--verbose", flags.verbose, "Log more");
  app.footer(
      "Ends with 0 when the coordinator says so, 143 after SIGTERM (130 after SIGINT), 6 when no "
      "coordinator could be reached for the orphan limit, 8 when the coordinator does not let it "
      "in "
      "(its token is revoked, expired or not for workers), 9 when it can use its GPU no more, 2 on "
      "wrong flags, a broken access folder or a backend that cannot be had, 1 on other errors.");
}

v1::RegisterRequest Identity(const Flags& flags, const agent::BackendChoice& choice) {
  char host[256] = "localhost";
  gethostname(host, sizeof host - 1);
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  const int threads = flags.threads > 0 ? flags.threads : static_cast<int>(cores);
  std::random_device random;
  v1::RegisterRequest identity;
  identity.set_name(absl::StrCat(host, "/", getpid()));
  identity.set_pool(flags.launch > 0 && flags.pool == "external" ? "process" : flags.pool);
  identity.set_launch(flags.launch);
  identity.set_host(host);
  identity.set_pid(getpid());
  identity.set_device(agent::DeviceText(choice, threads));
  if (choice.gpu) {
    identity.set_gpu(true);
    identity.set_gpu_memory_bytes(choice.gpu->gpu.memory_bytes());
    *identity.mutable_gpu_device() = choice.gpu->gpu;
  }
  identity.set_version(kVersion);
  identity.mutable_labels()->insert(flags.labels.begin(), flags.labels.end());
  identity.mutable_runtimes()->Add(flags.runtimes.begin(), flags.runtimes.end());
  identity.set_incarnation(
      absl::StrCat(absl::Hex(random(), absl::kZeroPad8), absl::Hex(random(), absl::kZeroPad8),
                   absl::Hex(random(), absl::kZeroPad8), absl::Hex(random(), absl::kZeroPad8)));
  return identity;
}

// Why the processor cannot compute as it was asked to: better heard now than from every attempt.
// Empty: it can. A GPU says so when it is claimed.
std::string ProblemWith(const agent::BackendChoice& choice, int threads) {
  if (choice.gpu) return "";
  try {
    kernels::MakeBackend({choice.backend, threads});
    return "";
  } catch (const kernels::Error& error) {
    return agent::OneLine(error.what());
  }
}

// Blocked before any thread exists, so that they all leave these signals to WaitForSignals.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, kWakeUp}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signals;
}

// The first SIGTERM or SIGINT asks the worker to leave; a later one does not ask. One that follows
// at once is the same wish, which a terminal or `timeout` sends to the process and to its group.
void WaitForSignals(const sigset_t& signals, agent::Agent& worker) {
  std::optional<agent::Clock::time_point> asked;
  for (;;) {
    int signal = 0;
    if (sigwait(&signals, &signal) != 0) continue;
    if (signal == kWakeUp) return;
    if (asked && agent::Clock::now() - *asked < std::chrono::seconds(1)) continue;
    if (asked) _exit(128 + signal);
    asked = agent::Clock::now();
    worker.Leave(signal == SIGTERM ? "SIGTERM" : "SIGINT", 128 + signal);
  }
}

// Nothing to show where there is no access folder.
absl::StatusOr<AccessKeys> ReadKeys(const std::string& folder) {
  if (folder.empty()) return AccessKeys{};
  std::vector<std::string> warnings;
  auto keys = ReadAccessFolder(folder, &warnings);
  for (const std::string& warning : warnings) spdlog::warn("{}", warning);
  return keys;
}

// One attempt after the other, each by the runner that it is for.
class Runners : public agent::AttemptRunner {
 public:
  // `hidden` says why programs see no GPU, though some are here; else it is empty.
  Runners(agent::AttemptRunner& native, agent::AttemptRunner* programs, std::string hidden)
      : native_(native), programs_(programs), hidden_(std::move(hidden)) {}

  std::optional<v1::AttemptEnded> Run(const v1::Start& start, agent::Uplink& uplink,
                                      agent::AttemptControl& control) override {
    if (!start.spec().has_program()) return native_.Run(start, uplink, control);
    if (programs_ == nullptr) {
      return Refuse(start, {v1::AttemptEnded::FAILED,
                            "this worker runs no programs: it was started without --programs"});
    }
    if (!hidden_.empty() && start.spec().resources().gpu() == v1::Resources::REQUIRED) {
      return Refuse(start, agent::WithoutGpu(hidden_));
    }
    return programs_->Run(start, uplink, control);
  }

 private:
  static v1::AttemptEnded Refuse(const v1::Start& start, const agent::Ending& ending) {
    v1::AttemptEnded ended;
    *ended.mutable_attempt() = start.attempt();
    ended.set_outcome(ending.outcome);
    ended.set_message(ending.message);
    return ended;
  }

  agent::AttemptRunner& native_;
  agent::AttemptRunner* const programs_;
  const std::string hidden_;
};

// Programs may not look into this process, nor find what it was let in with.
absl::Status GuardSecrets(const Flags& flags) {
  if (prctl(PR_SET_DUMPABLE, 0) != 0) {
    return absl::InternalError("programs could read this worker's memory: PR_SET_DUMPABLE failed");
  }
  // In a sandbox they do not see the folder at all.
  if (flags.programs != "container" || flags.access_folder.empty()) return absl::OkStatus();
  std::error_code error;
  for (const char* name : {"token", "key.pem"}) {
    const fs::path file = fs::path(flags.access_folder) / name;
    if (!fs::exists(file, error)) continue;
    if (flags.launch > 0) {  // this launch's own copy; it was read already
      fs::permissions(flags.access_folder, fs::perms::owner_write, fs::perm_options::add, error);
      fs::remove(file, error);
    }
    if (fs::exists(file, error)) {
      return absl::FailedPreconditionError(absl::StrCat(
          file.string(), ": programs in this container could read it, and ",
          flags.launch > 0 ? "it cannot be removed: expected a folder of this launch's own"
                           : "it is not this worker's to remove: start it from a pool of the "
                             "coordinator's, or with --programs sandbox"));
    }
  }
  return absl::OkStatus();
}

// A file or folder of ours, by its place beside this program; empty: it is not there.
std::string Beside(const char* place) {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  const fs::path path = fs::weakly_canonical(self.parent_path() / place, error);
  return fs::exists(path, error) ? path.string() : "";
}

program::ProgramOptions ProgramOptionsOf(const Flags& flags, const std::string& work_folder) {
  program::ProgramOptions options;
  options.confinement = flags.programs == "container" ? program::Confinement::kContainer
                                                      : program::Confinement::kSandbox;
  options.threads = flags.threads;
  options.work_folder = work_folder;
  options.python_folder = Beside("../share/trainyard/program");
  options.logits_program = Beside("trainyard-logits");
  options.network = flags.program_network;
  for (const std::string& path : flags.program_paths) {
    options.program_paths.push_back(fs::absolute(path).lexically_normal().string());
  }
  options.https = {flags.private_urls, ""};
  return options;
}

// What a worker that was started by hand offers. Without a sandbox it goes on with what is native.
void ChooseRuntimes(Flags& flags) {
  if (flags.runtimes.empty()) {
    flags.runtimes = {"native"};
    if (flags.programs != "none") {
      for (const char* framework : kFrameworks) {
        flags.runtimes.push_back(ProgramRuntime(framework));
      }
    }
  }
  if (flags.programs != "sandbox") return;
  const auto bubblewrap = program::ProbeBubblewrap();
  if (bubblewrap.ok()) return;
  spdlog::error("{}", std::string(bubblewrap.status().message()));
  std::erase_if(flags.runtimes, [](const std::string& runtime) { return runtime != "native"; });
}

agent::NativeOptions NativeOptionsOf(const Flags& flags, const agent::BackendChoice& choice,
                                     const std::string& work_folder) {
  agent::NativeOptions options;
  options.backend.name = choice.backend;
  options.backend.threads = flags.threads;
  if (choice.gpu) {
    options.backend.gpu = choice.gpu->gpu.uuid();
    options.backend.cache_folder = flags.cache_folder + "/cuda";
  } else {
    options.why_no_gpu = choice.reason;
  }
  options.work_folder = work_folder;
  options.https = {flags.private_urls, ""};
  options.decoded_folder = flags.cache_folder + "/decoded";
  options.decoded_bytes_max = std::nullopt;
  if (flags.decoded_gib) options.decoded_bytes_max = *flags.decoded_gib << 30;
  return options;
}

// Programs of users compute on the worker's GPU, and on none of the other workers'. Where there is
// only one, what names it may be more than its UUID: a part of a GPU.
void ShowGpuToPrograms(const agent::BackendChoice& choice) {
  if (choice.gpu && !choice.gpu->only) {
    setenv("CUDA_VISIBLE_DEVICES", choice.gpu->gpu.uuid().c_str(), 1);
  } else if (choice.of_others) {
    setenv("CUDA_VISIBLE_DEVICES", "", 1);
  }
}

// A worker whose GPU is lost: what it would give back to that, and threads that ask it, may never
// return.
[[noreturn]] void EndAtOnce(int exit_code) {
  spdlog::info("ended with exit code {}", exit_code);
  spdlog::shutdown();
  std::fflush(nullptr);
  _exit(exit_code);
}

// The worker's whole life, with flags that have been completed.
int Work(const Flags& flags, const agent::BackendChoice& choice, const sigset_t& signals) {
  const absl::StatusOr<AccessKeys> keys = ReadKeys(flags.access_folder);
  if (!keys.ok()) {
    spdlog::error("{}", std::string(keys.status().message()));
    return agent::kExitUsage;
  }
  if (flags.programs != "none") {
    if (const absl::Status status = GuardSecrets(flags); !status.ok()) {
      spdlog::error("{}", std::string(status.message()));
      return agent::kExitUsage;
    }
  }
  absl::StatusOr<agent::WorkFolder> work = agent::WorkFolder::Open(flags.work_folder);
  if (!work.ok()) {
    spdlog::error("{}", std::string(work.status().message()));
    return agent::kExitError;
  }
  agent::BlobClient blobs(agent::MakeChannel(flags.coordinator, *keys));
  agent::BlobCache cache(flags.cache_folder + "/blobs");
  agent::NativeRunner native(NativeOptionsOf(flags, choice, work->path()), blobs, cache);
  std::optional<program::ProgramRunner> programs;
  if (flags.programs != "none") {
    programs.emplace(ProgramOptionsOf(flags, work->path()), blobs, cache);
  }
  Runners runners(native, programs ? &*programs : nullptr, choice.of_others ? choice.reason : "");
  agent::AgentOptions options;
  options.session.identity = Identity(flags, choice);
  std::optional<agent::GpuWatch> watch;
  if (choice.gpu) {
    watch.emplace([uuid = choice.gpu->gpu.uuid()] { return agent::UseOfGpu(uuid); },
                  kGpuSampleEvery);
    options.session.gpu_use = [&watch] { return watch->latest(); };
  }
  options.session.keys = *keys;
  options.session.orphan_limit = std::chrono::seconds(flags.orphan_limit_s);
  options.grace = std::chrono::seconds(flags.grace_s);
  agent::Agent worker(agent::MakeChannel(flags.coordinator, *keys), runners, options);
  spdlog::info("worker {} ({}) looks for its coordinator at {}", options.session.identity.name(),
               options.session.identity.device(), flags.coordinator);

  std::thread listener([&] { WaitForSignals(signals, worker); });
  const int exit_code = worker.Run();
  pthread_kill(listener.native_handle(), kWakeUp);
  listener.join();
  if (worker.left_checkpoint()) work->Keep();
  if (exit_code == agent::kExitDeviceLost) EndAtOnce(exit_code);
  spdlog::info("ended with exit code {}", exit_code);
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  kernels::LimitSpinning(argv);
  const sigset_t signals = BlockSignals();
  CLI::App app("Trains what a Trainyard coordinator assigns, one attempt at a time.",
               "trainyard-worker");
  Flags flags;
  Declare(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : agent::kExitUsage;
  }
  if (flags.list_gpus) return agent::ListGpus(kernels::ProbeCuda());
  if (flags.cache_folder.empty()) flags.cache_folder = DefaultCache();
  if (flags.work_folder.empty()) flags.work_folder = flags.cache_folder + "/work";
  agent::SetUpLogging(flags.verbose);
  if (flags.gpu_claim_folder.empty()) flags.gpu_claim_folder = agent::DefaultGpuClaimFolder();
  const auto choice = agent::ChooseBackend(flags.backend, flags.gpu_claim_folder);
  if (!choice.ok()) {
    spdlog::error("{}", agent::OneLine(std::string(choice.status().message())));
    return agent::kExitUsage;
  }
  if (!choice->reason.empty()) {
    spdlog::info("trains on {}: {}", choice->gpu ? "a GPU" : "the CPU",
                 agent::OneLine(choice->reason));
  }
  if (const std::string problem = ProblemWith(*choice, flags.threads); !problem.empty()) {
    spdlog::error("{}", problem);
    return agent::kExitUsage;
  }
  if (!flags.explain.empty()) {
    return agent::ExplainFile(flags.explain, NativeOptionsOf(flags, *choice, "").backend);
  }
  ShowGpuToPrograms(*choice);
  ChooseRuntimes(flags);
  try {
    return Work(flags, *choice, signals);
  } catch (const std::exception& error) {
    spdlog::error("{}", error.what());
    return agent::kExitError;
  }
}
