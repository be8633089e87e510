// trainyard-coordinator: flags, build, run.
#include <grpc/support/log.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/strings/str_cat.h"
#include "coordinator/service.h"

namespace {

namespace fs = std::filesystem;
using namespace trainyard::coordinator;  // NOLINT: this is the program

constexpr char kVersion[] = "0.1.0";
constexpr char kDefaultDataRoot[] = "/usr/share/datasets";
constexpr char kDefaultHttp[] = "127.0.0.1:7702";
constexpr char kWorkerName[] = "trainyard-worker";

constexpr int kExitOk = 0;
constexpr int kExitError = 1;
constexpr int kExitUsage = 2;  // wrong flags, port or state folder in use, ...

std::string DefaultStateDir() {
  const char* home = std::getenv("HOME");
  return absl::StrCat(home != nullptr ? home : ".", "/.trainyard");
}

// Beside this program, else on the PATH, else empty.
std::string FindWorker() {
  std::error_code error;
  const fs::path self = fs::read_symlink("/proc/self/exe", error);
  if (const fs::path beside = self.parent_path() / kWorkerName; access(beside.c_str(), X_OK) == 0) {
    return beside;
  }
  const char* variable = std::getenv("PATH");
  const std::string path = variable != nullptr ? variable : "";
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find(':', start), path.size());
    const fs::path found = fs::path(path.substr(start, end - start)) / kWorkerName;
    if (end > start && access(found.c_str(), X_OK) == 0) return found;
    start = end + 1;
  }
  return "";
}

struct Flags {
  ServiceOptions service;
  int64_t poll_ms = 0, poll_remote_ms = 0;  // 0: the defaults
  bool verbose = false;
};

void DeclareAccess(CLI::App& app, ServiceOptions& service) {
  app.add_flag("--require-token", service.require_token,
               "Ask for a token on this machine's own addresses too");
  app.add_flag("--require-client-certs", service.require_client_certs,
               "Ask workers that come over TLS for a certificate (mutual TLS)");
  app.add_option("--tls-cert", service.tls_cert,
                 "Certificate to show, PEM [one of our own making]");
  app.add_option("--tls-key", service.tls_key, "Its private key, PEM");
  app.add_option("--tls-ca", service.tls_ca,
                 "What vouches for it, PEM, for access folders [the certificate's file]");
  app.add_option("--tls-client-ca", service.tls_client_ca,
                 "What vouches for certificates of workers, PEM, beside our own authority");
  app.add_option("--tls-name", service.tls_names,
                 "Host name or address for the certificate of our own making, can be repeated "
                 "[this machine's, and the hosts of --listen]");
}

// How pushes are seen.
void DeclarePushes(CLI::App& app, Flags& flags) {
  ServiceOptions& service = flags.service;
  app.add_option("--poll-ms", flags.poll_ms,
                 "Milliseconds between two looks at a watched repository [2000 for those on this "
                 "machine, 30000 for others]")
      ->check(CLI::Range(int64_t{10}, int64_t{86'400'000}));
  app.add_option("--poll-remote-ms", flags.poll_remote_ms,
                 "The same for those on other machines only, such as 600000 where hooks announce "
                 "pushes")
      ->check(CLI::Range(int64_t{10}, int64_t{86'400'000}));
  app.add_option("--http", service.http,
                 absl::StrCat("Where to listen for pushes that are announced over HTTP, host:port "
                              "[none; with --hooks ",
                              kDefaultHttp, "]"));
  app.add_option("--hooks", service.hooks_file,
                 "File that says whose word is taken for a push (docs/hooks.md)");
}

void Declare(CLI::App& app, Flags& flags) {
  ServiceOptions& service = flags.service;
  app.set_version_flag("--version", kVersion);
  app.add_option("--listen", service.listen,
                 "Where to listen, host:port, can be repeated: plain on this machine's own "
                 "addresses, TLS with tokens beyond [127.0.0.1:7700]");
  app.add_option("--state-dir", service.state_dir, "Folder for records, models and logs")
      ->capture_default_str();
  app.add_option("--workers", service.workers,
                 "Workers on this machine at most, 0 for none [one, and one for each GPU]")
      ->check(CLI::Range(0, 256));
  app.add_option("--threads-per-worker", service.threads_per_worker,
                 "Threads that compute, 0 to share out the cores")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option(
      "--data-root", service.data_roots,
      absl::StrCat("Folder that specs may name data in by absolute path, can be repeated "
                   "[",
                   kDefaultDataRoot, " if it exists]"));
  app.add_option("--worker-binary", service.worker_binary,
                 "The worker program [beside this one, else on the PATH]");
  app.add_option("--pools", service.pools_file,
                 "File that says where else workers may be started: Docker hosts, Slurm clusters "
                 "(docs/pools.md)");
  app.add_option("--notify", service.notify_file,
                 "File that says who is told how jobs end: webhooks, mail, commit statuses "
                 "(docs/notifications.md)");
  DeclarePushes(app, flags);
  app.add_flag("--allow-programs", service.allow_programs,
               "Let workers of this machine run programs of users, each in a sandbox of its own "
               "(bubblewrap)");
  app.add_flag("--program-network", service.program_network,
               "Give the network to those programs whose spec asks for it; takes --require-token");
  app.add_option("--program-path", service.program_paths,
                 "Folder that those programs can read, its bin first on their PATH, such as a "
                 "Python venv; can be repeated")
      ->check(CLI::ExistingDirectory)
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_flag("--allow-file-urls", service.allow_file_urls,
               "Fetch from file:// URLs and paths even where other machines can ask for it");
  app.add_flag("--insecure-listen-anywhere", service.listen_anywhere,
               "Listen beyond this machine without TLS, and ask nobody for a token");
  DeclareAccess(app, service);
  app.add_flag("--verbose", flags.verbose, "Log more");
  // For tests of what happens when time is short.
  app.add_option("--lease-ms", service.settings.lease_ms)
      ->check(CLI::Range(int64_t{50}, int64_t{600'000}))
      ->group("");
  app.add_option("--retry-pause-ms", service.settings.retry_pause_ms)
      ->check(CLI::Range(int64_t{1}, int64_t{60'000}))
      ->group("");
  app.add_option("--stop-grace-ms", service.settings.stop_grace_ms)
      ->check(CLI::Range(int64_t{1}, int64_t{600'000}))
      ->group("");
  app.footer(
      "Ends with 0 after SIGINT or SIGTERM (workers store checkpoints first, and go on at the next "
      "start), 2 on wrong flags, a port or state folder that is in use or cannot be used, 1 on "
      "other "
      "errors. It may be killed at any moment: workers go on, and are found again.");
}

// How the service ended, for the main thread to wait for beside signals.
class End {
 public:
  End() : fd_(eventfd(0, EFD_CLOEXEC)) {}
  int fd() const { return fd_; }
  void Set(absl::Status status) {
    {
      std::lock_guard lock(mutex_);
      if (!status_) status_ = std::move(status);
    }
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof one);
  }
  absl::Status status() {
    std::lock_guard lock(mutex_);
    return status_.value_or(absl::OkStatus());
  }

 private:
  const int fd_;
  std::mutex mutex_;
  std::optional<absl::Status> status_;
};

// Until the service has ended: the first signal asks it to, a later one does not ask. One that
// follows at once is the same wish, which `timeout` sends to the process and to its group, and the
// kernel for each thread of a parent that was killed.
int WaitForEnd(Service& service, End& end, int signals) {
  using Clock = std::chrono::steady_clock;
  std::optional<Clock::time_point> asked;
  while (true) {
    pollfd fds[] = {{signals, POLLIN, 0}, {end.fd(), POLLIN, 0}};
    if (poll(fds, 2, -1) < 0) continue;
    if (fds[1].revents != 0) break;
    signalfd_siginfo info;
    if (read(signals, &info, sizeof info) != sizeof info) continue;
    if (asked && Clock::now() - *asked < std::chrono::seconds(1)) continue;
    if (asked) {
      spdlog::warn("ended without waiting: workers go on, and are found again at the next start");
      _exit(128 + static_cast<int>(info.ssi_signo));
    }
    asked = Clock::now();
    spdlog::info("stopping: workers store checkpoints first");
    service.RequestShutdown();
  }
  if (const absl::Status status = end.status(); !status.ok()) {
    std::fprintf(stderr, "trainyard-coordinator: cannot go on: %s\n",
                 std::string(status.message()).c_str());
    return kExitError;
  }
  return kExitOk;
}

// What is under way when everything else has ended, such as a slow fetch, is not worth waiting for.
void LimitTakedown(int exit_code) {
  std::thread([exit_code] {
    std::this_thread::sleep_for(std::chrono::seconds(10));
    _exit(exit_code);
  }).detach();
}

// Who is let in, and with what.
void TellAccess(const ServiceOptions& options, const Service& service) {
  if (options.listen_anywhere && options.require_token) {
    spdlog::warn("--insecure-listen-anywhere: tokens cross the network unencrypted");
  } else if (options.listen_anywhere) {
    spdlog::warn(
        "--insecure-listen-anywhere: whoever reaches {} may do everything, for nobody is asked for "
        "a token",
        service.addresses());
  }
  if (!options.http.empty() && options.hooks_file.empty()) {
    spdlog::info("--http without --hooks: whoever reaches {} may make projects be looked at",
                 service.http_address());
  }
  if (const std::string folder = service.admin_folder(); !folder.empty()) {
    std::printf("For people: trainyard --access %s, and token create for more of them\n",
                folder.c_str());
  }
  if (const std::string folder = service.worker_folder(); !folder.empty()) {
    std::printf(
        "For a worker elsewhere: copy %s to its host, and there: trainyard-worker --access "
        "DIR --coordinator HOST:PORT\n",
        folder.c_str());
  }
}

int Run(const Flags& flags, int signals) {
  End end;
  auto service =
      Service::Start(flags.service, [&end](absl::Status status) { end.Set(std::move(status)); });
  if (!service.ok()) {
    std::fprintf(stderr, "trainyard-coordinator: %s\n",
                 std::string(service.status().message()).c_str());
    return kExitUsage;
  }
  const int threads = (*service)->threads_per_worker();
  std::string pool = "no workers of its own";
  if (const int workers = (*service)->workers(); workers > 0) {
    const int gpus = (*service)->gpus();
    pool = absl::StrCat("up to ", workers, workers == 1 ? " worker with " : " workers with ",
                        threads, threads == 1 ? " thread" : " threads");
    if (gpus > 0) absl::StrAppend(&pool, ", ", gpus, " of them on a GPU");
  }
  std::printf("Trainyard %s is ready at %s, with its state in %s and %s\n", kVersion,
              (*service)->addresses().c_str(), fs::absolute(flags.service.state_dir).c_str(),
              pool.c_str());
  if (const std::string& http = (*service)->http_address(); !http.empty()) {
    std::printf("Pushes may be announced at %s\n", http.c_str());
  }
  TellAccess(flags.service, **service);
  std::fflush(stdout);
  const int exit_code = WaitForEnd(**service, end, signals);
  LimitTakedown(exit_code);
  service->reset();
  spdlog::info("ended");
  return exit_code;
}

// Blocked before any thread exists, so that they are all left to the main thread.
int BlockSignals() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGINT);
  sigaddset(&mask, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  return signalfd(-1, &mask, SFD_CLOEXEC);
}

void SetUpLogging(bool verbose) {
  auto logger = spdlog::stderr_logger_mt("coordinator");
  logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %l %v");
  logger->set_level(verbose ? spdlog::level::debug : spdlog::level::info);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
  // Such as a handshake that failed, with whoever knocks.
  gpr_set_log_function([](gpr_log_func_args* line) { spdlog::debug("gRPC: {}", line->message); });
}

}  // namespace

int main(int argc, char** argv) {
  const int signals = BlockSignals();
  CLI::App app(
      "Takes up what is pushed or submitted, gives it to workers, and keeps what they learn.",
      "trainyard-coordinator");
  Flags flags;
  flags.service.version = kVersion;
  flags.service.state_dir = DefaultStateDir();
  Declare(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitOk : kExitUsage;
  }
  // Said by images that are made for programs (docker/Dockerfile).
  const char* programs = std::getenv("TRAINYARD_PROGRAMS");
  if (programs != nullptr && std::string_view(programs) == "container") {
    flags.service.allow_programs = flags.service.contained = true;
  }
  if (flags.poll_ms > 0) flags.service.poll_local_ms = flags.service.poll_remote_ms = flags.poll_ms;
  if (flags.poll_remote_ms > 0) flags.service.poll_remote_ms = flags.poll_remote_ms;
  if (flags.service.http.empty() && !flags.service.hooks_file.empty()) {
    flags.service.http = kDefaultHttp;
  }
  if (flags.service.worker_binary.empty()) flags.service.worker_binary = FindWorker();
  if (flags.service.data_roots.empty() && fs::is_directory(kDefaultDataRoot)) {
    flags.service.data_roots.push_back(kDefaultDataRoot);
  }
  SetUpLogging(flags.verbose);
  return Run(flags, signals);
}
