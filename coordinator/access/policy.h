// Who may call what.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/access/tokens.h"

namespace trainyard::coordinator {

// Who a call comes from. Belongs to one call: connections are shared by callers.
struct Caller {
  enum class Kind {
    kAnyone,  // where nobody is asked
    kToken,   // showed a token
    kLaunch,  // a worker that the coordinator launched
  };
  Kind kind = Kind::kAnyone;
  int64_t token = 0;                        // kToken: its number in the TokenStore
  std::string name;                         // kToken
  Role role = v1::Token::ROLE_UNSPECIFIED;  // kToken
  int64_t launch = 0;                       // kLaunch

  // For logs: "token 'ci'", "launch 17", "anyone on this machine".
  std::string Describe() const;
};

// The least role that a call of the service Trainyard takes; nothing: it is none of the table.
std::optional<Role> LeastRole(std::string_view rpc);

// Whether the caller may call this of the service Trainyard. What the table does not have is for
// admins alone. PERMISSION_DENIED names the role there is and the one it takes.
absl::Status MayCall(const Caller& caller, std::string_view rpc);

// Which launch the caller may speak for as a worker: 0, workers that were started by hand; nothing:
// any, nobody was asked. PERMISSION_DENIED for people's tokens.
absl::StatusOr<std::optional<int64_t>> SpeaksFor(const Caller& caller);

}  // namespace trainyard::coordinator
