#include "coordinator/service.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "coordinator/access/access.h"
#include "coordinator/address.h"
#include "coordinator/dialing.h"
#include "coordinator/effects.h"
#include "coordinator/launch/launchers.h"
#include "coordinator/launch/pools_file.h"
#include "coordinator/launch/worker_gpus.h"
#include "coordinator/loop.h"
#include "coordinator/notify/notifier.h"
#include "coordinator/notify/notify_file.h"
#include "coordinator/rpc/client_service.h"
#include "coordinator/rpc/guarded_client.h"
#include "coordinator/rpc/request_checks.h"
#include "coordinator/rpc/server.h"
#include "coordinator/rpc/worker_gateway.h"
#include "coordinator/store/blobs.h"
#include "coordinator/store/records.h"
#include "coordinator/watch/project_watcher.h"
#include "coordinator/watch/repository_preparer.h"
#include "coordinator/web/http_server.h"
#include "coordinator/web/routes.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;

// Whether only this machine can reach the coordinator.
bool OnlyLoopback(const std::vector<std::string>& listen) {
  return std::ranges::all_of(listen, [](const auto& address) { return IsLoopback(address); });
}

// What is beyond this machine is TLS, unless somebody insists.
std::vector<Listener> ListenersOf(const ServiceOptions& options) {
  std::vector<Listener> listeners;
  for (const std::string& address : options.listen) {
    listeners.push_back({address, !IsLoopback(address) && !options.listen_anywhere});
  }
  return listeners;
}

bool HttpIsTls(const ServiceOptions& options) {
  return !options.http.empty() && !IsLoopback(options.http) && !options.listen_anywhere;
}

// Beyond this machine anybody could announce pushes, unless somebody insists on that.
absl::Status CheckHttp(const ServiceOptions& options) {
  if (options.http.empty()) return absl::OkStatus();
  if (auto status = CheckHttpAddress(options.http); !status.ok()) return status;
  if (IsLoopback(options.http) || options.listen_anywhere || !options.hooks_file.empty()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--http: ", options.http,
                   " is beyond this machine, where nobody is believed without a secret; name them "
                   "with --hooks FILE (docs/hooks.md)"));
}

int ThreadsPerWorker(const ServiceOptions& options, int workers) {
  if (options.threads_per_worker > 0) return options.threads_per_worker;
  const int cores = std::max(1u, std::thread::hardware_concurrency());
  return std::max(1, cores / std::max(1, workers));
}

bool IsOnPath(const std::string& program) {
  const char* path = std::getenv("PATH");
  for (const absl::string_view folder : absl::StrSplit(path != nullptr ? path : "", ':')) {
    if (access(absl::StrCat(folder, "/", program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

absl::Status CheckOptions(const ServiceOptions& options) {
  if (options.listen.empty()) {
    return absl::InvalidArgumentError("--listen: found none, expected host:port");
  }
  if (options.workers != 0 && access(options.worker_binary.c_str(), X_OK) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--worker-binary: '", options.worker_binary,
                     "' is no program that can be run; name it, or ask for --workers 0"));
  }
  if (options.allow_programs && !options.contained && options.workers != 0 && !IsOnPath("bwrap")) {
    return absl::InvalidArgumentError(
        "--allow-programs: programs run in bubblewrap, which is not here; install the package "
        "bubblewrap");
  }
  if (options.program_network && !options.require_token) {
    return absl::InvalidArgumentError(
        "--program-network: a program with the network reaches this coordinator's own addresses, "
        "where nobody is asked who it is; expected --require-token beside it");
  }
  for (const std::string& root : options.data_roots) {
    if (!fs::path(root).is_absolute() || !fs::is_directory(root)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--data-root: found '", root, "', expected the absolute path of a folder"));
    }
  }
  return CheckHttp(options);
}

class RunningService final : public Service {
 public:
  RunningService(ServiceOptions options, std::function<void(absl::Status)> on_end)
      : options_(std::move(options)), effects_(std::move(on_end)) {}

  ~RunningService() override {
    http_.reset();
    if (client_) client_->Stop();
    if (preparer_) preparer_->Cancel();
    if (gateway_) gateway_->CloseSessions(absl::UnavailableError("the coordinator is stopping"));
    if (server_) {
      server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(2));
      server_->Wait();
    }
    if (loop_) loop_->Stop();
    effects_.Finish();
  }

  absl::Status Open() {
    if (auto status = CheckOptions(options_); !status.ok()) return status;
    FindGpus();
    threads_per_worker_ = ThreadsPerWorker(options_, workers_);
    if (auto status = OpenPools(); !status.ok()) return status;
    if (auto status = OpenHooks(); !status.ok()) return status;
    if (auto status = ReadNotifyFile(); !status.ok()) return status;
    if (auto status = OpenStore(); !status.ok()) return status;
    if (auto status = OpenLoop(); !status.ok()) return status;
    if (auto status = OpenAccess(); !status.ok()) return status;
    if (auto status = OpenLaunchers(); !status.ok()) return status;
    OpenWatcher();
    if (auto status = OpenHttp(); !status.ok()) return status;
    OpenServices();
    auto running =
        StartServer(ListenersOf(options_), {access_->server_pair(), access_->client_ca_pem()},
                    {guarded_client_.get(), gateway_.get()});
    if (!running.ok()) return running.status();
    server_ = std::move(running->server);
    listeners_ = std::move(running->listeners);
    const auto& launchers = launchers_->by_pool();
    launchers.at(kProcessPool)->SetCoordinator(ForThisMachine(listeners_).address);
    for (const PoolConfig& pool : pools_) {
      launchers.at(pool.name)->SetCoordinator(ForPool(pool, listeners_)->address);
    }
    loop_->Start();
    return absl::OkStatus();
  }

  void RequestShutdown() override { loop_->Post(core::ShutdownRequested{}); }
  const std::string& address() const override { return listeners_.front().address; }
  std::string addresses() const override {
    return absl::StrJoin(listeners_, " and ", [](std::string* out, const Listener& listener) {
      absl::StrAppend(out, listener.address, listener.tls ? " (TLS)" : "");
    });
  }
  const std::string& http_address() const override { return http_address_; }
  std::string admin_folder() const override { return access_->admin_folder(); }
  std::string worker_folder() const override { return access_->worker_folder(); }
  int workers() const override { return workers_; }
  int gpus() const override { return std::min(workers_, static_cast<int>(gpus_.size())); }
  int threads_per_worker() const override { return threads_per_worker_; }

 private:
  // Asked once: who adds a GPU starts the coordinator again.
  void FindGpus() {
    if (options_.workers == 0) return;
    constexpr int64_t kTimeoutMs = 60'000;  // a driver that was asleep takes seconds for each GPU
    auto gpus = AskForGpus(fs::absolute(options_.worker_binary).string(),
                           WorkerEnvironment(environ), kTimeoutMs);
    if (gpus.ok()) {
      gpus_ = *std::move(gpus);
    } else {
      spdlog::warn("workers of this machine compute on the CPU: {}",
                   std::string(gpus.status().message()));
    }
    for (const v1::Gpu& gpu : gpus_) {
      spdlog::info("GPU for a worker of this machine: {} ({}, {} MiB)", CleanLine(gpu.name()),
                   CleanLine(gpu.uuid()), gpu.memory_bytes() >> 20);
    }
    workers_ = options_.workers;
    // One beside those with a GPU, for what keeps off GPUs or fits on none.
    if (workers_ < 0) workers_ = static_cast<int>(gpus_.size()) + 1;
  }

  absl::Status OpenPools() {
    if (options_.pools_file.empty()) return absl::OkStatus();
    auto pools = ReadPools(options_.pools_file);
    if (!pools.ok()) return pools.status();
    pools_ = *std::move(pools);
    for (const PoolConfig& pool : pools_) {
      auto dialled = ForPool(pool, ListenersOf(options_));
      if (!dialled.ok()) return dialled.status();
    }
    return absl::OkStatus();
  }

  absl::Status OpenHooks() {
    if (options_.hooks_file.empty()) return absl::OkStatus();
    auto hooks = ReadHooks(options_.hooks_file);
    if (!hooks.ok()) return hooks.status();
    hook_list_ = *std::move(hooks);
    return absl::OkStatus();
  }

  absl::Status ReadNotifyFile() {
    if (options_.notify_file.empty()) return absl::OkStatus();
    auto notify = ReadNotify(options_.notify_file);
    if (!notify.ok()) return notify.status();
    notify_ = *std::move(notify);
    return absl::OkStatus();
  }

  absl::Status OpenStore() {
    auto records = Records::Open(options_.state_dir);
    if (!records.ok()) return records.status();
    records_ = *std::move(records);
    auto blobs = Blobs::Open(fs::path(options_.state_dir) / "blobs");
    if (!blobs.ok()) return blobs.status();
    blobs_ = *std::move(blobs);
    return absl::OkStatus();
  }

  absl::Status OpenLoop() {
    Loop::Options loop_options;
    loop_options.settings = options_.settings;
    if (workers_ > 0) {
      core::Abilities can;
      if (options_.allow_programs) {
        can.runtimes.insert(ProgramRuntimes().begin(), ProgramRuntimes().end());
      }
      loop_options.settings.pools[kProcessPool] = {
          .kind = kProcessPool, .hosts = {{"", ProcessSlots(workers_, gpus_, can)}}};
    }
    for (const PoolConfig& pool : pools_) {
      loop_options.settings.pools[pool.name] = ToSettings(pool);
    }
    auto loop = Loop::Open(std::move(loop_options), records_.get(), &effects_);
    if (!loop.ok()) return loop.status();
    loop_ = *std::move(loop);
    for (const Records::SetAside& record : loop_->set_aside()) {
      spdlog::error("set aside{}: {}",
                    record.job ? absl::StrCat(" job ", record.job.value) : std::string(),
                    record.cause);
    }
    return absl::OkStatus();
  }

  absl::Status OpenAccess() {
    const std::vector<Listener> listeners = ListenersOf(options_);
    AccessOptions access;
    access.folder = fs::path(options_.state_dir) / "access";
    access.tls = std::ranges::any_of(listeners, &Listener::tls);
    access.require_token = options_.require_token;
    access.require_client_certs = options_.require_client_certs;
    access.tls_cert = options_.tls_cert;
    access.tls_key = options_.tls_key;
    access.tls_ca = options_.tls_ca;
    access.tls_client_ca = options_.tls_client_ca;
    access.names = options_.tls_names;
    access.http_tls = HttpIsTls(options_);
    const auto add_host = [&](const std::string& address) {
      const std::string host = HostOf(address);
      if (host != "0.0.0.0" && host != "::") access.names.push_back(host);
    };
    for (const Listener& listener : listeners) {
      if (listener.tls) add_host(listener.address);
    }
    if (access.http_tls) add_host(options_.http);
    access.launch_lives = [this](int64_t launch) {
      return loop_->Read([&](const core::State& state) {
        const auto found = state.launches.find(core::LaunchId{launch});
        return found != state.launches.end() && found->second.state != core::LaunchState::kOver;
      });
    };
    auto opened = Access::Open(std::move(access));
    if (!opened.ok()) return opened.status();
    access_ = *std::move(opened);
    return CheckLocalDoor(ForThisMachine(listeners));
  }

  // A worker of this machine that dials a TLS listener has to find its address in the certificate.
  absl::Status CheckLocalDoor(const Dialled& listener) const {
    const std::string host = HostOf(listener.address);
    if (workers_ == 0 || !listener.tls || IsFor(access_->server_pair().cert_pem, host)) {
      return absl::OkStatus();
    }
    return absl::InvalidArgumentError(
        absl::StrCat("--tls-cert: is not for ", host,
                     ", which workers of this machine dial; add "
                     "--listen 127.0.0.1:PORT for them, or ask for --workers 0"));
  }

  absl::Status OpenLaunchers() {
    const fs::path state_dir = options_.state_dir;
    LaunchersOptions launchers;
    launchers.process.worker_binary = options_.worker_binary;
    launchers.process.arguments = {"--threads", std::to_string(threads_per_worker_)};
    for (const v1::Gpu& gpu : gpus_) launchers.process.gpus.push_back(gpu.uuid());
    // What the coordinator itself may fetch from, its own workers may too.
    if (OnlyLoopback(options_.listen)) launchers.process.arguments.push_back("--private-urls");
    if (options_.allow_programs) {
      launchers.process.arguments.insert(
          launchers.process.arguments.end(),
          {"--programs", options_.contained ? "container" : "sandbox"});
      if (options_.program_network) launchers.process.arguments.push_back("--program-network");
      for (const std::string& path : options_.program_paths) {
        launchers.process.arguments.insert(launchers.process.arguments.end(),
                                           {"--program-path", fs::absolute(path)});
      }
    }
    launchers.folder = launchers.process.folder = state_dir / "workers";
    launchers.process.issue_access = access_->Issuer(ForThisMachine(ListenersOf(options_)).tls);
    launchers.pools = pools_;
    launchers.coordinator_id = access_->coordinator_id();
    launchers.issuer_of = [this](const PoolConfig& pool) {
      return access_->Issuer(ForPool(pool, ListenersOf(options_))->tls);
    };
    auto opened =
        Launchers::Open(std::move(launchers), [this](auto what) { loop_->Post(std::move(what)); });
    if (!opened.ok()) return opened.status();
    launchers_ = *std::move(opened);
    return absl::OkStatus();
  }

  // A path may be named if some worker has it; it is read here, to check it.
  std::vector<std::string> DataRoots() const {
    std::set<std::string> roots(options_.data_roots.begin(), options_.data_roots.end());
    for (const PoolConfig& pool : pools_) {
      roots.insert(pool.data_roots.begin(), pool.data_roots.end());
    }
    return {roots.begin(), roots.end()};
  }

  void OpenWatcher() {
    preparer_ = MakeRepositoryPreparer(
        {(fs::path(options_.state_dir) / "repositories").string(), DataRoots(),
         options_.allow_file_urls, OnlyLoopback(options_.listen)},
        blobs_.get());
    WatcherOptions watching;
    watching.poll_local_ms = options_.poll_local_ms;
    watching.poll_remote_ms = options_.poll_remote_ms;
    watcher_ = std::make_unique<ProjectWatcher>(watching, loop_.get(), preparer_.get());
  }

  std::vector<WatchedProject> WatchedProjects() const {
    return loop_->Read([](const core::State& state) {
      std::vector<WatchedProject> watched;
      for (const auto& [id, project] : state.projects) {
        if (!project.removed) watched.push_back({id, project.name, project.url, project.branch});
      }
      return watched;
    });
  }

  absl::Status OpenHttp() {
    if (options_.http.empty()) return absl::OkStatus();
    hooks_ = std::make_unique<Hooks>(
        hook_list_, HookTargets{[this] { return WatchedProjects(); },
                                [this](const auto& projects, const std::string& by) {
                                  watcher_->Poke(projects, by);
                                }});
    HttpOptions http{.address = options_.http};
    if (HttpIsTls(options_)) http.tls = access_->server_pair();
    auto server = HttpServer::Start(
        std::move(http), MakeRoutes({hooks_.get(), [this] { return loop_->trouble(); }}));
    if (!server.ok()) return server.status();
    http_ = *std::move(server);
    http_address_ = absl::StrCat(HttpIsTls(options_) ? "https://" : "http://", http_->address());
    return absl::OkStatus();
  }

  void OpenServices() {
    GatewayOptions gateway;
    gateway.lease_ms = options_.settings.lease_ms;
    gateway_ = std::make_unique<WorkerGateway>(gateway, loop_.get(), blobs_.get(), access_.get());
    ClientOptions client;
    client.version = options_.version;
    client.state_dir = fs::absolute(options_.state_dir);
    client.data_roots = DataRoots();
    client.http_address = http_address_;
    client.started_wall_ms = Clock::System().WallMs();
    client_ = std::make_unique<ClientService>(
        client, ClientParts{loop_.get(), records_.get(), blobs_.get(), launchers_->by_pool(),
                            watcher_.get(), preparer_.get(), access_.get()});
    guarded_client_ = std::make_unique<GuardedClient>(access_.get(), client_.get());
    if (notify_) {
      notifier_ = std::make_unique<Notifier>(
          Notifier::Options{*std::exchange(notify_, std::nullopt), access_->coordinator_id()},
          loop_.get());
    }
    effects_.Connect({loop_.get(), gateway_.get(), watcher_.get(), blobs_.get(), records_.get(),
                      launchers_->by_pool(), notifier_.get()});
  }

  const ServiceOptions options_;
  std::vector<v1::Gpu> gpus_;  // of this machine
  int workers_ = 0;            // of the process pool
  int threads_per_worker_ = 1;
  std::vector<PoolConfig> pools_;       // of the pools file
  std::vector<Hook> hook_list_;         // of the hooks file
  std::optional<NotifyConfig> notify_;  // until the notifier has it
  std::string http_address_;
  std::vector<Listener> listeners_;

  // In the order in which they are built.
  std::unique_ptr<Records> records_;
  std::unique_ptr<Blobs> blobs_;
  Effects effects_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<Access> access_;
  std::unique_ptr<Launchers> launchers_;
  std::unique_ptr<SourcePreparer> preparer_;
  std::unique_ptr<ProjectWatcher> watcher_;
  std::unique_ptr<Hooks> hooks_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<WorkerGateway> gateway_;
  std::unique_ptr<ClientService> client_;
  std::unique_ptr<GuardedClient> guarded_client_;
  std::unique_ptr<Notifier> notifier_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Service>> Service::Start(ServiceOptions options,
                                                        std::function<void(absl::Status)> on_end) {
  auto service = std::make_unique<RunningService>(std::move(options), std::move(on_end));
  if (auto status = service->Open(); !status.ok()) return status;
  return service;
}

}  // namespace trainyard::coordinator
