// Files that are there whole or not at all, whatever dies while they are written.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace trainyard::engine {

// Whether a file has to survive the machine's end, which takes as long as the disk does. One that
// is not durable may then be torn.
enum class Durable { kNo, kYes };

// WriteFileAtomically (worker/engine/checkpoint.h) of several pieces, one behind the other.
void WritePiecesAtomically(const std::string& path, std::span<const std::string_view> pieces,
                           Durable durable);

// Such a file before it has its name, as a process that dies may leave it.
bool IsUnfinished(std::string_view file_name);

}  // namespace trainyard::engine
