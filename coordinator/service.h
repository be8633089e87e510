// The whole coordinator: store, loop, workers, repositories and the gRPC server, built in the one
// order that works and taken down in the reverse one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/core/state.h"

namespace trainyard::coordinator {

struct ServiceOptions {
  std::string version;
  // Loopback ones are plain and ask nobody; the others are TLS and ask for a token.
  std::vector<std::string> listen = {"127.0.0.1:7700"};
  bool listen_anywhere = false;  // beyond loopback, plain, and nobody is asked
  // Of coordinator/access, see there.
  bool require_token = false;
  bool require_client_certs = false;
  std::string tls_cert, tls_key, tls_ca, tls_client_ca;
  std::vector<std::string> tls_names;
  std::string state_dir;
  int workers = -1;            // of the process pool at most; 0: none; -1: one, and one a GPU
  int threads_per_worker = 0;  // 0: the machine's cores, shared out
  std::string worker_binary;   // of the process pool
  std::string pools_file;      // docs/pools.md; empty: the process pool only
  std::string notify_file;     // docs/notifications.md; empty: nobody is told
  std::vector<std::string> data_roots;
  bool allow_file_urls = false;
  std::string http;        // host:port of the HTTP listener; empty: none
  std::string hooks_file;  // docs/hooks.md; empty: on this machine's own addresses all are believed
  bool allow_programs = false;             // the process pool runs programs of users
  bool contained = false;                  // without a sandbox: a container around all this is one
  bool program_network = false;            // those whose spec asks for it get the network
  std::vector<std::string> program_paths;  // that those can read
  int64_t poll_local_ms = 2'000;
  int64_t poll_remote_ms = 30'000;
  core::Settings settings;  // without pools
};

class Service {
 public:
  // `on_end` is called once, from any thread: OK after a shutdown that was requested, else why the
  // coordinator cannot go on. Every error is one for people, with what to do about it.
  static absl::StatusOr<std::unique_ptr<Service>> Start(ServiceOptions options,
                                                        std::function<void(absl::Status)> on_end);
  virtual ~Service() = default;

  // Workers store checkpoints and stop; then `on_end` is called.
  virtual void RequestShutdown() = 0;
  // The first listener's; and all of them for people: "127.0.0.1:7700 and 0.0.0.0:7701 (TLS)".
  virtual const std::string& address() const = 0;
  virtual std::string addresses() const = 0;
  // "http://127.0.0.1:7702"; empty: there is no HTTP listener.
  virtual const std::string& http_address() const = 0;
  // The access folders to hand out, to people and to workers that are started by hand; may be
  // empty.
  virtual std::string admin_folder() const = 0;
  virtual std::string worker_folder() const = 0;
  // Of the process pool: workers at most, how many of them have a GPU each, threads of each.
  virtual int workers() const = 0;
  virtual int gpus() const = 0;
  virtual int threads_per_worker() const = 0;
};

}  // namespace trainyard::coordinator
