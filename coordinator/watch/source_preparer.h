// From a commit or an uploaded folder to what the core needs to make a job of it: snapshot stored,
// spec read and checked, data looked at.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/core/request.h"
#include "trainyard/v1/client.pb.h"

namespace trainyard::coordinator {

// What the caller wants differently from what the spec says.
struct SpecWishes {
  std::vector<std::string> overrides;  // "train.lr=0.05"
  std::string target;                  // "0.92" or "val_accuracy >= 0.92"; empty: the spec's
  std::string import_path;  // a Keras model to make a native spec of, instead of training
  bool manual = false;      // a person decides between trials
};

// Thread-safe; every call may take as long as fetching and reading take.
class SourcePreparer {
 public:
  virtual ~SourcePreparer() = default;

  // Ends what is under way with CANCELLED, now and from now on: the coordinator is stopping.
  virtual void Cancel() = 0;

  // INVALID_ARGUMENT unless it is a path or URL of a kind that may be fetched here.
  virtual absl::Status CheckUrl(const std::string& url) const = 0;

  // The commit at the tip of the branch (empty: the remote's HEAD). INVALID_ARGUMENT for a URL that
  // is not allowed, NOT_FOUND for a repository or branch that is not there, UNAVAILABLE out of
  // reach.
  virtual absl::StatusOr<std::string> Tip(const std::string& url, const std::string& branch) = 0;

  // `revision`: a commit, branch or tag; empty: the default branch's tip. The request's commit,
  // snapshot and source are set. INVALID_ARGUMENT with all problems, one a line, each with its
  // place.
  virtual absl::StatusOr<core::JobRequest> FromRepository(const std::string& url,
                                                          const std::string& revision,
                                                          const SpecWishes& wishes) = 0;

  // A folder that was uploaded before; `source` says where it came from and gives the job its name
  // where the spec does not. NOT_FOUND for a snapshot that is not there.
  virtual absl::StatusOr<core::JobRequest> FromSnapshot(const std::string& sha256,
                                                        const std::string& source,
                                                        const SpecWishes& wishes) = 0;

  // What a repository or an uploaded folder would be run as, and why. INVALID_ARGUMENT where that
  // is not clear, or its spec has problems.
  virtual absl::StatusOr<v1::Detection> Detect(const v1::DetectRequest& request) = 0;

  struct Accepted {
    std::string sha256;  // of the snapshot, which may be written differently from the upload
    int64_t files = 0;
  };
  // Checks an uploaded archive that lies in the store: INVALID_ARGUMENT, naming the entry, for one
  // that is no tar, leaves its folder or is too large.
  virtual absl::StatusOr<Accepted> AcceptUpload(const std::string& sha256) = 0;
};

}  // namespace trainyard::coordinator
