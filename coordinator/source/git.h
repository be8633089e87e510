// Repositories, read without trusting them: no hooks, filters, LFS, submodules, redirects or
// configuration of this machine; only objects are read.
//
// Each remote has a bare mirror under a cache folder, so that a fetch transfers what is new.
// Thread-safe; calls about the same remote wait for each other.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/source/snapshot.h"

namespace trainyard::coordinator {

struct GitOptions {
  std::filesystem::path cache;  // mirrors; made if absent
  bool allow_local = false;     // paths and file:// URLs
  bool allow_private_addresses =
      false;  // https and ssh to loopback, link-local and private networks
  int64_t fetch_bytes_max = int64_t{4} << 30;
  int64_t objects_max = 5'000'000;
  std::string ssh_key;  // private key file; empty: the SSH agent's
  SnapshotLimits limits;
};

// Asked now and then while something is transferred or read; true ends it with CANCELLED.
using Cancelled = std::function<bool()>;

// What a URL means; every other function checks this first.
//   INVALID_ARGUMENT  another scheme (http, git, ext::), a leading dash, a password in it, control
//                     characters; a local path, or an address in a private network, where not
//                     allowed
struct GitUrl {
  enum class Kind { kLocal, kHttps, kSsh };
  Kind kind = Kind::kLocal;
  std::string text;  // as libgit2 takes it
  std::string host;  // empty: local
};
absl::StatusOr<GitUrl> ParseGitUrl(const std::string& url, const GitOptions& options);

class Git {
 public:
  explicit Git(GitOptions options);
  ~Git();

  // Commit at the tip of `ref`, asked of the remote without fetching: a branch, a tag, a full name
  // (refs/heads/main), or empty for HEAD. NOT_FOUND: no such ref, or an empty repository.
  // UNAVAILABLE: the remote cannot be reached.
  absl::StatusOr<std::string> Tip(const std::string& url, const std::string& ref);

  // The commit that a revision names: a ref as for Tip, or a commit's hash, which may be shortened
  // to 7 digits.
  absl::StatusOr<std::string> Resolve(const std::string& url, const std::string& revision,
                                      const Cancelled& cancelled = {});

  // Fetches `commit` (40 digits) and writes its files as a snapshot. NOT_FOUND: the remote has it
  // no longer (a force-push, say). INVALID_ARGUMENT: it holds what a snapshot must not.
  absl::StatusOr<SnapshotInfo> Snapshot(const std::string& url, const std::string& commit,
                                        const ByteSink& sink, const Cancelled& cancelled = {});

  const GitOptions& options() const { return options_; }

 private:
  std::filesystem::path MirrorOf(const GitUrl& url) const;
  std::mutex& LockOf(const std::filesystem::path& mirror);

  const GitOptions options_;
  std::mutex mutex_;  // guards locks_
  std::map<std::string, std::unique_ptr<std::mutex>> locks_;
};

}  // namespace trainyard::coordinator
