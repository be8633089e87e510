// Shows which URLs mean the same repository.
#include "coordinator/source/repository_key.h"

#include <gtest/gtest.h>

namespace trainyard::coordinator {
namespace {

TEST(RepositoryKey, IsTheSameHoweverTheUrlIsWritten) {
  for (const char* url :
       {"https://github.example/acme/shoes", "https://github.example/acme/shoes.git",
        "https://github.example/acme/shoes.git/", "https://GitHub.example/Acme/Shoes",
        "https://github.example:443/acme/shoes", "https://user:word@github.example/acme/shoes",
        "http://github.example/acme/shoes", "git://github.example/acme/shoes.git",
        "ssh://git@github.example/acme/shoes.git", "ssh://git@github.example:22/acme/shoes",
        "git@github.example:acme/shoes.git", "github.example:acme/shoes",
        "git@github.example:/acme/shoes"}) {
    EXPECT_EQ(RepositoryKey(url), "github.example/acme/shoes") << url;
  }
  EXPECT_EQ(RepositoryKey("https://[fd00::1]:8443/a"), RepositoryKey("ssh://git@[fd00::1]/a.git"));
  EXPECT_EQ(RepositoryKey("file:///srv/git/Shoes.git"), RepositoryKey("/srv/git/Shoes/"));
  EXPECT_EQ(RepositoryKey("/srv/shoes/.git"), RepositoryKey("/srv/shoes"));
}

TEST(RepositoryKey, TellsOthersApart) {
  const char* urls[] = {"https://github.example/acme/shoes",
                        "https://github.example/acme/shoes2",
                        "https://github.example/other/shoes",
                        "https://git.example/acme/shoes",
                        "https://github.example/a/acme/shoes",
                        "/github.example/acme/shoes",
                        "/srv/Shoes",
                        "/srv/shoes",
                        "shoes"};
  for (const char* a : urls) {
    for (const char* b : urls) EXPECT_EQ(RepositoryKey(a) == RepositoryKey(b), a == b) << a << b;
  }
}

TEST(RepositoryKey, TakesWhatIsNoUrl) {
  for (const char* text :
       {"", "/", "://", "https://", ":", "a:", "@:/", ".git", "[", "https://[/"}) {
    RepositoryKey(text);
  }
  EXPECT_EQ(RepositoryKey(""), "");
}

}  // namespace
}  // namespace trainyard::coordinator
