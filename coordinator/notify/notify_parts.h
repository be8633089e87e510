// Values of the notify file with a form of their own, for notify_file.cc.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "coordinator/source/spec_section.h"

namespace trainyard::coordinator {

// Each adds a problem and leaves `out` alone where the value is wrong; absent is absent.

// The secret that KEY_file or KEY_env points to. False: neither is there, or it is wrong.
bool ReadSecret(const Section& section, const std::string& key, const std::filesystem::path& folder,
                std::string* out);
// A PEM file that can be read.
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
