// `up`: a coordinator with its local workers, in place of this process.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "cli/command.h"
#include "cli/coordinator_process.h"
#include "cli/parse.h"
#include "cli/text.h"

namespace trainyard::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string state_dir;
  std::vector<std::string> listen;  // none: the coordinator's default
  int workers = -1;                 // the coordinator's default
  int threads = 0;
  int poll_ms = 0, poll_remote_ms = 0;
  std::vector<std::string> data_roots;
  std::string worker_binary;
  std::string pools, hooks, http, notify;
  bool allow_programs = false, program_network = false;
  std::vector<std::string> program_paths;
  bool allow_file_urls = false;
  bool listen_anywhere = false;
  bool require_token = false;
  bool require_client_certs = false;
  std::vector<std::string> tls_names;
  std::string tls_cert, tls_key, tls_ca, tls_client_ca;
  bool verbose = false;
};

absl::Status CheckListen(const std::vector<std::string>& listen) {
  for (const std::string& text : listen) {
    if (ParseAddress(text).ok()) continue;
    return absl::InvalidArgumentError(
        fmt::format("--listen: {} is not an address; expected HOST:PORT such as 127.0.0.1:7700",
                    CleanLine(text)));
  }
  return absl::OkStatus();
}

// The coordinator's flags for ours.
std::vector<std::string> Arguments(const Options& options) {
  std::vector<std::string> arguments;
  const auto add = [&](const char* name, const std::string& value) {
    arguments.push_back(name);
    arguments.push_back(value);
  };
  const auto add_file = [&](const char* name, const std::string& path) {
    if (!path.empty()) add(name, fs::absolute(path).string());
  };
  for (const std::string& address : options.listen) add("--listen", address);
  add_file("--state-dir", options.state_dir);
  if (options.workers >= 0) add("--workers", std::to_string(options.workers));
  if (options.threads > 0) add("--threads-per-worker", std::to_string(options.threads));
  for (const std::string& root : options.data_roots) add_file("--data-root", root);
  for (const std::string& path : options.program_paths) add_file("--program-path", path);
  add_file("--worker-binary", options.worker_binary);
  add_file("--pools", options.pools);
  add_file("--hooks", options.hooks);
  if (!options.http.empty()) add("--http", options.http);
  add_file("--notify", options.notify);
  if (options.poll_ms > 0) add("--poll-ms", std::to_string(options.poll_ms));
  if (options.poll_remote_ms > 0) add("--poll-remote-ms", std::to_string(options.poll_remote_ms));
  for (const std::string& name : options.tls_names) add("--tls-name", name);
  add_file("--tls-cert", options.tls_cert);
  add_file("--tls-key", options.tls_key);
  add_file("--tls-ca", options.tls_ca);
  add_file("--tls-client-ca", options.tls_client_ca);
  for (const auto& [flag, set] : {std::pair("--allow-programs", options.allow_programs),
                                  {"--program-network", options.program_network},
                                  {"--allow-file-urls", options.allow_file_urls},
                                  {"--insecure-listen-anywhere", options.listen_anywhere},
                                  {"--require-token", options.require_token},
                                  {"--require-client-certs", options.require_client_certs},
                                  {"--verbose", options.verbose}}) {
    if (set) arguments.push_back(flag);
  }
  return arguments;
}

absl::StatusOr<int> Up(const Context& context, Options options) {
  if (options.listen.empty()) options.listen.push_back("127.0.0.1:7700");
  if (auto status = CheckListen(options.listen); !status.ok()) return status;
  if (options.state_dir.empty()) {
    const char* home = std::getenv("HOME");
    if (home == nullptr || *home == '\0') {
      return absl::InvalidArgumentError(
          "--state-dir: there is no HOME to put .trainyard into; name a folder");
    }
    options.state_dir = (fs::path(home) / ".trainyard").string();
  }
  const auto coordinator = FindCoordinator();
  if (!coordinator.ok()) return coordinator.status();
  std::vector<std::string> arguments = Arguments(options);
  arguments.insert(arguments.begin(), *coordinator);

  context.out() << fmt::format(
                       "Trainyard at {}, state in {}.\nCtrl-C stops it and its workers, and keeps "
                       "what they have "
                       "trained. In another terminal: trainyard submit PATH\n",
                       CleanLine(fmt::format("{}", fmt::join(options.listen, " and "))),
                       CleanLine(options.state_dir))
                << std::flush;
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  execv(coordinator->c_str(), argv.data());
  return absl::InternalError(
      fmt::format("{}: cannot be started: {}", *coordinator, std::strerror(errno)));
}

// Pushes that are announced.
void AddHttp(CLI::App* command, Options& options) {
  command
      ->add_option("--http", options.http,
                   "Where to listen for pushes that are announced over HTTP (default none; with "
                   "--hooks 127.0.0.1:7702)")
      ->type_name("HOST:PORT");
  command
      ->add_option("--hooks", options.hooks,
                   "A file that says whose word is taken for a push (docs/hooks.md)")
      ->type_name("FILE");
}

// Who is let in, and with what.
void AddAccess(CLI::App* command, Options& options) {
  command->add_flag("--require-token", options.require_token,
                    "Ask for a token on this machine's own addresses too");
  command->add_flag("--require-client-certs", options.require_client_certs,
                    "Ask workers that come over TLS for a certificate (mutual TLS)");
  command
      ->add_option("--tls-name", options.tls_names,
                   "Another name or address of this machine, for the certificate that is made "
                   "(repeatable)")
      ->type_name("HOST")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  const auto file = [&](const char* name, std::string& path, const char* description) {
    command->add_option(name, path, description)->type_name("FILE");
  };
  file("--tls-cert", options.tls_cert, "Certificate to show, PEM (default: one is made)");
  file("--tls-key", options.tls_key, "Its private key, PEM");
  file("--tls-ca", options.tls_ca, "What vouches for it, PEM, for access folders");
  file("--tls-client-ca", options.tls_client_ca, "What vouches for workers' certificates, PEM");
}

// How pushes are seen.
void AddPushes(CLI::App* command, Options& options) {
  command
      ->add_option("--poll-ms", options.poll_ms,
                   "How often projects are asked for new commits, in milliseconds")
      ->type_name("N")
      ->check(CLI::Range(10, 86'400'000));
  command
      ->add_option("--poll-remote-ms", options.poll_remote_ms,
                   "The same for repositories on other machines only")
      ->type_name("N")
      ->check(CLI::Range(10, 86'400'000));
  AddHttp(command, options);
}

}  // namespace

void AddProgramPath(CLI::App* command, std::vector<std::string>& paths) {
  command
      ->add_option("--program-path", paths,
                   "A folder that those programs can read, its bin first on their PATH, such as a "
                   "Python venv (repeatable)")
      ->type_name("DIR")
      ->check(CLI::ExistingDirectory)
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

void AddUp(CLI::App& app, Context& context) {
  CLI::App* command = AddCommand(
      app, "up", "Start a coordinator and its local workers, for one machine",
      "  trainyard up\n"
      "  trainyard up --workers 2 --threads 4 --data-root /data\n"
      "  trainyard up --pools pools.yaml --workers 0\n"
      "  trainyard up --state-dir /srv/trainyard --listen 127.0.0.1:7800\n"
      "  trainyard up --listen 127.0.0.1:7700 --listen 0.0.0.0:7701\n"
      "\nCtrl-C checkpoints and stops the workers; the next `up` with the same state goes on.");
  auto options = std::make_shared<Options>();
  command
      ->add_option("--state-dir", options->state_dir,
                   "Where everything is kept (default ~/.trainyard)")
      ->type_name("DIR");
  const auto repeatable = [](CLI::Option* option) {
    option->expected(1)->allow_extra_args(false)->multi_option_policy(
        CLI::MultiOptionPolicy::TakeAll);
  };
  repeatable(command
                 ->add_option("--listen", options->listen,
                              "Where to listen: plain on this machine's own addresses, TLS with "
                              "tokens beyond (default 127.0.0.1:7700; repeatable)")
                 ->type_name("ADDRESS"));
  command
      ->add_option("--workers", options->workers,
                   "How many local workers at most; 0: none [one, and one for each GPU]")
      ->type_name("N")
      ->check(CLI::Range(0, 256));
  command
      ->add_option("--threads", options->threads,
                   "Threads of each worker (default: what the machine has, shared)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  repeatable(command
                 ->add_option("--data-root", options->data_roots,
                              "A folder that specs may read data from (repeatable)")
                 ->type_name("DIR"));
  command
      ->add_option("--worker-binary", options->worker_binary,
                   "The worker program (default: beside the coordinator)")
      ->type_name("FILE");
  command
      ->add_option("--pools", options->pools,
                   "A file that says where else workers may be started: Docker hosts, Slurm "
                   "clusters (docs/pools.md)")
      ->type_name("FILE");
  command
      ->add_option("--notify", options->notify,
                   "A file that says who is told how jobs end: webhooks, mail, commit statuses "
                   "(docs/notifications.md)")
      ->type_name("FILE");
  AddPushes(command, *options);
  command->add_flag("--allow-programs", options->allow_programs,
                    "Let local workers run programs of users, each in a sandbox (bubblewrap)");
  command->add_flag("--program-network", options->program_network,
                    "Give the network to programs whose spec asks for it; takes --require-token");
  AddProgramPath(command, options->program_paths);
  command->add_flag("--allow-file-urls", options->allow_file_urls,
                    "Fetch from file:// URLs and paths even where other machines can ask for it");
  command->add_flag("--insecure-listen-anywhere", options->listen_anywhere,
                    "Listen beyond this machine without TLS, and ask nobody for a token");
  AddAccess(command, *options);
  command->add_flag("--verbose", options->verbose, "Log more");
  command->callback([&context, options] {
    context.action = [&context, options] { return Up(context, *options); };
  });
}

}  // namespace trainyard::cli
