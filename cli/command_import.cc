// `import`: a Keras model becomes a native spec and its weights, in a job of its own.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/command.h"
#include "cli/text.h"

namespace trainyard::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 5> kEndings = {".keras", ".h5", ".hdf5", ".json", ".py"};
constexpr const char* kSpecFile = "trainyard.yaml";
constexpr const char* kTranslationFile = "translation.txt";

struct Options {
  std::string file;
  std::string folder;
  bool again = false;
  FollowJobOptions follow;
};

// What goes up: of a program the folder that it lies in, for it may import its neighbours.
absl::StatusOr<SubmitOptions> WhatToSubmit(const Options& options) {
  const fs::path path = fs::path(options.file).lexically_normal();
  std::error_code error;
  if (std::none_of(kEndings.begin(), kEndings.end(),
                   [&](const char* ending) { return path.extension() == ending; })) {
    return absl::InvalidArgumentError(
        fmt::format("{}: what is it? expected a name that ends in .keras, .h5, .hdf5, .json or .py",
                    CleanLine(options.file, 200)));
  }
  if (!fs::is_regular_file(path, error)) {
    return absl::InvalidArgumentError(
        fmt::format("{}: expected a readable file", CleanLine(options.file, 200)));
  }
  SubmitOptions what;
  what.source = fs::absolute(path).parent_path().string();
  what.import_path = path.filename().string();
  what.import_alone = path.extension() != ".py";
  what.again = options.again;
  return what;
}

// Before anything is done: what is there is somebody's work.
absl::Status CheckFolder(const std::string& folder) {
  std::error_code error;
  if (fs::exists(fs::path(folder) / kSpecFile, error)) {
    return absl::InvalidArgumentError(fmt::format(
        "-o {}: there is a {} already; name another folder", CleanLine(folder, 200), kSpecFile));
  }
  fs::create_directories(folder, error);
  if (!error) return absl::OkStatus();
  return absl::InvalidArgumentError(
      fmt::format("-o {}: cannot be made: {}", CleanLine(folder, 200), error.message()));
}

std::string Translation(const std::string& folder) {
  std::ifstream in(fs::path(folder) / kTranslationFile);
  std::ostringstream text;
  text << in.rdbuf();
  return CleanLines(text.str(), 1 << 20);
}

absl::StatusOr<int> Import(Context& context, Options options) {
  if (absl::Status status = CheckFollowOptions(options.follow); !status.ok()) return status;
  const auto what = WhatToSubmit(options);
  if (!what.ok()) return what.status();
  if (options.folder.empty()) options.folder = fs::path(what->import_path).stem().string();
  if (absl::Status status = CheckFolder(options.folder); !status.ok()) return status;
  const auto response = SubmitSource(context, *what);
  if (!response.ok()) return response.status();
  TellSubmitted(context, *response, false, false);
  const auto code = WaitForJob(context, response->job(), options.follow);
  if (!code.ok() || *code != kDone) return code;
  const auto model = DownloadModelFiles(context, response->job(), options.folder);
  if (!model.ok()) return model.status();
  if (context.json()) return kDone;
  context.out() << "\n"
                << Translation(options.folder) << "\n"
                << fmt::format("The logits are Keras' own (relative L2 distance {:.2g}).\n",
                               model->val_loss());
  for (const v1::ModelFile& file : model->files()) {
    context.out() << fmt::format("{}  {}\n",
                                 CleanLine((fs::path(options.folder) / file.name()).string()),
                                 FormatBytes(file.bytes()));
  }
  context.out() << fmt::format(
      "Say in {} where the data lie, then train it with `trainyard submit {}`.\n", kSpecFile,
      CleanLine(options.folder));
  return kDone;
}

}  // namespace

void AddImport(CLI::App& app, Context& context) {
  CLI::App* command = AddCommand(
      app, "import", "Turn a Keras CNN into a native spec and its weights",
      "  trainyard import model.keras                what model.save() wrote, into ./model\n"
      "  trainyard import model.json -o shoes        the network alone\n"
      "  trainyard import train.py                   the model that the program fits\n"
      "\nRuns where Keras is, as a job: a pool with the runtime program-keras is needed. The "
      "native\n"
      "network gives Keras' own logits, or the job fails and says which layer it is about.\n"
      "Exit codes: 0 done, 2 bad input, 4 it cannot be translated, 7 timeout.");
  auto options = std::make_shared<Options>();
  command
      ->add_option("FILE", options->file,
                   "A model: .keras, .h5 or .json; or a program, .py, that builds one")
      ->required()
      ->type_name("");
  command
      ->add_option(
          "-o", options->folder,
          "Where trainyard.yaml and weights.safetensors go (default: a folder named as the "
          "file)")
      ->type_name("FOLDER");
  command->add_flag("--again", options->again,
                    "Make a new job even if this file was imported before");
  AddFollowOptions(command, options->follow, true);
  command->callback([&context, options] {
    context.action = [&context, options] { return Import(context, *options); };
  });
}

}  // namespace trainyard::cli
