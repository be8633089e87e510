#include "coordinator/source/digest.h"

#include <openssl/evp.h>

#include <new>

namespace trainyard::coordinator {

struct Sha256::Context {
  EVP_MD_CTX* md = EVP_MD_CTX_new();
  bool good = true;
  ~Context() { EVP_MD_CTX_free(md); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  // These fail only for want of memory.
  if (context_->md == nullptr || EVP_DigestInit_ex(context_->md, EVP_sha256(), nullptr) != 1) {
    throw std::bad_alloc();
  }
}

Sha256::~Sha256() = default;

void Sha256::Add(std::string_view bytes) {
  context_->good =
      context_->good && EVP_DigestUpdate(context_->md, bytes.data(), bytes.size()) == 1;
}

std::string Sha256::Hex() {
  unsigned char digest[32];
  if (!context_->good || EVP_DigestFinal_ex(context_->md, digest, nullptr) != 1) return "";
  std::string hex;
  for (unsigned char byte : digest) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

}  // namespace trainyard::coordinator
