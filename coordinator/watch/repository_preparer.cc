#include "coordinator/watch/repository_preparer.h"

#include <spdlog/spdlog.h>
#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <set>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "coordinator/convert/api.h"
#include "coordinator/core/ranking.h"
#include "coordinator/source/archive.h"
#include "coordinator/source/data_reader.h"
#include "coordinator/source/detect.h"
#include "coordinator/source/git.h"
#include "coordinator/source/job_spec.h"
#include "coordinator/source/spec_parts.h"
#include "coordinator/source/spec_reader.h"
#include "coordinator/watch/data_fetch.h"
#include "coordinator/watch/data_locator.h"
#include "coordinator/watch/import_spec.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr char kSpecFile[] = "trainyard.yaml";

// "/srv/shoes/" -> "shoes", "https://host/team/shoes.git" -> "shoes".
std::string NameOf(const std::string& source) {
  std::string name = source;
  while (name.ends_with('/')) name.pop_back();
  name = name.substr(name.find_last_of("/:") + 1);
  if (name.ends_with(".git")) name.resize(name.size() - 4);
  return name.empty() || name == "." ? "job" : name;
}

// The least validation images that can show the target, if all of them are right.
int64_t ImagesFor(core::Target target) {
  int64_t few = 0;
  int64_t enough = std::max<int64_t>(1, target.images);
  const auto shows = [&](int64_t images) {
    target.images = images;
    return core::Meets(target, 1);
  };
  while (!shows(enough)) few = std::exchange(enough, 2 * enough);
  while (enough - few > 1) {
    const int64_t middle = few + (enough - few) / 2;
    (shows(middle) ? enough : few) = middle;
  }
  return enough;
}

GitOptions GitSettings(const RepositoryOptions& options) {
  GitOptions git;
  git.cache = fs::path(options.folder) / "mirrors";
  // Whoever can ask may read these anyway when nobody but this machine's users can ask.
  git.allow_local = options.allow_file_urls || options.only_this_machine;
  git.allow_private_addresses = options.only_this_machine;
  return git;
}

class RepositoryPreparer final : public SourcePreparer {
 public:
  RepositoryPreparer(RepositoryOptions options, Blobs* blobs)
      : options_(std::move(options)), blobs_(blobs), git_(GitSettings(options_)) {
    // What a coordinator that was killed left half done.
    std::error_code error;
    fs::remove_all(Scratch(), error);
  }

  void Cancel() override { cancelled_ = true; }

  absl::Status CheckUrl(const std::string& url) const override {
    const absl::Status status = ParseGitUrl(url, git_.options()).status();
    // A host that cannot be found now may be found later.
    return absl::IsUnavailable(status) ? absl::OkStatus() : status;
  }

  absl::StatusOr<std::string> Tip(const std::string& url, const std::string& branch) override {
    return git_.Tip(url, branch);
  }

  absl::StatusOr<core::JobRequest> FromRepository(const std::string& url,
                                                  const std::string& revision,
                                                  const SpecWishes& wishes) override {
    const auto fetched = Fetch(url, revision);
    if (!fetched.ok()) return fetched.status();
    auto request = Prepare(fetched->sha256, NameOf(url), wishes);
    if (!request.ok()) return request.status();
    request->commit = fetched->commit;
    request->source = url;
    return request;
  }

  absl::StatusOr<core::JobRequest> FromSnapshot(const std::string& sha256,
                                                const std::string& source,
                                                const SpecWishes& wishes) override {
    return Prepare(sha256, NameOf(source), wishes);
  }

  absl::StatusOr<v1::Detection> Detect(const v1::DetectRequest& request) override {
    std::string sha256 = request.snapshot_sha256();
    if (sha256.empty()) {
      auto fetched = Fetch(request.url(), request.revision());
      if (!fetched.ok()) return fetched.status();
      sha256 = std::move(fetched->sha256);
    }
    const auto archive = blobs_->Path(sha256);
    if (!archive.ok()) return archive.status();
    auto parsed = ReadSpecOf(*archive, "", {});
    if (!parsed.ok()) return parsed.status();
    return LookAtCode(*archive, &parsed->spec.program);
  }

  absl::StatusOr<Accepted> AcceptUpload(const std::string& sha256) override {
    auto archive = blobs_->Path(sha256);
    if (!archive.ok()) return archive.status();
    auto scratch = MakeScratch();
    if (!scratch.ok()) return scratch.status();
    const absl::Cleanup remove = [&] { RemoveScratch(*scratch); };
    auto writer = blobs_->Create();
    if (!writer.ok()) return writer.status();
    const auto info = NormaliseArchive(
        *archive, *scratch, {}, [&](std::string_view bytes) { return (*writer)->Append(bytes); });
    // The upload itself was only a way to the snapshot.
    if (!info.ok() || info->sha256 != sha256) blobs_->Remove(sha256);
    if (!info.ok()) return info.status();
    if (auto committed = (*writer)->Commit(info->sha256); !committed.ok()) {
      return committed.status();
    }
    return Accepted{info->sha256, info->files};
  }

 private:
  fs::path Scratch() const { return fs::path(options_.folder) / "scratch"; }

  absl::StatusOr<fs::path> MakeScratch() const {
    std::error_code error;
    fs::create_directories(Scratch(), error);
    std::string name = Scratch() / "XXXXXX";
    if (error || mkdtemp(name.data()) == nullptr) {
      return absl::UnavailableError(absl::StrCat("cannot make a folder in ", Scratch().string()));
    }
    return fs::path(name);
  }

  static void RemoveScratch(const fs::path& folder) {
    std::error_code error;
    fs::remove_all(folder, error);
  }

  struct Fetched {
    std::string commit;
    std::string sha256;  // of the snapshot
  };

  absl::StatusOr<Fetched> Fetch(const std::string& url, const std::string& revision) {
    const Cancelled cancelled = [this] { return cancelled_.load(); };
    const auto commit = git_.Resolve(url, revision, cancelled);
    if (!commit.ok()) return commit.status();
    auto writer = blobs_->Create();
    if (!writer.ok()) return writer.status();
    const auto snapshot = git_.Snapshot(
        url, *commit, [&](std::string_view bytes) { return (*writer)->Append(bytes); }, cancelled);
    if (!snapshot.ok()) return snapshot.status();
    const auto stored = (*writer)->Commit(snapshot->sha256);
    if (!stored.ok()) return stored.status();
    return Fetched{*commit, snapshot->sha256};
  }

  // A source without a spec is a program, of which all is to be found out.
  static absl::StatusOr<ParsedSpec> ReadSpecOf(const fs::path& archive, const std::string& name,
                                               const SpecWishes& wishes) {
    auto text = ReadArchiveFile(archive, kSpecFile, kSpecBytesMax);
    if (absl::IsNotFound(text.status())) text = "program: {}";
    if (!text.ok()) return text.status();
    SpecText spec{*std::move(text), kSpecFile, wishes.overrides, name};
    if (!wishes.target.empty()) spec.overrides.push_back(absl::StrCat("target=", wishes.target));
    return ReadSpec(spec);
  }

  absl::StatusOr<core::JobRequest> Prepare(const std::string& sha256, const std::string& name,
                                           const SpecWishes& wishes) {
    auto archive = blobs_->Path(sha256);
    if (!archive.ok()) return archive.status();
    if (!wishes.import_path.empty()) return PrepareImport(sha256, *archive, wishes);
    auto parsed = ReadSpecOf(*archive, name, wishes);
    if (!parsed.ok()) return parsed.status();
    const absl::Status looked = parsed->spec.IsProgram() ? LookAtProgram(*archive, &*parsed)
                                                         : LookAtData(*archive, &*parsed);
    if (!looked.ok()) return looked;
    core::JobRequest request = ToRequest(ToProto(parsed->spec));
    if (auto status = CheckJob(*parsed, request.target, wishes); !status.ok()) return status;
    request.snapshot_sha256 = sha256;
    return request;
  }

  // What the spec by itself cannot know to be wrong.
  static absl::Status CheckJob(const ParsedSpec& parsed, const core::Target& target,
                               const SpecWishes& wishes) {
    Problems problems;
    const v1::Tune& tune = parsed.spec.tune;
    if (wishes.manual && tune.parallel() > 1) {
      problems.push_back(
          {"tune.parallel", absl::StrCat("found ", tune.parallel(),
                                         " in a manual job, expected 1: a person "
                                         "decides about one trial after the other")});
    }
    if (wishes.manual && tune.algorithm() == v1::Tune::ASHA) {
      problems.push_back({"tune.algorithm",
                          "found asha in a manual job, expected diagnose, random or tpe: asha "
                          "needs no person between trials"});
    }
    if (target.confidence > 0 && !core::Meets(target, 1)) {
      problems.push_back(
          {"target.confidence",
           absl::StrCat("found ", target.confidence, " with ", target.images,
                        " validation images, expected at least ", ImagesFor(target),
                        " images or a lower confidence: not even all of them right could show ",
                        target.bound)});
    }
    if (parsed.spec.IsProgram() && tune.space_size() > 0 && !parsed.spec.program.takes_changes()) {
      problems.push_back(
          {"tune.space",
           "found a space for a program that takes no changes from outside, expected "
           "one that calls fit of a Keras model or reads TRAINYARD_PARAMS_FILE "
           "(docs/programs.md)"});
    }
    return parsed.origin.Error(problems);
  }

  absl::StatusOr<core::JobRequest> PrepareImport(const std::string& sha256, const fs::path& archive,
                                                 const SpecWishes& wishes) const {
    auto spec = MakeImportSpec(archive, wishes.import_path, wishes.overrides);
    if (!spec.ok()) return spec.status();
    // A program may look at its data before it trains.
    AddDatasets({"mnist", "fashion_mnist", "cifar10", "cifar100"}, &spec->program);
    core::JobRequest request = ToRequest(ToProto(*spec));
    request.snapshot_sha256 = sha256;
    return request;
  }

  // What the program is to run, and whether its data is there.
  absl::Status LookAtProgram(const fs::path& archive, ParsedSpec* parsed) {
    v1::Program& program = parsed->spec.program;
    const auto found = LookAtCode(archive, &program);
    if (!found.ok()) return found.status();
    Log(parsed->spec.name, *found);
    return LookAtFiles(archive, *parsed, [&](const LocateFile& locate, Problems* problems) {
      for (const v1::ProgramData& data : program.data()) {
        const std::string key = absl::StrCat("program.data.", data.name());
        const v1::DataFile& file = data.file();
        const auto path = locate(file);
        std::error_code error;
        if (!path.ok()) {
          problems->push_back({key, std::string(path.status().message())});
        } else if (!fs::exists(*path, error)) {
          const std::string& where = file.path().empty() ? file.host_path() : file.path();
          problems->push_back(
              {key, absl::StrCat("found nothing at ", where, ", expected a file or folder")});
        }
      }
    });
  }

  // Fills in what the spec does not say of the program.
  absl::StatusOr<v1::Detection> LookAtCode(const fs::path& archive, v1::Program* program) const {
    auto found = coordinator::Detect(*FilesOfArchive(archive), *program);
    if (!found.ok() || !found->has_program()) return found;
    AddDatasets({found->datasets().begin(), found->datasets().end()}, found->mutable_program());
    WarnOfData(&*found);
    *program = found->program();
    return found;
  }

  static void Log(const std::string& name, const v1::Detection& found) {
    spdlog::info("{}: {}, started as: {}", name, found.runtime(),
                 absl::StrJoin(found.program().command(), " "));
    for (const v1::Evidence& why : found.evidence()) {
      spdlog::info("{}: {}:{}: {} ({})", name, why.file(), why.line(), why.text(), why.shows());
    }
    for (const std::string& warning : found.warnings()) spdlog::warn("{}: {}", name, warning);
  }

  // A program that asks for a data set by name gets what lies under that name in a data root,
  // unless the spec has it: fashion_mnist, or fashion-mnist.
  void AddDatasets(const std::vector<std::string>& wanted, v1::Program* program) const {
    std::set<std::string> named;
    for (const v1::ProgramData& data : program->data()) named.insert(data.name());
    for (const std::string& name : wanted) {
      if (!IsDataName(name) || !named.insert(name).second) continue;
      const std::string dashed = absl::StrReplaceAll(name, {{"_", "-"}});
      for (const std::string& root : options_.data_roots) {
        std::error_code error;
        const fs::path plain = fs::path(root) / name;
        const fs::path path = fs::exists(plain, error) ? plain : fs::path(root) / dashed;
        if (!fs::exists(path, error)) continue;
        v1::ProgramData* data = program->add_data();
        data->set_name(name);
        data->mutable_file()->set_host_path(path);
        break;
      }
    }
  }

  absl::Status LookAtData(const fs::path& archive, ParsedSpec* parsed) {
    v1::Data data;
    const absl::Status looked =
        LookAtFiles(archive, *parsed, [&](const LocateFile& locate, Problems* problems) {
          data = OpenData(parsed->spec.data, locate, problems);
          if (parsed->spec.weights.ByteSizeLong() == 0) return;
          OpenFile("weights", locate, &parsed->spec.weights, problems);
        });
    if (!looked.ok()) return looked;
    return CompleteSpec(data, parsed);
  }

  using Problems = std::vector<network::Problem>;

  // Calls `look` with a way to the spec's files. An error that may pass comes before its problems.
  template <typename Look>
  absl::Status LookAtFiles(const fs::path& archive, const ParsedSpec& parsed, Look look) {
    auto scratch = MakeScratch();
    if (!scratch.ok()) return scratch.status();
    const absl::Cleanup remove = [&] { RemoveScratch(*scratch); };
    DataLocator locator(archive, *scratch, options_.data_roots,
                        [this](const v1::DataFile& file) { return FetchFile(file); });
    Problems problems;
    look([&](const v1::DataFile& file) { return locator.Locate(file); }, &problems);
    if (!locator.passing_error().ok()) return locator.passing_error();
    if (!problems.empty()) return parsed.origin.Error(problems);
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> FetchFile(const v1::DataFile& file) {
    DataFetchOptions fetching;
    fetching.private_addresses = options_.only_this_machine;
    const auto cancelled = [this] { return cancelled_.load(); };
    const absl::Status status = FetchData(file.url(), file.sha256(), fetching, cancelled, blobs_);
    if (!status.ok()) return status;
    const auto path = blobs_->Path(file.sha256());
    if (!path.ok()) return path.status();
    return path->string();
  }

  const RepositoryOptions options_;
  Blobs* const blobs_;
  Git git_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace

std::unique_ptr<SourcePreparer> MakeRepositoryPreparer(RepositoryOptions options, Blobs* blobs) {
  return std::make_unique<RepositoryPreparer>(std::move(options), blobs);
}

}  // namespace trainyard::coordinator
