// `model`, and how `train` fetches one.
#include <fmt/format.h>
#include <openssl/evp.h>

#include <filesystem>

#include "cli/command.h"
#include "cli/file.h"
#include "cli/job_view.h"
#include "cli/parse.h"
#include "cli/text.h"
#include "proto/model_files.h"

namespace trainyard::cli {
namespace {

namespace fs = std::filesystem;

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr);
  }
  void Add(const std::string& data) { EVP_DigestUpdate(context_.get(), data.data(), data.size()); }
  std::string Hex() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    EVP_DigestFinal_ex(context_.get(), digest, &length);
    std::string hex;
    for (unsigned int i = 0; i < length; ++i) hex += fmt::format("{:02x}", digest[i]);
    return hex;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

// Of ONNX, or of all that a program left.
int64_t BytesOf(const v1::Model& model) {
  int64_t bytes = model.onnx_bytes();
  for (const v1::ModelFile& file : model.files()) bytes += file.bytes();
  return bytes;
}

std::string RenderModels(const v1::ListModelsResponse& response, const Context& context) {
  if (response.models().empty())
    return "No models yet. A job publishes its best one when it ends.\n";
  Table table({{"JOB", true},
               {"NAME", false, true},
               {"VALIDATION", true},
               {"TEST", true},
               {"TARGET"},
               {"VALUES", true},
               {"SIZE", true},
               {"PUBLISHED"}});
  for (const v1::Model& model : response.models()) {
    table.Add({std::to_string(model.job()), CleanLine(model.name(), 100),
               FormatMetric(model.val_accuracy()),
               model.test_count() == 0 ? "-" : FormatMetric(model.test_accuracy()),
               model.target_met() ? Cell("met", Colour::kGreen) : Cell("not met", Colour::kYellow),
               FormatCount(model.parameters()), FormatBytes(BytesOf(model)),
               FormatDate(model.published_ms())});
  }
  return table.Render(context.style());
}

absl::StatusOr<std::string> EndingOf(const std::string& file) {
  const std::string name = file.substr(file.rfind('/') + 1);
  const size_t dot = name.rfind('.');
  if (dot != std::string::npos && dot > 0 && dot + 1 < name.size()) return name.substr(dot + 1);
  return absl::InvalidArgumentError(
      fmt::format("-o {}: which file? expected a name that ends as the wanted one does, such as "
                  ".onnx, or in / for a folder with all of them, or --file NAME",
                  CleanLine(file, 200)));
}

absl::StatusOr<int> GetModel(Context& context, int64_t job, const std::string& path,
                             const std::string& name) {
  const bool all = path.ends_with("/") && name.empty();
  const auto model =
      all ? DownloadModelFiles(context, job, path) : DownloadModel(context, job, path, name);
  if (!model.ok()) return model.status();
  Print(context, *model, [&] { return DescribeModel(*model, path); });
  return kDone;
}

}  // namespace

absl::StatusOr<v1::Model> DownloadModel(Context& context, int64_t job, const std::string& path,
                                        const std::string& name) {
  const auto wanted = name.empty() ? EndingOf(path) : name;
  if (!wanted.ok()) return wanted.status();
  auto file = AtomicFile::Create(path);
  if (!file.ok()) return file.status();
  if (absl::Status status = context.client->Connect(); !status.ok()) return status;
  grpc::ClientContext call;
  v1::GetModelRequest request;
  request.set_job(job);
  request.set_format(*wanted);
  const auto reader = context.client->stub().GetModel(&call, request);
  v1::GetModelResponse piece;
  v1::Model model;
  Sha256 hash;
  int64_t bytes = 0;
  absl::Status written;
  while (written.ok() && reader->Read(&piece)) {
    if (piece.has_model()) model = piece.model();
    hash.Add(piece.data());
    bytes += static_cast<int64_t>(piece.data().size());
    written = (*file)->Write(piece.data());
  }
  if (!written.ok()) call.TryCancel();
  const grpc::Status status = reader->Finish();
  if (!written.ok()) return written;
  if (!status.ok()) return context.client->Explain(status);
  const auto file_of_model = ChooseModelFile(model, *wanted);
  if (!file_of_model.ok()) return file_of_model.status();
  const std::string& expected = file_of_model->sha256();
  if (const std::string found = hash.Hex(); found != expected) {
    return absl::DataLossError(
        fmt::format("{}: what came ({}) has SHA-256 {}, expected {}; nothing was written",
                    CleanLine(path), FormatBytes(bytes), found, CleanLine(expected, 100)));
  }
  if (absl::Status done = (*file)->Commit(); !done.ok()) return done;
  return model;
}

absl::StatusOr<v1::Model> DownloadModelFiles(Context& context, int64_t job,
                                             const std::string& folder) {
  const auto shown = GetJob(context, job);
  if (!shown.ok()) return shown.status();
  const v1::Model& model = shown->model();
  std::vector<std::pair<std::string, std::string>> files;  // format, name
  if (!model.onnx_sha256().empty()) files.emplace_back("onnx", "best.onnx");
  if (!model.safetensors_sha256().empty()) files.emplace_back("safetensors", "best.safetensors");
  for (const v1::ModelFile& file : model.files()) files.emplace_back(file.name(), file.name());
  if (files.empty()) {
    return absl::FailedPreconditionError(fmt::format("job {} has published no model", job));
  }
  for (const auto& [format, name] : files) {
    const fs::path path = fs::path(name).lexically_normal();
    if (path.empty() || path.is_absolute() || *path.begin() == "..") {
      return absl::DataLossError(
          fmt::format("job {}: its model has a file \"{}\", which would lie outside of {}", job,
                      CleanLine(name, 200), CleanLine(folder, 200)));
    }
    const fs::path target = fs::path(folder) / path;
    std::error_code error;
    fs::create_directories(target.parent_path(), error);
    if (error) {
      return absl::InvalidArgumentError(
          fmt::format("-o {}: cannot be made: {}", CleanLine(folder, 200), error.message()));
    }
    const auto fetched = DownloadModel(context, job, target.string(), format);
    if (!fetched.ok()) return fetched.status();
  }
  return model;
}

std::string DescribeModel(const v1::Model& model, const std::string& path) {
  std::error_code error;
  int64_t bytes = 0;
  if (path.ends_with("/")) {
    bytes = model.onnx_bytes() + model.safetensors_bytes();
    for (const v1::ModelFile& file : model.files()) bytes += file.bytes();
  } else if (const auto size = fs::file_size(path, error); !error) {
    bytes = static_cast<int64_t>(size);
  }
  return fmt::format(
      "{}  {}, job {}, trial {}, epoch {}: {}, {}\n", CleanLine(path), FormatBytes(bytes),
      model.job(), model.trial(), model.epoch(), ValidationText(model),
      model.test_count() == 0 ? "no test set"
                              : "test accuracy " + FormatMetric(model.test_accuracy()));
}

void AddModel(CLI::App& app, Context& context) {
  CLI::App* model = AddCommand(app, "model", "List published models, and get them",
                               "  trainyard model list\n  trainyard model get 7 -o best.onnx");
  model->require_subcommand(1);
  CLI::App* list = AddCommand(*model, "list", "All published models", "  trainyard model list");
  list->callback([&context] {
    context.action = [&context]() -> absl::StatusOr<int> {
      const auto response =
          context.client->Call(&v1::Trainyard::Stub::ListModels, v1::ListModelsRequest());
      if (!response.ok()) return response.status();
      Print(context, *response, [&] { return RenderModels(*response, context); });
      return kDone;
    };
  });
  struct Options {
    std::string job, file, name;
  };
  auto options = std::make_shared<Options>();
  CLI::App* get =
      AddCommand(*model, "get", "Download the best model of a job",
                 "  trainyard model get 7 -o best.onnx            for other programs\n"
                 "  trainyard model get 7 -o best.safetensors     weights only\n"
                 "  trainyard model get 7 -o best.keras           what a program left\n"
                 "  trainyard model get 7 --file report/curve.png -o curve.png\n"
                 "  trainyard model get 7 -o models/              all of them\n"
                 "\nThe file is checked by its SHA-256, and appears whole or not at all.");
  get->add_option("JOB", options->job, "The job's number")->required()->type_name("");
  get->add_option(
         "-o", options->file,
         "Where to; without --file, what is got is the file with this one's ending: "
         ".onnx or .safetensors, or of a program whatever it left; one that ends in / is a "
         "folder for all of them")
      ->required()
      ->type_name("FILE");
  get->add_option("--file", options->name, "Which file of the model, by its name")
      ->type_name("NAME");
  get->callback([&context, options] {
    context.action = [&context, options]() -> absl::StatusOr<int> {
      const auto job = ParseJob(options->job);
      if (!job.ok()) return job.status();
      return GetModel(context, *job, options->file, options->name);
    };
  });
}

}  // namespace trainyard::cli
