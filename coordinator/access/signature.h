// Signatures of what is sent over HTTP, as GitHub makes them and others check them:
// `X-Hub-Signature-256: sha256=<hex HMAC-SHA256(secret, raw body)>`. Hooks come with one, and
// webhooks go out with one.
#pragma once

#include <string>
#include <string_view>

namespace trainyard::coordinator {

// "sha256=..."
std::string SignatureOf(std::string_view secret, std::string_view body);

// Whether it has the form of one: "sha256=" and 64 hex digits.
bool LooksSigned(std::string_view signature);

// Compares in a time that does not tell where they differ.
bool IsSignedBy(std::string_view secret, std::string_view body, std::string_view signature);

}  // namespace trainyard::coordinator
