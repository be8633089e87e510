#include "coordinator/access/policy.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace trainyard::coordinator {
namespace {

struct Rule {
  std::string_view rpc;
  Role least;
};

constexpr Rule kRules[] = {
    {"GetServerInfo", v1::Token::VIEWER}, {"ListProjects", v1::Token::VIEWER},
    {"GetJob", v1::Token::VIEWER},        {"ListJobs", v1::Token::VIEWER},
    {"WatchEvents", v1::Token::VIEWER},   {"GetJobLogs", v1::Token::VIEWER},
    {"ListModels", v1::Token::VIEWER},    {"GetModel", v1::Token::VIEWER},
    {"ListWorkers", v1::Token::VIEWER},   {"ListPools", v1::Token::VIEWER},

    {"AddProject", v1::Token::SUBMITTER}, {"RemoveProject", v1::Token::SUBMITTER},
    {"NotifyPush", v1::Token::SUBMITTER}, {"UploadSource", v1::Token::SUBMITTER},
    {"SubmitJob", v1::Token::SUBMITTER},  {"CancelJob", v1::Token::SUBMITTER},
    {"PauseJob", v1::Token::SUBMITTER},   {"ResumeJob", v1::Token::SUBMITTER},
    {"TweakJob", v1::Token::SUBMITTER},   {"Detect", v1::Token::SUBMITTER},
    {"FinishJob", v1::Token::SUBMITTER},

    {"DrainWorker", v1::Token::ADMIN},    {"CreateToken", v1::Token::ADMIN},
    {"ListTokens", v1::Token::ADMIN},     {"RevokeToken", v1::Token::ADMIN},
};

}  // namespace

std::string Caller::Describe() const {
  switch (kind) {
    case Kind::kToken:
      return absl::StrCat("token '", name, "'");
    case Kind::kLaunch:
      return absl::StrCat("launch ", launch);
    case Kind::kAnyone:
      break;
  }
  return "anyone, for nobody is asked here";
}

std::optional<Role> LeastRole(std::string_view rpc) {
  for (const Rule& rule : kRules) {
    if (rule.rpc == rpc) return rule.least;
  }
  return std::nullopt;
}

absl::Status MayCall(const Caller& caller, std::string_view rpc) {
  if (caller.kind == Caller::Kind::kAnyone) return absl::OkStatus();
  const Role least = LeastRole(rpc).value_or(v1::Token::ADMIN);
  const bool person = caller.kind == Caller::Kind::kToken && caller.role != v1::Token::JOIN;
  if (person && caller.role >= least) return absl::OkStatus();
  const std::string has = caller.kind == Caller::Kind::kLaunch
                              ? "a launched worker's"
                              : absl::StrCat("of role ", RoleName(caller.role));
  return absl::PermissionDeniedError(absl::StrCat(std::string(rpc), ": ", caller.Describe(), " is ",
                                                  has, ", expected role ", RoleName(least),
                                                  least == v1::Token::ADMIN ? "" : " or above"));
}

absl::StatusOr<std::optional<int64_t>> SpeaksFor(const Caller& caller) {
  if (caller.kind == Caller::Kind::kAnyone) return std::nullopt;
  if (caller.kind == Caller::Kind::kLaunch) return caller.launch;
  if (caller.role == v1::Token::JOIN) return 0;
  return absl::PermissionDeniedError(
      absl::StrCat(caller.Describe(), " is of role ", RoleName(caller.role),
                   ", which is for people and pipelines; workers take a token of role join"));
}

}  // namespace trainyard::coordinator
