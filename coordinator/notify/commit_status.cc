#include "coordinator/notify/commit_status.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "coordinator/notify/channel.h"
#include "coordinator/source/repository_key.h"

namespace trainyard::coordinator {
namespace {

using nlohmann::json;

constexpr size_t kDescriptionMax = 140;

bool IsCommit(std::string_view text) {
  return (text.size() == 40 || text.size() == 64) &&
         std::ranges::all_of(text, [](unsigned char c) { return absl::ascii_isxdigit(c); });
}

const char* StateOf(NoticeEvent event) {
  switch (event) {
    case NoticeEvent::kCreated:
      return "pending";
    case NoticeEvent::kTargetMet:
      return "success";
    case NoticeEvent::kTargetMissed:
      return "failure";
    default:
      return "error";
  }
}

std::string DescriptionOf(const JobNotice& notice) {
  const v1::Job& job = notice.job;
  const std::string target =
      TargetText(job).empty() ? "" : absl::StrCat(" (target ", TargetText(job), ")");
  switch (notice.event) {
    case NoticeEvent::kCreated:
      return absl::StrCat("training", target);
    case NoticeEvent::kTargetMet:
      return absl::StrCat("target met: ", BestText(job), target);
    case NoticeEvent::kTargetMissed:
      return absl::StrCat("target missed: ", BestText(job), target);
    default:
      return absl::StrCat(std::string(Name(notice.event)), ": ",
                          job.reason().empty() ? notice.text : job.reason());
  }
}

// What a status code means here, for whoever has to put it right.
Outcome Explained(Outcome outcome, const std::string& repository) {
  if (!absl::IsInvalidArgument(outcome.status)) return outcome;
  const std::string message(outcome.status.message());
  if (absl::EndsWith(message, " 401")) {
    return absl::InvalidArgumentError(absl::StrCat(message, ": the token is not accepted"));
  }
  if (absl::EndsWith(message, " 403") || absl::EndsWith(message, " 404")) {
    return absl::InvalidArgumentError(absl::StrCat(message, ": there is no repository ", repository,
                                                   " whose commit statuses the token may write"));
  }
  if (absl::EndsWith(message, " 422")) {
    return absl::InvalidArgumentError(
        absl::StrCat(message, ": ", repository, " has no such commit"));
  }
  return outcome;
}

class CommitStatus final : public Channel {
 public:
  explicit CommitStatus(CommitStatusConfig config) : Channel(config), config_(std::move(config)) {}

  Outcome Deliver(const JobNotice& notice, const Cancelled& cancelled) override {
    const std::string repository = *RepositoryOf(notice.job, config_);
    const HttpPost post{
        absl::StrCat(config_.api, "/repos/", repository, "/statuses/", notice.job.commit()),
        {"Accept: application/vnd.github+json", "X-GitHub-Api-Version: 2022-11-28",
         absl::StrCat("Authorization: Bearer ", config_.token),
         absl::StrCat("Idempotency-Key: ", notice.key)},
        CommitStatusBody(notice, config_.context)};
    return Explained(Post(post, config_.connection, cancelled), repository);
  }

 private:
  bool Applies(const JobNotice& notice) const override {
    return RepositoryOf(notice.job, config_).has_value();
  }
  const CommitStatusConfig config_;
};

}  // namespace

std::optional<std::string> RepositoryOn(const std::string& host, const std::string& url) {
  const auto remote = RemoteRepositoryOf(url);
  if (!remote || !absl::EqualsIgnoreCase(std::string(remote->host), host) ||
      !IsRepositoryName(remote->path)) {
    return std::nullopt;
  }
  return std::string(remote->path);
}

bool IsRepositoryName(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == text.npos || text.size() > 300) return false;
  const auto good = [](std::string_view part) {
    return !part.empty() && part != "." && part != ".." &&
           std::ranges::all_of(part, [](unsigned char c) {
             return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
           });
  };
  return good(text.substr(0, slash)) && good(text.substr(slash + 1));
}

std::optional<std::string> RepositoryOf(const v1::Job& job, const CommitStatusConfig& config) {
  if (!IsCommit(job.commit())) return std::nullopt;
  const auto listed = config.repositories.find(job.source());
  if (listed != config.repositories.end()) return listed->second;
  return RepositoryOn(config.host, job.source());
}

std::string CommitStatusBody(const JobNotice& notice, const std::string& context) {
  json body = {{"state", StateOf(notice.event)},
               {"description", Shortened(OneLine(DescriptionOf(notice)), kDescriptionMax)},
               {"context", context}};
  if (!notice.link.empty()) body["target_url"] = notice.link;
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::unique_ptr<Channel> MakeCommitStatus(CommitStatusConfig config) {
  return std::make_unique<CommitStatus>(std::move(config));
}

}  // namespace trainyard::coordinator
