// `train`: everything for one job, with a coordinator that lives as long as the command.
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "cli/command.h"
#include "cli/coordinator_process.h"
#include "cli/file.h"
#include "cli/signals.h"
#include "cli/text.h"

namespace trainyard::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  SubmitOptions what;
  std::string folder = "trainyard-out";
  CoordinatorProcess::Options coordinator;
};

std::string ModelFile(const Options& options, const char* format) {
  return (fs::path(options.folder) / fmt::format("best.{}", format)).string();
}

// Whether models can be written, before anything is trained for hours.
absl::Status CheckFolder(const Options& options) {
  std::error_code error;
  fs::create_directories(options.folder, error);
  if (error) {
    return absl::InvalidArgumentError(
        fmt::format("-o {}: cannot be made: {}", CleanLine(options.folder), error.message()));
  }
  if (const auto file = AtomicFile::Create(ModelFile(options, "onnx")); !file.ok()) {
    return absl::InvalidArgumentError(fmt::format("-o: {} (by user {}); name another folder",
                                                  std::string(file.status().message()), geteuid()));
  }
  return absl::OkStatus();
}

absl::Status FetchModels(Context& context, int64_t job, const Options& options) {
  const auto ended = GetJob(context, job);
  if (!ended.ok()) return ended.status();
  if (!ended->has_model()) return absl::OkStatus();
  if (!context.json()) context.out() << "\n";
  const auto fetch = [&](const std::string& path, const std::string& name) {
    const auto model = DownloadModel(context, job, path, name);
    if (!model.ok()) return model.status();
    (context.json() ? context.err() : context.out()) << DescribeModel(*model, path);
    return absl::OkStatus();
  };
  std::vector<std::pair<std::string, std::string>> files;  // where to, and which
  for (const v1::ModelFile& file : ended->model().files()) {
    const fs::path name = fs::path(file.name()).lexically_normal();
    if (name.is_absolute() || name.empty() || *name.begin() == "..") continue;
    const fs::path path = fs::path(options.folder) / name;
    std::error_code error;  // told where the file is made
    fs::create_directories(path.parent_path(), error);
    files.emplace_back(path.string(), file.name());
  }
  if (!ended->spec().has_program()) {
    files = {{ModelFile(options, "onnx"), ""}, {ModelFile(options, "safetensors"), ""}};
  }
  for (const auto& [path, name] : files) {
    if (absl::Status status = fetch(path, name); !status.ok()) return status;
  }
  return absl::OkStatus();
}

// The job from its beginning to its models; the exit code.
absl::StatusOr<int> Run(Context& context, const Options& options) {
  const auto response = SubmitSource(context, options.what);
  if (!response.ok()) return response.status();
  TellSubmitted(context, *response, true, true);
  FollowJobOptions follow;
  follow.reconnect = "2s";  // who does not answer at once has died, and nobody starts it again
  follow.coordinator_stays = false;
  const auto code = WatchJob(context, response->job(), follow);
  if (!code.ok() || *code == kInterrupted || *code == kTerminated) return code;
  if (absl::Status status = FetchModels(context, response->job(), options); !status.ok())
    return status;
  return code;
}

absl::StatusOr<int> Train(Context& context, const Options& options) {
  if (absl::Status status = CheckFolder(options); !status.ok()) return status;
  const SignalWatch signals;
  const auto coordinator = CoordinatorProcess::Start(options.coordinator);
  absl::StatusOr<int> code = kUnexpected;
  if (coordinator.ok()) {
    context.client = std::make_unique<Client>((*coordinator)->address());
    code = Run(context, options);
    // Whatever went wrong, its end explains it better.
    if (absl::Status stopped = (*coordinator)->Stop(); !stopped.ok()) return stopped;
  } else {
    code = coordinator.status();
  }
  if (signals.caught() == 0) return code;
  context.err() << (options.coordinator.state_dir.empty()
                        ? std::string(
                              "trainyard: stopped, nothing is kept; with --state-dir DIR the "
                              "same command goes on where it was stopped\n")
                        : fmt::format("trainyard: stopped; the same command goes on from what is "
                                      "in {}\n",
                                      CleanLine(options.coordinator.state_dir)));
  return signals.caught() == SIGINT ? kInterrupted : kTerminated;
}

}  // namespace

void AddTrain(CLI::App& app, Context& context) {
  CLI::App* command = AddCommand(
      app, "train", "Train a repository here and now, and get its models: all in one command",
      "  trainyard train .                                     models come to ./trainyard-out\n"
      "  trainyard train . -o models --target 0.92 --budget trials=8,time=2h\n"
      "  trainyard train https://host/team/cnn.git@main --state-dir state\n"
      "\nStarts a coordinator with workers of its own, and stops it at the end. After Ctrl-C or\n"
      "SIGTERM the same command with the same --state-dir goes on from the last checkpoint.\n"
      "Exit codes: 0 target met, 3 below target, 4 failed, 130 and 143 stopped by a signal.");
  auto options = std::make_shared<Options>();
  AddSubmitOptions(command, options->what);
  command
      ->add_option("-o", options->folder,
                   "Where best.onnx and best.safetensors, or a program's files, go (default "
                   "./trainyard-out; environment: "
                   "TRAINYARD_OUT)")
      ->type_name("DIR");
  command
      ->add_option("--threads", options->coordinator.threads,
                   "Threads of each worker (default: one per core, shared among them)")
      ->type_name("N")
      ->check(CLI::Range(1, 1024));
  command
      ->add_option("--data-root", options->coordinator.data_roots,
                   "A folder that the spec may read data from (repeatable)")
      ->type_name("DIR")
      ->expected(1)
      ->allow_extra_args(false)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command
      ->add_option("--state-dir", options->coordinator.state_dir,
                   "Keep checkpoints and records here, to go on after a stop")
      ->type_name("DIR");
  command->add_flag("--allow-programs", options->coordinator.allow_programs,
                    "Let the worker run a program of the repository's, in a sandbox (bubblewrap)");
  AddProgramPath(command, options->coordinator.program_paths);
  if (const char* folder = std::getenv("TRAINYARD_OUT"); folder != nullptr && *folder != '\0')
    options->folder = folder;
  command->callback([&context, options] {
    context.action = [&context, options] { return Train(context, *options); };
  });
}

}  // namespace trainyard::cli
