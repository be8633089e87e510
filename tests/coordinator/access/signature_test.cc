// Shows that others can check our signatures, and that theirs are checked.
#include "coordinator/access/signature.h"

#include <gtest/gtest.h>

namespace trainyard::coordinator {
namespace {

TEST(Signature, IsAsOthersMakeIt) {
  // printf '{"a":1}' | openssl dgst -sha256 -hmac secret
  EXPECT_EQ(SignatureOf("secret", "{\"a\":1}"),
            "sha256=aa9e2e3575f5d7098b6caccd790888c36d5fdb63342a73bada2d6a51747a8494");
}

TEST(Signature, IsThatOfThePublicTestVector) {
  const std::string secret = "It's a Secret to Everybody", body = "Hello, World!";
  const std::string good =
      "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
  EXPECT_TRUE(LooksSigned(good));
  EXPECT_TRUE(IsSignedBy(secret, body, good));
  EXPECT_FALSE(IsSignedBy(secret, body + " ", good));
  EXPECT_FALSE(IsSignedBy(secret + " ", body, good));
  EXPECT_FALSE(LooksSigned(good.substr(0, good.size() - 1)));
  EXPECT_FALSE(LooksSigned("sha1=" + good.substr(7)));
  EXPECT_FALSE(LooksSigned(std::string(good).replace(10, 1, "g")));
}

}  // namespace
}  // namespace trainyard::coordinator
