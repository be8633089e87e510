#include "coordinator/source/git.h"

#include <fmt/format.h>

#include <optional>
#include <utility>
#include <vector>

#include "coordinator/source/digest.h"
#include "coordinator/source/git_objects.h"
#include "coordinator/source/git_tree.h"
#include "coordinator/source/yaml_tree.h"

namespace trainyard::coordinator {

absl::Status GitError(int code, const std::string& doing) {
  const git_error* last = git_error_last();
  int domain = last ? last->klass : 0;
  std::string text = fmt::format("{}: {}", doing, last && last->message ? last->message : "failed");
  if (code == GIT_EUSER) return absl::CancelledError(text);
  if (domain == GIT_ERROR_NET || domain == GIT_ERROR_SSL || domain == GIT_ERROR_HTTP ||
      domain == GIT_ERROR_SSH || code == GIT_EAUTH || code == GIT_ECERTIFICATE) {
    return absl::UnavailableError(text);
  }
  if (code == GIT_ENOTFOUND) return absl::NotFoundError(text);
  return absl::DataLossError(text);
}

namespace {

constexpr char kFetched[] = "refs/trainyard/";

// libgit2 with nothing of this machine's configuration: no rewritten URLs, no filters.
struct Library {
  Library() {
    git_libgit2_init();
    git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);  // nothing in a repository is executed
    for (int level : {GIT_CONFIG_LEVEL_SYSTEM, GIT_CONFIG_LEVEL_XDG, GIT_CONFIG_LEVEL_GLOBAL,
                      GIT_CONFIG_LEVEL_PROGRAMDATA}) {
      git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, level, "");
    }
  }
};

void InitLibrary() { static const Library library; }

bool IsHex(const std::string& text) {
  return text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// The URL, allowed and, where it is a local path, with something there.
absl::StatusOr<GitUrl> OpenUrl(const std::string& url, const GitOptions& options) {
  auto parsed = ParseGitUrl(url, options);
  if (!parsed.ok() || parsed->kind != GitUrl::Kind::kLocal) return parsed;
  std::error_code ignored;
  if (std::filesystem::is_directory(parsed->text, ignored)) return parsed;
  return absl::NotFoundError(Quoted(url) + ": found no such folder, expected a Git repository");
}

// What the callbacks of one transfer need.
struct Transfer {
  const GitOptions& options;
  const Cancelled& cancelled;
  std::string refused;  // why it was ended from our side
  bool offered_key = false;
};

int OnCredential(git_credential** out, const char*, const char* user, unsigned allowed,
                 void* data) {
  auto* transfer = static_cast<Transfer*>(data);
  // Asked again, the first answer was refused; another would be the same.
  if (!(allowed & GIT_CREDENTIAL_SSH_KEY) || transfer->offered_key) return GIT_EAUTH;
  transfer->offered_key = true;
  const char* name = user ? user : "git";
  const std::string& key = transfer->options.ssh_key;
  return key.empty() ? git_credential_ssh_key_from_agent(out, name)
                     : git_credential_ssh_key_new(out, name, nullptr, key.c_str(), nullptr);
}

int OnProgress(const git_indexer_progress* progress, void* data) {
  auto* transfer = static_cast<Transfer*>(data);
  const GitOptions& options = transfer->options;
  if (transfer->cancelled && transfer->cancelled()) return GIT_EUSER;
  if (progress->received_bytes > static_cast<uint64_t>(options.fetch_bytes_max)) {
    transfer->refused =
        fmt::format("found more than {} bytes to fetch, expected fewer", options.fetch_bytes_max);
  } else if (progress->total_objects > options.objects_max) {
    transfer->refused = fmt::format("found {} objects to fetch, expected at most {}",
                                    progress->total_objects, options.objects_max);
  }
  return transfer->refused.empty() ? 0 : GIT_EUSER;
}

int OnSideband(const char*, int, void* data) {
  auto* transfer = static_cast<Transfer*>(data);
  return transfer->cancelled && transfer->cancelled() ? GIT_EUSER : 0;
}

git_remote_callbacks Callbacks(Transfer* transfer) {
  git_remote_callbacks callbacks = GIT_REMOTE_CALLBACKS_INIT;
  callbacks.credentials = OnCredential;
  callbacks.transfer_progress = OnProgress;
  callbacks.sideband_progress = OnSideband;
  callbacks.payload = transfer;
  return callbacks;
}

absl::StatusOr<Repository> OpenMirror(const std::filesystem::path& mirror) {
  git_repository* raw = nullptr;
  if (git_repository_open_bare(&raw, mirror.c_str()) == 0) return Repository(raw);
  // Absent, or damaged: it holds nothing that cannot be fetched again.
  std::error_code ignored;
  std::filesystem::remove_all(mirror, ignored);
  git_repository_init_options options = GIT_REPOSITORY_INIT_OPTIONS_INIT;
  options.flags = GIT_REPOSITORY_INIT_BARE | GIT_REPOSITORY_INIT_MKDIR |
                  GIT_REPOSITORY_INIT_MKPATH | GIT_REPOSITORY_INIT_NO_REINIT;
  int code = git_repository_init_ext(&raw, mirror.c_str(), &options);
  if (code != 0) return GitError(code, "making a mirror in " + mirror.string());
  return Repository(raw);
}

absl::Status Fetch(git_repository* mirror, const GitUrl& url, const GitOptions& options,
                   const Cancelled& cancelled) {
  git_remote* raw = nullptr;
  int code = git_remote_create_anonymous(&raw, mirror, url.text.c_str());
  Remote remote(raw);
  if (code != 0) return GitError(code, Quoted(url.text));
  Transfer transfer{options, cancelled, {}, false};
  git_fetch_options fetch = GIT_FETCH_OPTIONS_INIT;
  fetch.callbacks = Callbacks(&transfer);
  fetch.prune = GIT_FETCH_PRUNE;
  fetch.update_fetchhead = 0;
  fetch.download_tags = GIT_REMOTE_DOWNLOAD_TAGS_NONE;
  fetch.follow_redirects = GIT_REMOTE_REDIRECT_NONE;
  std::string heads = std::string("+refs/heads/*:") + kFetched + "heads/*";
  std::string tags = std::string("+refs/tags/*:") + kFetched + "tags/*";
  char* refspecs[] = {heads.data(), tags.data()};
  git_strarray specs = {refspecs, 2};
  code = git_remote_fetch(remote.get(), &specs, &fetch, nullptr);
  if (!transfer.refused.empty()) {
    return absl::InvalidArgumentError(Quoted(url.text) + ": " + transfer.refused);
  }
  return code == 0 ? absl::OkStatus() : GitError(code, "fetching " + Quoted(url.text));
}

bool HasCommit(git_repository* mirror, const git_oid& id) {
  git_commit* raw = nullptr;
  int code = git_commit_lookup(&raw, mirror, &id);
  git_commit_free(raw);
  return code == 0;
}

absl::StatusOr<git_oid> ParseHash(const std::string& commit) {
  git_oid id;
  if (commit.size() != 40 || !IsHex(commit) || git_oid_fromstr(&id, commit.c_str()) != 0) {
    return absl::InvalidArgumentError(Quoted(commit) +
                                      ": expected a commit's hash of 40 hexadecimal digits");
  }
  return id;
}

void RemoveMirror(const std::filesystem::path& path) {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

// The mirror with `id` in it, fetched if it isn't there yet. What is wrong with an old mirror is no
// reason to fail: the second attempt starts from nothing.
absl::StatusOr<Repository> MirrorWith(const std::filesystem::path& path, const GitUrl& url,
                                      const git_oid& id, const GitOptions& options,
                                      const Cancelled& cancelled) {
  for (bool fresh = !std::filesystem::exists(path);; fresh = true) {
    absl::StatusOr<Repository> mirror = OpenMirror(path);
    if (!mirror.ok() || HasCommit(mirror->get(), id)) return mirror;
    absl::Status status = Fetch(mirror->get(), url, options, cancelled);
    if (status.ok() && HasCommit(mirror->get(), id)) return mirror;
    bool broken = status.ok() || status.code() == absl::StatusCode::kDataLoss;
    if (fresh && status.ok()) {
      return absl::NotFoundError(fmt::format(
          "{}: found no commit {} in any branch or tag (was it replaced by a force-push?)",
          Quoted(url.text), git_oid_tostr_s(&id)));
    }
    if (fresh || !broken) return status;
    mirror->reset();
    RemoveMirror(path);
  }
}

// Of the remote's refs, the commit that `ref` means; tags are followed to their commit ("^{}").
std::optional<git_oid> FindRef(const git_remote_head** heads, size_t count,
                               const std::string& ref) {
  std::vector<std::string> names;
  if (ref.empty()) {
    names = {"HEAD"};
  } else if (ref.starts_with("refs/")) {
    names = {ref + "^{}", ref};
  } else {
    names = {"refs/heads/" + ref, "refs/tags/" + ref + "^{}", "refs/tags/" + ref};
  }
  for (const std::string& name : names) {
    for (size_t i = 0; i < count; ++i) {
      if (name == heads[i]->name) return heads[i]->oid;
    }
  }
  return std::nullopt;
}

absl::StatusOr<git_oid> ResolveShort(git_repository* mirror, const std::string& revision,
                                     const std::string& url) {
  git_oid prefix;
  git_object* raw = nullptr;
  std::string padded = revision + std::string(40 - revision.size(), '0');
  git_oid_fromstr(&prefix, padded.c_str());
  int code = git_object_lookup_prefix(&raw, mirror, &prefix, revision.size(), GIT_OBJECT_COMMIT);
  Object object(raw);
  if (code == GIT_EAMBIGUOUS) {
    return absl::InvalidArgumentError(Quoted(revision) +
                                      ": found several commits, expected more "
                                      "digits");
  }
  if (code != 0) {
    return absl::NotFoundError(
        fmt::format("{}: found no branch, tag or commit {}", Quoted(url), Quoted(revision)));
  }
  return *git_object_id(object.get());
}

}  // namespace

Git::Git(GitOptions options) : options_(std::move(options)) { InitLibrary(); }
Git::~Git() = default;

std::filesystem::path Git::MirrorOf(const GitUrl& url) const {
  Sha256 hash;
  hash.Add(url.text);
  return std::filesystem::absolute(options_.cache) / (hash.Hex().substr(0, 32) + ".git");
}

std::mutex& Git::LockOf(const std::filesystem::path& mirror) {
  std::lock_guard<std::mutex> guard(mutex_);
  auto& lock = locks_[mirror.string()];
  if (lock == nullptr) lock = std::make_unique<std::mutex>();
  return *lock;
}

absl::StatusOr<std::string> Git::Tip(const std::string& url, const std::string& ref) {
  auto parsed = OpenUrl(url, options_);
  if (!parsed.ok()) return parsed.status();
  git_remote* raw = nullptr;
  int code = git_remote_create_detached(&raw, parsed->text.c_str());
  Remote remote(raw);
  if (code != 0) return GitError(code, Quoted(url));
  Cancelled never;
  Transfer transfer{options_, never, {}, false};
  git_remote_connect_options connect = GIT_REMOTE_CONNECT_OPTIONS_INIT;
  connect.callbacks = Callbacks(&transfer);
  connect.follow_redirects = GIT_REMOTE_REDIRECT_NONE;
  code = git_remote_connect_ext(remote.get(), GIT_DIRECTION_FETCH, &connect);
  if (code != 0) {
    absl::Status status = GitError(code, Quoted(url));
    // A path that is no repository.
    return status.code() == absl::StatusCode::kDataLoss
               ? absl::NotFoundError(std::string(status.message()))
               : status;
  }
  const git_remote_head** heads = nullptr;
  size_t count = 0;
  code = git_remote_ls(&heads, &count, remote.get());
  if (code != 0) return GitError(code, Quoted(url));
  auto found = FindRef(heads, count, ref);
  if (!found) {
    return absl::NotFoundError(fmt::format(
        "{}: found no {}", Quoted(url),
        ref.empty() ? "commit (is the repository empty?)" : "branch or tag " + Quoted(ref)));
  }
  return std::string(git_oid_tostr_s(&*found));
}

absl::StatusOr<std::string> Git::Resolve(const std::string& url, const std::string& revision,
                                         const Cancelled& cancelled) {
  bool hash = revision.size() >= 7 && revision.size() <= 40 && IsHex(revision);
  if (hash && revision.size() == 40) return revision;
  auto tip = Tip(url, revision);
  if (tip.ok() || !hash || tip.status().code() != absl::StatusCode::kNotFound) return tip;
  auto parsed = OpenUrl(url, options_);
  if (!parsed.ok()) return parsed.status();
  std::filesystem::path path = MirrorOf(*parsed);
  std::lock_guard<std::mutex> guard(LockOf(path));
  auto mirror = OpenMirror(path);
  if (!mirror.ok()) return mirror.status();
  absl::Status status = Fetch(mirror->get(), *parsed, options_, cancelled);
  if (!status.ok()) return status;
  auto id = ResolveShort(mirror->get(), revision, url);
  if (!id.ok()) return id.status();
  return std::string(git_oid_tostr_s(&*id));
}

absl::StatusOr<SnapshotInfo> Git::Snapshot(const std::string& url, const std::string& commit,
                                           const ByteSink& sink, const Cancelled& cancelled) {
  auto parsed = OpenUrl(url, options_);
  if (!parsed.ok()) return parsed.status();
  auto id = ParseHash(commit);
  if (!id.ok()) return id.status();
  std::filesystem::path path = MirrorOf(*parsed);
  std::lock_guard<std::mutex> guard(LockOf(path));
  auto mirror = MirrorWith(path, *parsed, *id, options_, cancelled);
  if (!mirror.ok()) return mirror.status();
  auto info = SnapshotOfCommit(mirror->get(), *id, options_.limits, sink, cancelled);
  if (info.status().code() == absl::StatusCode::kDataLoss) RemoveMirror(path);
  return info;
}

}  // namespace trainyard::coordinator
