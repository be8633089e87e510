// Files that are there whole or not at all, whatever dies while they are written.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace trainyard::engine {

// WriteFileAtomically (worker/engine/checkpoint.h) of several pieces, one behind the other.
void WritePiecesAtomically(const std::string& path, std::span<const std::string_view> pieces);

}  // namespace trainyard::engine
