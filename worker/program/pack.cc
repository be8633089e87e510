#include "worker/program/pack.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "worker/agent/archive.h"
#include "worker/agent/digest.h"
#include "worker/agent/owned_file.h"
#include "worker/program/lines.h"

namespace trainyard::program {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kStateBytesMax = 1 << 20;
constexpr size_t kPublishedMax = 200;
constexpr const char* kModelEndings[] = {".keras",       ".h5",  ".pt",     ".pth", ".onnx",
                                         ".safetensors", ".pkl", ".joblib", ".npz"};

constexpr int64_t kPackedBytesMax = int64_t{32} << 30;  // half of what a coordinator takes

json ToJson(double value) { return std::isnan(value) ? json() : json(value); }

double NumberIn(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number() ? found->get<double>() : kUnsaid;
}

json ToJson(const State& state) {
  json object = {{"epoch", state.epoch},
                 {"step", state.step},
                 {"val_accuracy", ToJson(state.val_accuracy)},
                 {"val_loss", ToJson(state.val_loss)},
                 {"entry", state.entry},
                 {"model", {{"description", state.description}, {"parameters", state.parameters}}}};
  if (const auto& held = state.held) {
    object["held"] = {{"epoch", held->epoch},
                      {"loss", ToJson(held->loss)},
                      {"accuracy", ToJson(held->accuracy)},
                      {"val_loss", ToJson(held->val_loss)},
                      {"val_accuracy", ToJson(held->val_accuracy)},
                      {"learning_rate", ToJson(held->learning_rate)},
                      {"seconds", ToJson(held->seconds)},
                      {"images_per_second", ToJson(held->images_per_second)}};
  }
  return object;
}

// Nothing if it is no state of ours.
std::optional<State> FromJson(const json& object) {
  if (!object.is_object() || !object.contains("epoch")) return std::nullopt;
  State state;
  const double epoch = NumberIn(object, "epoch"), step = NumberIn(object, "step");
  if (!(epoch >= 0 && epoch <= kEpochsMax && step >= 0 && step < 1e18)) return std::nullopt;
  state.epoch = static_cast<int>(epoch);
  state.step = static_cast<int64_t>(step);
  state.val_accuracy = NumberIn(object, "val_accuracy");
  state.val_loss = NumberIn(object, "val_loss");
  if (const auto entry = object.find("entry"); entry != object.end() && entry->is_string()) {
    state.entry = entry->get<std::string>();
  }
  if (const auto model = object.find("model"); model != object.end() && model->is_object()) {
    const auto text = model->find("description");
    if (text != model->end() && text->is_string()) state.description = text->get<std::string>();
    const double parameters = NumberIn(*model, "parameters");
    if (parameters > 0 && parameters < 1e18) state.parameters = static_cast<int64_t>(parameters);
  }
  if (const auto held = object.find("held"); held != object.end()) {
    std::string problem;
    const std::vector<Said> said = ParseMetricsLine(held->dump(), &problem);
    if (said.size() != 1 || !std::holds_alternative<EpochLine>(said[0])) return std::nullopt;
    state.held = std::get<EpochLine>(said[0]);
  }
  return state;
}

struct CloseWrite {
  void operator()(archive* tar) const { archive_write_free(tar); }
};

// The tar under way: written and hashed in one go.
class Packer {
 public:
  explicit Packer(int file) : file_(file), tar_(archive_write_new()) {
    archive_write_set_format_pax_restricted(tar_.get());
    // Names are bytes, whatever the locale.
    archive_write_set_options(tar_.get(), "hdrcharset=BINARY");
    archive_write_set_bytes_in_last_block(tar_.get(), 1);
    archive_write_open2(tar_.get(), this, nullptr, &Packer::Write, nullptr, nullptr);
  }

  absl::Status AddText(const std::string& name, const std::string& text) {
    if (auto status = Begin(name, AE_IFREG, static_cast<int64_t>(text.size())); !status.ok()) {
      return status;
    }
    return Add(text.data(), text.size());
  }

  absl::Status AddFile(const std::string& name, int file, const struct stat& info) {
    if (S_ISDIR(info.st_mode)) return Begin(name, AE_IFDIR, 0);
    if (auto status = Begin(name, AE_IFREG, info.st_size); !status.ok()) return status;
    // As many bytes as were announced, should it grow meanwhile; one that shrinks is filled up.
    std::string piece(1 << 18, '\0');
    for (int64_t left = info.st_size; left > 0;) {
      const ssize_t size =
          read(file, piece.data(), std::min<size_t>(piece.size(), static_cast<size_t>(left)));
      if (size < 0 && errno == EINTR) continue;
      if (size < 0) return absl::UnavailableError(absl::StrCat(name, ": ", strerror(errno)));
      if (size == 0) break;
      if (auto status = Add(piece.data(), static_cast<size_t>(size)); !status.ok()) return status;
      left -= size;
    }
    return absl::OkStatus();
  }

  absl::Status AddTree(const std::string& name, const std::string& folder) {
    return WalkTree(folder, [&](const std::string& path, int file, const struct stat& info) {
      return AddFile(absl::StrCat(name, "/", path), file, info);
    });
  }

  absl::StatusOr<Blob> Finish() {
    if (archive_write_close(tar_.get()) != ARCHIVE_OK) return Error();
    return Blob{digest_.Hex(), bytes_};
  }

 private:
  static la_ssize_t Write(archive* tar, void* self, const void* data, size_t size) {
    auto& packer = *static_cast<Packer*>(self);
    const char* at = static_cast<const char*>(data);
    for (size_t left = size; left > 0;) {
      const ssize_t written = write(packer.file_, at, left);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) {
        packer.error_ = errno;
        archive_set_error(tar, errno, "%s", strerror(errno));
        return -1;
      }
      at += written;
      left -= static_cast<size_t>(written);
    }
    packer.digest_.Add({static_cast<const char*>(data), size});
    packer.bytes_ += static_cast<int64_t>(size);
    return static_cast<la_ssize_t>(size);
  }

  absl::Status Begin(const std::string& name, unsigned type, int64_t bytes) {
    const std::unique_ptr<archive_entry, decltype(&archive_entry_free)> entry(archive_entry_new(),
                                                                              archive_entry_free);
    archive_entry_set_pathname(entry.get(), name.c_str());
    archive_entry_set_filetype(entry.get(), type);
    archive_entry_set_perm(entry.get(), type == AE_IFDIR ? 0755 : 0644);
    archive_entry_set_mtime(entry.get(), 0, 0);
    archive_entry_set_size(entry.get(), bytes);
    announced_ += bytes;
    if (announced_ > kPackedBytesMax) {
      return absl::InvalidArgumentError(absl::StrCat("packing: found more than ", kPackedBytesMax,
                                                     " bytes, at ", CleanText(name, NAME_MAX)));
    }
    return archive_write_header(tar_.get(), entry.get()) == ARCHIVE_OK ? absl::OkStatus() : Error();
  }

  absl::Status Add(const char* data, size_t size) {
    return archive_write_data(tar_.get(), data, size) == static_cast<la_ssize_t>(size)
               ? absl::OkStatus()
               : Error();
  }

  absl::Status Error() const {
    const std::string message = absl::StrCat("packing: ", archive_error_string(tar_.get()));
    if (error_ == ENOSPC || error_ == EDQUOT) return absl::ResourceExhaustedError(message);
    return absl::UnavailableError(message);
  }

  const int file_;
  int error_ = 0;
  int64_t bytes_ = 0;
  int64_t announced_ = 0;  // of files, before they are read
  agent::Digest digest_;
  std::unique_ptr<archive, CloseWrite> tar_;  // last: it writes when it goes
};

absl::Status AddEntry(Packer& packer, const Workspace& space, const std::string& name) {
  const std::string path = absl::StrCat(space.checkpoints, "/", name);
  const std::string packed = "checkpoint/" + name;
  const agent::OwnedFile file(
      open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  struct stat info {};
  const bool there = file.handle() >= 0 && fstat(file.handle(), &info) == 0;
  if (!there || !(S_ISREG(info.st_mode) || S_ISDIR(info.st_mode))) {
    return absl::NotFoundError(absl::StrCat("checkpoint entry ", name, " is not there"));
  }
  const absl::Status status = packer.AddFile(packed, file.handle(), info);
  return status.ok() && S_ISDIR(info.st_mode) ? packer.AddTree(packed, path) : status;
}

absl::Status AddAll(Packer& packer, const Workspace& space, const State& state,
                    const std::vector<std::string>& files) {
  if (auto status = packer.AddText("state.json", ToJson(state).dump() + "\n"); !status.ok()) {
    return status;
  }
  if (!state.entry.empty()) {
    if (auto status = AddEntry(packer, space, state.entry); !status.ok()) return status;
  }
  if (auto status = packer.AddTree("output", space.output); !status.ok()) return status;
  if (files.empty()) return absl::OkStatus();
  const std::set<std::string> wanted(files.begin(), files.end());
  return WalkTree(space.source, [&](const std::string& path, int file, const struct stat& info) {
    return wanted.contains(path) ? packer.AddFile("files/" + path, file, info) : absl::OkStatus();
  });
}

bool IsModelFile(const std::string& path) {
  return std::any_of(std::begin(kModelEndings), std::end(kModelEndings),
                     [&](const char* ending) { return absl::EndsWithIgnoreCase(path, ending); });
}

// Moves what is in `from` to the same place below `to`.
absl::Status MoveInto(const std::string& from, const std::string& to) {
  const Stamps files = StampFiles(from);
  for (const auto& [path, stamp] : files) {
    std::error_code error;
    const fs::path target = fs::path(to) / path;
    fs::create_directories(target.parent_path(), error);
    fs::rename(fs::path(from) / path, target, error);
    if (error) return absl::UnavailableError(absl::StrCat(target.string(), ": ", error.message()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Blob> Pack(const Workspace& space, const State& state,
                          const std::vector<std::string>& files, const std::string& file) {
  const int handle = open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (handle < 0) return absl::UnavailableError(absl::StrCat(file, ": ", strerror(errno)));
  absl::StatusOr<Blob> blob;
  {
    Packer packer(handle);
    const absl::Status status = AddAll(packer, space, state, files);
    blob = status.ok() ? packer.Finish() : status;
  }
  close(handle);
  if (!blob.ok()) unlink(file.c_str());
  return blob;
}

absl::StatusOr<State> Unpack(const std::string& file, const Workspace& space) {
  const auto broken = [](const std::string& why) {
    return absl::DataLossError(absl::StrCat("is no checkpoint of a program: ", why));
  };
  if (auto status = agent::ExtractArchive(file, space.restored); !status.ok()) {
    return absl::IsInvalidArgument(status) ? broken(std::string(status.message())) : status;
  }
  const absl::StatusOr<std::string> text =
      ReadFileInside(space.restored, "state.json", kStateBytesMax);
  if (!text.ok()) return broken("it has no state.json");
  std::optional<State> state = FromJson(json::parse(*text, nullptr, /*allow_exceptions=*/false));
  if (!state) return broken("its state.json is not understood");
  for (const auto& [from, to] : {std::pair("/checkpoint", &space.checkpoints),
                                 {"/output", &space.output},
                                 {"/files", &space.source}}) {
    if (auto status = MoveInto(space.restored + from, *to); !status.ok()) return status;
  }
  if (!state->entry.empty() && !FindEntry(space, state->entry)) {
    return broken(absl::StrCat("its entry ", state->entry, " is missing"));
  }
  return *std::move(state);
}

std::optional<Entry> FindEntry(const Workspace& space, const std::string& name) {
  struct stat info {};
  if (name.empty() || name[0] == '.' || name.find('/') != std::string::npos) return std::nullopt;
  if (CleanText(name, NAME_MAX) != name) return std::nullopt;  // it could not be written down
  if (lstat(absl::StrCat(space.checkpoints, "/", name).c_str(), &info) != 0) return std::nullopt;
  if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode)) return std::nullopt;
  return Entry{name, StampOf(info)};
}

std::optional<Entry> NewestEntry(const Workspace& space) {
  std::optional<Entry> newest;
  std::error_code error;
  for (auto at = fs::directory_iterator(space.checkpoints, error); at != fs::directory_iterator();
       at.increment(error)) {
    std::optional<Entry> entry = FindEntry(space, at->path().filename().string());
    const auto age = [](const Entry& e) { return std::pair(e.stamp.modified_ns, e.name); };
    if (entry && (!newest || age(*entry) > age(*newest))) newest = std::move(entry);
  }
  return newest;
}

std::vector<std::string> ModelFiles(const Workspace& space) {
  std::vector<std::string> files;
  for (const auto& [path, stamp] : StampFiles(space.source)) {
    const auto before = space.stamps.find(path);
    const bool changed = before == space.stamps.end() || before->second != stamp;
    if (changed && IsModelFile(path)) files.push_back(path);
  }
  return files;
}

std::vector<Published> FilesToPublish(const Workspace& space, const State& state) {
  std::vector<Published> files;
  std::set<std::string> names;
  const auto add = [&](const std::string& name, const std::string& path) {
    if (files.size() < kPublishedMax && names.insert(name).second) files.push_back({name, path});
  };
  const auto add_all = [&](const std::string& folder, auto wanted) {
    for (const auto& [path, stamp] : StampFiles(folder)) {
      if (wanted(path)) add(path, absl::StrCat(folder, "/", path));
    }
  };
  const auto all = [](const std::string&) { return true; };
  add_all(space.output, all);
  const std::string entry = absl::StrCat(space.checkpoints, "/", state.entry);
  const bool folder = fs::is_directory(entry);
  const auto is_model = [](const std::string& path) {
    return fs::path(path).filename().string().starts_with("model.");
  };
  if (!state.entry.empty() && folder) add_all(entry, is_model);
  if (!state.entry.empty() && !folder && (is_model(entry) || IsModelFile(entry))) {
    add(state.entry, entry);
  }
  for (const std::string& path : ModelFiles(space))
    add(path, absl::StrCat(space.source, "/", path));
  if (!files.empty() || state.entry.empty()) return files;
  // It left nothing else: the entry is its model.
  if (folder) {
    add_all(entry, all);
  } else {
    add(state.entry, entry);
  }
  return files;
}

}  // namespace trainyard::program
