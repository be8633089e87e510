// Core's records as the bodies of stored rows, and back. What goes in comes out equal, but for the
// volatile parts (`live`), which come out empty.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "coordinator/core/state.h"

namespace trainyard::coordinator {

std::string Encode(const core::Project& record);
std::string Encode(const core::Push& record);
std::string Encode(const core::Job& record);
std::string Encode(const core::Trial& record);
std::string Encode(const core::Attempt& record);
std::string Encode(const core::Checkpoint& record);
std::string Encode(const core::Worker& record);
std::string Encode(const core::Launch& record);
std::string Encode(const core::Notice& record);

// DATA_LOSS, saying what was found and what was expected. Record is one of the types above.
template <typename Record>
absl::StatusOr<Record> Decode(std::string_view body);

}  // namespace trainyard::coordinator
