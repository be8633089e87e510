// Signatures of hooks: `X-Hub-Signature-256: sha256=<hex HMAC-SHA256(secret, raw body)>`.
#pragma once

#include <string>
#include <string_view>

namespace trainyard::coordinator {

// Whether it has the form of one: "sha256=" and 64 hex digits.
bool LooksSigned(std::string_view signature);

// Compares in a time that does not tell where they differ.
bool IsSignedBy(std::string_view secret, std::string_view body, std::string_view signature);

}  // namespace trainyard::coordinator
