// Values of the notify file with a form of their own, for notify_file.cc.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "coordinator/source/spec_section.h"

namespace trainyard::coordinator {

// A PEM file that can be read; absent is absent. Adds a problem and leaves `out` alone where there
// is none.
void ReadCaFile(const Section& section, std::string_view key, const std::filesystem::path& folder,
                std::string* out);

// What is wrong with a URL, as "found ..., expected ..." that does not repeat it; or nothing.
std::optional<std::string> WrongUrl(const std::string& url, bool plain_http);
// The host in a sound URL.
std::string HostOfUrl(const std::string& url);
// local@domain, nothing else around it.
bool IsMailAddress(std::string_view text);
bool IsServerName(std::string_view text);

}  // namespace trainyard::coordinator
