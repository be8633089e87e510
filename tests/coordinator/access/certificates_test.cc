// Certificates of our own making, as OpenSSL itself judges them.
#include "coordinator/access/certificates.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "coordinator/access/host_names.h"
#include "gmock/gmock.h"
#include "tests/coordinator/access/folder.h"

namespace trainyard::coordinator {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

class CertificatesTest : public FolderTest {
 protected:
  CertificateAuthority Open(const std::string& name = "tls") {
    auto authority = CertificateAuthority::Open(folder_ / name);
    EXPECT_TRUE(authority.ok()) << authority.status();
    return *std::move(authority);
  }
  // Whether it may be used for this purpose.
  static bool Suits(const std::string& cert_pem, int purpose) {
    const std::unique_ptr<BIO, int (*)(BIO*)> bio(BIO_new_mem_buf(cert_pem.data(), -1), BIO_free);
    const std::unique_ptr<X509, void (*)(X509*)> cert(
        PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr), X509_free);
    return X509_check_purpose(cert.get(), purpose, 0) == 1;
  }
};

TEST_F(CertificatesTest, TheAuthorityIsMadeOnceAndKept) {
  const std::string pem = Open().pem();
  EXPECT_EQ(Open().pem(), pem);
  EXPECT_NE(Open("other").pem(), pem);
  EXPECT_EQ(Mode(folder_ / "tls"), 0700u);
  EXPECT_EQ(Mode(folder_ / "tls" / "ca-key.pem"), 0600u);
  std::filesystem::copy_file(folder_ / "other" / "ca-key.pem", folder_ / "tls" / "ca-key.pem",
                             std::filesystem::copy_options::overwrite_existing);
  const auto mixed = CertificateAuthority::Open(folder_ / "tls");
  EXPECT_EQ(mixed.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(mixed.status().message()), HasSubstr("not that of the certificate"));
}

TEST_F(CertificatesTest, AServersCertificateIsForItsNamesAndNoClients) {
  const CertificateAuthority authority = Open();
  const auto pair = authority.IssueServer({"gpu1.example", "192.0.2.7", "2001:db8::7"}, 10);
  ASSERT_TRUE(pair.ok()) << pair.status();
  EXPECT_TRUE(CheckKeyPair(*pair, authority.pem()).ok());
  for (const char* host :
       {"gpu1.example", "GPU1.example", "192.0.2.7", "2001:db8::7", "2001:db8:0:0::7"}) {
    EXPECT_TRUE(IsFor(pair->cert_pem, host)) << host;
  }
  for (const char* host : {"gpu2.example", "x.gpu1.example", "192.0.2.8", "::1", ""}) {
    EXPECT_FALSE(IsFor(pair->cert_pem, host)) << host;
  }
  EXPECT_TRUE(Suits(pair->cert_pem, X509_PURPOSE_SSL_SERVER));
  EXPECT_FALSE(Suits(pair->cert_pem, X509_PURPOSE_SSL_CLIENT));
  EXPECT_THAT(std::string(CheckKeyPair(*pair, Open("other").pem()).message()),
              HasSubstr("vouches for"));
}

TEST_F(CertificatesTest, AClientsCertificateIsNoServers) {
  const CertificateAuthority authority = Open();
  const auto pair = authority.IssueClient("launch 17", 10);
  ASSERT_TRUE(pair.ok()) << pair.status();
  EXPECT_TRUE(CheckKeyPair(*pair, authority.pem()).ok());
  EXPECT_TRUE(Suits(pair->cert_pem, X509_PURPOSE_SSL_CLIENT));
  EXPECT_FALSE(Suits(pair->cert_pem, X509_PURPOSE_SSL_SERVER));
}

TEST_F(CertificatesTest, NamesThatAreNoneAreRefusedAndReachNoExtension) {
  const CertificateAuthority authority = Open();
  for (const char* name : {"", "a,DNS:b", "a b", "*", "*.example", "a..b", ".a", "-a", "a\n",
                           "1.2.3", "1.2.3.4.5", "[::1]", "a/b", "host:7700", "\xc3\xa4"}) {
    const auto pair = authority.IssueServer({name}, 10);
    EXPECT_EQ(pair.status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
  EXPECT_FALSE(authority.IssueServer({std::string(300, 'a')}, 10).ok());
}

TEST_F(CertificatesTest, TheServersCertificateIsMadeAnewWhenItHasTo) {
  const CertificateAuthority authority = Open();
  const std::filesystem::path folder = folder_ / "tls";
  const auto first = ServerCertificate(authority, folder, {"a.example", "127.0.0.1"});
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(Mode(folder / "server-key.pem"), 0600u);
  const auto same = ServerCertificate(authority, folder, {"a.example"});
  EXPECT_EQ(same->cert_pem, first->cert_pem) << "it has that name";
  const auto more = ServerCertificate(authority, folder, {"a.example", "b.example"});
  EXPECT_NE(more->cert_pem, first->cert_pem);
  EXPECT_TRUE(IsFor(more->cert_pem, "b.example"));

  const auto ending = authority.IssueServer({"a.example"}, 100);
  Write(folder / "server.pem", ending->cert_pem);
  Write(folder / "server-key.pem", ending->key_pem);
  EXPECT_NE(ServerCertificate(authority, folder, {"a.example"})->cert_pem, ending->cert_pem);

  const CertificateAuthority other = Open("other");
  const auto foreign = ServerCertificate(other, folder, {"a.example"});
  EXPECT_TRUE(CheckKeyPair(*foreign, other.pem()).ok());

  Write(folder / "server.pem", "torn");
  EXPECT_TRUE(CheckKeyPair(*ServerCertificate(other, folder, {"a.example"}), other.pem()).ok());
}

TEST_F(CertificatesTest, WhatIsNoPairIsToldApart) {
  const CertificateAuthority authority = Open();
  const auto a = authority.IssueServer({"a"}, 10), b = authority.IssueServer({"b"}, 10);
  const auto why = [&](const KeyPair& pair) {
    return std::string(CheckKeyPair(pair, authority.pem()).message());
  };
  EXPECT_THAT(why({"", a->key_pem}), HasSubstr("found no certificate"));
  EXPECT_THAT(why({a->cert_pem, "x"}), HasSubstr("found no private key"));
  EXPECT_THAT(why({a->cert_pem, b->key_pem}), HasSubstr("not that of the certificate"));
  EXPECT_THAT(std::string(CheckKeyPair(*a, "").message()), HasSubstr("of an authority"));
}

TEST(HostNames, AreToldFromAddresses) {
  for (const char* name : {"localhost", "a", "a-b.c_d", "host.docker.internal", "1a"}) {
    EXPECT_EQ(KindOfHost(name), HostKind::kName) << name;
  }
  for (const char* address : {"127.0.0.1", "::1", "fd00::2"}) {
    EXPECT_EQ(KindOfHost(address), HostKind::kAddress) << address;
  }
}

TEST(HostNames, ThisMachineHasItsNamesAndNoneTwice) {
  const std::vector<std::string> names = OwnNames();
  for (const char* name : {"localhost", "127.0.0.1", "::1", "host.docker.internal"}) {
    EXPECT_EQ(std::ranges::count(names, name), 1) << name;
  }
  for (const std::string& name : names) EXPECT_NE(KindOfHost(name), HostKind::kNeither) << name;
}

}  // namespace
}  // namespace trainyard::coordinator
