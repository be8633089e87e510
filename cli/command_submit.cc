// `submit`, and what `train` shares with it.
#include <fmt/format.h>

#include <random>
#include <thread>

#include "cli/command.h"
#include "cli/parse.h"
#include "cli/source_tree.h"
#include "cli/text.h"
#include "proto/channel_settings.h"

namespace trainyard::cli {
namespace {

using std::chrono::milliseconds;

constexpr int64_t kMaxUploadBytes = 256 << 20;
// The coordinator may have to fetch a repository first.
constexpr milliseconds kSubmitLimit{600'000};

struct Options {
  SubmitOptions what;
  bool wait = false;
  bool watch = false;
  FollowJobOptions follow;
};

// A name for this request, so that sending it twice makes one job.
std::string NewRequestId() {
  std::random_device random;
  return fmt::format("cli-{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

absl::StatusOr<SourceTree> ReadTree(const Source& source, const std::string& spec_file) {
  auto tree = source.kind == Source::Kind::kFolder ? ReadFolder(source.location)
                                                   : ReadRevision(source.location, source.revision);
  if (!tree.ok()) return tree;
  if (!spec_file.empty()) {
    if (absl::Status status = UseSpec(*tree, spec_file); !status.ok()) return status;
  }
  if (absl::Status status = CheckSize(*tree, kMaxUploadBytes); !status.ok()) {
    return absl::InvalidArgumentError(
        fmt::format("{}: {}", CleanLine(source.location), std::string(status.message())));
  }
  return tree;
}

// Sends the tree; answers its snapshot's hash.
absl::StatusOr<std::string> Upload(Context& context, const SourceTree& tree) {
  if (absl::Status status = context.client->Connect(); !status.ok()) return status;
  grpc::ClientContext call;
  v1::UploadSourceResponse response;
  const auto writer = context.client->stub().UploadSource(&call, &response);
  bool broken = false;
  v1::UploadSourceRequest request;
  const absl::Status packed =
      WriteTar(tree, kBlobChunkBytes, [&](std::string_view piece) -> absl::Status {
        request.set_data(piece.data(), piece.size());
        broken = !writer->Write(request);
        return broken ? absl::AbortedError("the coordinator ended the upload") : absl::OkStatus();
      });
  if (!packed.ok() &&
      !broken) {  // ours to tell; without a proper end the coordinator keeps nothing
    call.TryCancel();
    (void)writer->Finish();
    return packed;
  }
  writer->WritesDone();
  const grpc::Status status = writer->Finish();
  if (!status.ok()) return context.client->Explain(status);
  if (broken) return packed;
  return response.snapshot_sha256();
}

// Uploads the tree, and says in the request what it is.
absl::Status NameTree(Context& context, const SourceTree& tree, const std::string& location,
                      v1::SubmitJobRequest* request) {
  for (const std::string& note : tree.notes) context.err() << "trainyard: " << note << "\n";
  const auto snapshot = Upload(context, tree);
  if (!snapshot.ok()) return snapshot.status();
  request->set_snapshot_sha256(*snapshot);
  request->set_source(location);
  request->set_commit(tree.commit);
  return absl::OkStatus();
}

// Of the folder `options.source` nothing but the file to import.
absl::Status NameImport(Context& context, const SubmitOptions& options,
                        v1::SubmitJobRequest* request) {
  const auto tree = ReadOneFile(options.source, options.import_path);
  if (!tree.ok()) return tree.status();
  if (absl::Status status = CheckSize(*tree, kMaxUploadBytes); !status.ok()) return status;
  return NameTree(context, *tree, options.source, request);
}

// Sends the request again after a cut: its ID makes that harmless.
absl::StatusOr<v1::SubmitJobResponse> Send(Context& context, const v1::SubmitJobRequest& request) {
  if (absl::Status status = context.client->Connect(); !status.ok()) return status;
  constexpr int kTries = 4;
  for (int i = 1;; ++i) {
    auto response = context.client->Call(&v1::Trainyard::Stub::SubmitJob, request, kSubmitLimit);
    if (response.status().code() != absl::StatusCode::kUnavailable || i == kTries) return response;
    std::this_thread::sleep_for(milliseconds(250 << i));
  }
}

absl::StatusOr<v1::SubmitJobRequest> MakeRequest(const SubmitOptions& options) {
  v1::SubmitJobRequest request;
  if (!options.budget.empty()) {
    const auto budget = ParseBudget(options.budget);
    if (!budget.ok()) return budget.status();
    for (const std::string& override : *budget) request.add_overrides(override);
  }
  for (const std::string& override : options.overrides) {
    if (absl::Status status = CheckOverride(override); !status.ok()) return status;
    request.add_overrides(override);
  }
  if (options.target.size() > 200)
    return absl::InvalidArgumentError("--target: longer than 200 characters");
  request.set_target(options.target);
  request.set_import_path(options.import_path);
  request.set_manual(options.manual);
  request.set_again(options.again);
  request.set_request_id(NewRequestId());
  return request;
}

absl::StatusOr<int> Submit(Context& context, const Options& options) {
  if (absl::Status status = CheckFollowOptions(options.follow); !status.ok()) return status;
  const auto response = SubmitSource(context, options.what);
  if (!response.ok()) return response.status();
  const int64_t job = response->job();
  TellSubmitted(context, *response, !options.wait, options.watch);
  if (options.watch) return WatchJob(context, job, options.follow);
  if (options.wait) return WaitForJob(context, job, options.follow);
  if (!context.json()) context.out() << fmt::format("Look on with `trainyard watch {}`.\n", job);
  return kDone;
}

}  // namespace

absl::Status NameSource(Context& context, const std::string& text, const std::string& spec_file,
                        v1::SubmitJobRequest* request) {
  const auto source = ParseSource(text);
  if (!source.ok()) return source.status();
  if (source->kind == Source::Kind::kRemote) {
    if (!spec_file.empty()) {
      return absl::InvalidArgumentError(
          "--file: goes with a folder only; a repository brings its own trainyard.yaml");
    }
    request->set_url(source->location);
    request->set_revision(source->revision);
    return absl::OkStatus();
  }
  const auto tree = ReadTree(*source, spec_file);
  if (!tree.ok()) return tree.status();
  return NameTree(context, *tree, source->location, request);
}

absl::StatusOr<v1::SubmitJobResponse> SubmitSource(Context& context, const SubmitOptions& options) {
  auto request = MakeRequest(options);
  if (!request.ok()) return request.status();
  const absl::Status named =
      options.import_alone ? NameImport(context, options, &*request)
                           : NameSource(context, options.source, options.spec_file, &*request);
  if (!named.ok()) return named;
  return Send(context, *request);
}

void TellSubmitted(Context& context, const v1::SubmitJobResponse& response, bool as_result,
                   bool line) {
  if (context.json() && as_result) {
    context.out() << ForPrograms(context, response, line) << std::flush;
    return;
  }
  const int64_t job = response.job();
  (context.json() ? context.err() : context.out())
      << (response.existed()
              ? fmt::format("job {} is the same request already; --again makes another\n", job)
              : fmt::format("job {}\n", job))
      << std::flush;
}

void AddSubmitOptions(CLI::App* command, SubmitOptions& options) {
  command
      ->add_option("SOURCE", options.source,
                   "PATH, PATH@REV, URL or URL@REV; REV: branch, tag or commit")
      ->required()
      ->type_name("");
  command
      ->add_option("--target", options.target,
                   "When the job is done: 0.92, \"val_accuracy >= 0.92\" or \"val_loss <= 0.3\"")
      ->type_name("BOUND");
  command
      ->add_option("--budget", options.budget,
                   "Limits: trials=8,time=2h,epochs=30, or some of them")
      ->type_name("LIMITS");
  AddSetOption(command, options.overrides);
  command
      ->add_option("-f,--file", options.spec_file,
                   "Use this spec instead of the folder's trainyard.yaml")
      ->type_name("FILE");
}

void AddSubmit(CLI::App& app, Context& context) {
  CLI::App* command = AddCommand(
      app, "submit", "Train a folder, a commit of a local repository, or a repository by its URL",
      "  trainyard submit .                                    this folder as it stands\n"
      "  trainyard submit .@v1.2 --target 0.92 --watch         a tag of it, and look on\n"
      "  trainyard submit https://host/team/cnn.git@main --budget trials=8,time=2h,epochs=30\n"
      "  trainyard submit . --set train.lr=0.05 --set network.layers[0].conv.filters=16\n"
      "  trainyard submit . --wait --timeout 2h --junit report.xml      in a pipeline\n"
      "\nA folder is uploaded without what .gitignore names, at most 256 MiB; data is better named "
      "by path\n"
      "or URL in trainyard.yaml. The same code and spec make the same job, unless --again is "
      "given.");
  auto options = std::make_shared<Options>();
  AddSubmitOptions(command, options->what);
  command->add_flag("--manual", options->what.manual,
                    "Wait after each trial for `trainyard tweak`, `job finish` or `job cancel`");
  command->add_flag("--again", options->what.again, "Make a new job even if the same one exists");
  CLI::Option* wait = command->add_flag("--wait", options->wait,
                                        "Wait until the job has ended, as `trainyard wait`");
  command
      ->add_flag("--watch", options->watch, "Look on until the job has ended, as `trainyard watch`")
      ->excludes(wait);
  AddFollowOptions(command, options->follow, true);
  command->get_option("--timeout")->needs(wait);
  command->get_option("--junit")->needs(wait);
  command->callback([&context, options] {
    context.action = [&context, options] { return Submit(context, *options); };
  });
}

}  // namespace trainyard::cli
