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
  std::string listen = "127.0.0.1:7700";
  int workers = -1;  // the coordinator's default
  int threads = 0;
  int poll_ms = 0;
  std::vector<std::string> data_roots;
  std::string worker_binary;
  bool allow_file_urls = false;
  bool listen_anywhere = false;
  bool verbose = false;
};

absl::StatusOr<int> Up(const Context& context, Options options) {
  if (const auto address = ParseAddress(options.listen); !address.ok()) {
    return absl::InvalidArgumentError(
        fmt::format("--listen: {} is not an address; expected HOST:PORT such as 127.0.0.1:7700",
                    CleanLine(options.listen)));
  }
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
  std::vector<std::string> arguments = {*coordinator, "--listen", options.listen, "--state-dir",
                                        fs::absolute(options.state_dir).string()};
  const auto add = [&](const char* name, const std::string& value) {
    arguments.push_back(name);
    arguments.push_back(value);
  };
  if (options.workers >= 0) add("--workers", std::to_string(options.workers));
  if (options.threads > 0) add("--threads-per-worker", std::to_string(options.threads));
  for (const std::string& root : options.data_roots)
    add("--data-root", fs::absolute(root).string());
  if (!options.worker_binary.empty())
    add("--worker-binary", fs::absolute(options.worker_binary).string());
  if (options.poll_ms > 0) add("--poll-ms", std::to_string(options.poll_ms));
  if (options.allow_file_urls) arguments.push_back("--allow-file-urls");
  if (options.listen_anywhere) arguments.push_back("--insecure-listen-anywhere");
  if (options.verbose) arguments.push_back("--verbose");

  context.out() << fmt::format(
                       "Trainyard at {}, state in {}.\nCtrl-C stops it and its workers, and keeps "
                       "what they have "
                       "trained. In another terminal: trainyard submit PATH\n",
                       CleanLine(options.listen), CleanLine(options.state_dir))
                << std::flush;
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  execv(coordinator->c_str(), argv.data());
  return absl::InternalError(
      fmt::format("{}: cannot be started: {}", *coordinator, std::strerror(errno)));
}

}  // namespace

void AddUp(CLI::App& app, Context& context) {
  CLI::App* command = AddCommand(
      app, "up", "Start a coordinator and its local workers, for one machine",
      "  trainyard up\n"
      "  trainyard up --workers 2 --threads 4 --data-root /data\n"
      "  trainyard up --state-dir /srv/trainyard --listen 127.0.0.1:7800\n"
      "\nCtrl-C checkpoints and stops the workers; the next `up` with the same state goes on.");
  auto options = std::make_shared<Options>();
  command
      ->add_option("--state-dir", options->state_dir,
                   "Where everything is kept (default ~/.trainyard)")
      ->type_name("DIR");
  command->add_option("--listen", options->listen, "Where to listen (default 127.0.0.1:7700)")
      ->type_name("ADDRESS");
  command->add_option("--workers", options->workers, "How many local workers at most; 0: none")
      ->type_name("N")
      ->check(CLI::Range(0, 256));
  command
      ->add_option("--threads", options->threads,
                   "Threads of each worker (default: what the machine has, shared)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  command
      ->add_option("--data-root", options->data_roots,
                   "A folder that specs may read data from (repeatable)")
      ->type_name("DIR")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command
      ->add_option("--worker-binary", options->worker_binary,
                   "The worker program (default: beside the coordinator)")
      ->type_name("FILE");
  command
      ->add_option("--poll-ms", options->poll_ms,
                   "How often projects are asked for new commits, in milliseconds")
      ->type_name("N")
      ->check(CLI::Range(10, 86'400'000));
  command->add_flag("--allow-file-urls", options->allow_file_urls,
                    "Fetch from file:// URLs and paths even where other machines can ask for it");
  command->add_flag(
      "--insecure-listen-anywhere", options->listen_anywhere,
      "Let --listen name an address that other machines reach; nobody is asked for a password");
  command->add_flag("--verbose", options->verbose, "Log more");
  command->callback([&context, options] {
    context.action = [&context, options] { return Up(context, *options); };
  });
}

}  // namespace trainyard::cli
