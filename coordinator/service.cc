#include "coordinator/service.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/effects.h"
#include "coordinator/launch/pools_file.h"
#include "coordinator/launch/process.h"
#include "coordinator/loop.h"
#include "coordinator/rpc/client_service.h"
#include "coordinator/rpc/server.h"
#include "coordinator/rpc/worker_gateway.h"
#include "coordinator/store/blobs.h"
#include "coordinator/store/records.h"
#include "coordinator/watch/project_watcher.h"
#include "coordinator/watch/repository_preparer.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr char kProcessPool[] = "process";

// What a worker on this machine dials: of an address that listens everywhere, the loopback one.
std::string WorkerTarget(const std::string& address) {
  const size_t colon = address.rfind(':');
  const std::string host = address.substr(0, colon);
  if (host == "0.0.0.0") return absl::StrCat("127.0.0.1", address.substr(colon));
  if (host == "[::]") return absl::StrCat("[::1]", address.substr(colon));
  return address;
}

int ThreadsPerWorker(const ServiceOptions& options) {
  if (options.threads_per_worker > 0) return options.threads_per_worker;
  const int cores = std::max(1u, std::thread::hardware_concurrency());
  return std::max(1, cores / std::max(1, options.workers));
}

absl::Status CheckOptions(const ServiceOptions& options) {
  if (!IsLoopback(options.listen) && !options.listen_anywhere) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--listen: ", options.listen,
        " can be reached from other machines, and nobody would be asked "
        "for a password yet; listen on 127.0.0.1, or insist with --insecure-listen-anywhere"));
  }
  if (options.workers > 0 && access(options.worker_binary.c_str(), X_OK) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--worker-binary: '", options.worker_binary,
                     "' is no program that can be run; name it, or ask for --workers 0"));
  }
  for (const std::string& root : options.data_roots) {
    if (!fs::path(root).is_absolute() || !fs::is_directory(root)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--data-root: found '", root, "', expected the absolute path of a folder"));
    }
  }
  return absl::OkStatus();
}

class RunningService final : public Service {
 public:
  RunningService(ServiceOptions options, std::function<void(absl::Status)> on_end)
      : options_(std::move(options)), effects_(std::move(on_end)) {}

  ~RunningService() override {
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
    threads_per_worker_ = ThreadsPerWorker(options_);
    if (auto status = CheckOptions(options_); !status.ok()) return status;
    if (auto status = OpenPools(); !status.ok()) return status;
    if (auto status = OpenStore(); !status.ok()) return status;
    if (auto status = OpenLoop(); !status.ok()) return status;
    if (auto status = OpenLauncher(); !status.ok()) return status;
    OpenServices();
    auto running = StartServer(options_.listen, {client_.get(), gateway_.get()});
    if (!running.ok()) return running.status();
    server_ = std::move(running->server);
    address_ = running->address;
    launcher_->SetCoordinator(WorkerTarget(address_));
    loop_->Start();
    return absl::OkStatus();
  }

  void RequestShutdown() override { loop_->Post(core::ShutdownRequested{}); }
  const std::string& address() const override { return address_; }
  int threads_per_worker() const override { return threads_per_worker_; }

 private:
  absl::Status OpenPools() {
    if (options_.pools_file.empty()) return absl::OkStatus();
    auto pools = ReadPools(options_.pools_file);
    if (!pools.ok()) return pools.status();
    pools_ = *std::move(pools);
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
    if (options_.workers > 0) {
      loop_options.settings.pools[kProcessPool] = {
          .kind = kProcessPool,
          .hosts = {{"", std::vector<core::Abilities>(static_cast<size_t>(options_.workers))}}};
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

  absl::Status OpenLauncher() {
    ProcessPoolOptions pool;
    pool.worker_binary = options_.worker_binary;
    pool.arguments = {"--threads", std::to_string(threads_per_worker_)};
    // What the coordinator itself may fetch from, its own workers may too.
    if (IsLoopback(options_.listen)) pool.arguments.push_back("--private-urls");
    pool.folder = fs::path(options_.state_dir) / "workers";
    auto launcher = ProcessLauncher::Open(std::move(pool), {[this](const WorkerExit& exit) {
                                                              spdlog::info("worker {} ended: {}",
                                                                           exit.launch, exit.cause);
                                                              loop_->Post(ToEvent(exit));
                                                            },
                                                            nullptr});
    if (!launcher.ok()) return launcher.status();
    launcher_ = *std::move(launcher);
    return absl::OkStatus();
  }

  void OpenServices() {
    preparer_ = MakeRepositoryPreparer(
        {(fs::path(options_.state_dir) / "repositories").string(), options_.data_roots,
         options_.allow_file_urls, IsLoopback(options_.listen)},
        blobs_.get());
    WatcherOptions watching;
    watching.poll_local_ms = options_.poll_local_ms;
    watching.poll_remote_ms = options_.poll_remote_ms;
    watcher_ = std::make_unique<ProjectWatcher>(watching, loop_.get(), preparer_.get());
    GatewayOptions gateway;
    gateway.lease_ms = options_.settings.lease_ms;
    gateway_ = std::make_unique<WorkerGateway>(gateway, loop_.get(), blobs_.get());
    ClientOptions client;
    client.version = options_.version;
    client.state_dir = fs::absolute(options_.state_dir);
    client.data_roots = options_.data_roots;
    client.started_wall_ms = Clock::System().WallMs();
    client_ = std::make_unique<ClientService>(client, ClientParts{loop_.get(),
                                                                  records_.get(),
                                                                  blobs_.get(),
                                                                  {{kProcessPool, launcher_.get()}},
                                                                  watcher_.get(),
                                                                  preparer_.get()});
    effects_.Connect({loop_.get(),
                      gateway_.get(),
                      watcher_.get(),
                      blobs_.get(),
                      records_.get(),
                      {{kProcessPool, launcher_.get()}}});
  }

  const ServiceOptions options_;
  int threads_per_worker_ = 1;
  std::vector<PoolConfig> pools_;  // of the pools file
  std::string address_;

  // In the order in which they are built.
  std::unique_ptr<Records> records_;
  std::unique_ptr<Blobs> blobs_;
  Effects effects_;
  std::unique_ptr<Loop> loop_;
  std::unique_ptr<ProcessLauncher> launcher_;
  std::unique_ptr<SourcePreparer> preparer_;
  std::unique_ptr<ProjectWatcher> watcher_;
  std::unique_ptr<WorkerGateway> gateway_;
  std::unique_ptr<ClientService> client_;
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
