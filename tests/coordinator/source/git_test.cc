// Commits become snapshots, the same ones every time; repositories made to hurt are refused by
// path.
#include "coordinator/source/git.h"

#include <gmock/gmock.h>

#include <thread>

#include "tests/coordinator/source/git_sample.h"

namespace trainyard::coordinator {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;

class GitTest : public testing::Test {
 protected:
  GitOptions Options() {
    GitOptions options;
    options.cache = folder_ / "cache";
    options.allow_local = true;
    return options;
  }
  absl::StatusOr<SnapshotInfo> Snapshot(const std::string& commit, Git* git = nullptr) {
    Git own(Options());
    return (git ? git : &own)->Snapshot(repository_.path(), commit, FileSink(Tar()));
  }
  std::string Refusal(const std::string& commit, Git* git = nullptr) {
    auto info = Snapshot(commit, git);
    EXPECT_EQ(info.status().code(), StatusCode::kInvalidArgument) << info.status();
    return std::string(info.status().message());
  }
  std::string Tar() { return folder_ / "snapshot.tar"; }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    auto files = ListArchive(Tar());
    EXPECT_TRUE(files.ok()) << files.status();
    for (const ArchiveFile& file : *files) {
      names.push_back(file.path + (file.executable ? "*" : "") +
                      (file.link.empty() ? "" : " -> " + file.link));
    }
    return names;
  }

  TempFolder folder_;
  GitRepository repository_{folder_ / "repository"};
};

TEST_F(GitTest, TipOfBranchTagAndHead) {
  repository_.Write("a", "1");
  std::string first = repository_.Commit();
  repository_.Run("git tag light; git tag -a -m x heavy; git branch side");
  repository_.Write("a", "2");
  std::string second = repository_.Commit();
  Git git(Options());
  std::string url = repository_.path();
  EXPECT_EQ(*git.Tip(url, ""), second);
  EXPECT_EQ(*git.Tip(url, "main"), second);
  EXPECT_EQ(*git.Tip("file://" + url, "main"), second);
  EXPECT_EQ(*git.Tip(url, "refs/heads/side"), first);
  EXPECT_EQ(*git.Tip(url, "side"), first);
  EXPECT_EQ(*git.Tip(url, "light"), first);
  EXPECT_EQ(*git.Tip(url, "heavy"), first) << "the commit, not the tag object";
  EXPECT_EQ(git.Tip(url, "absent").status().code(), StatusCode::kNotFound);
  EXPECT_THAT(std::string(git.Tip(url, "absent").status().message()),
              HasSubstr("found no branch or tag \"absent\""));
}

TEST_F(GitTest, TipWhereThereIsNoRepository) {
  Git git(Options());
  EXPECT_EQ(git.Tip(repository_.path(), "").status().code(), StatusCode::kNotFound);
  EXPECT_THAT(std::string(git.Tip(repository_.path(), "").status().message()),
              HasSubstr("is the repository empty?"));
  EXPECT_EQ(git.Tip(folder_ / "absent", "").status().code(), StatusCode::kNotFound);
  folder_.Write("plain/file", "x");
  EXPECT_EQ(git.Tip(folder_ / "plain", "").status().code(), StatusCode::kNotFound);
}

TEST_F(GitTest, ResolvesRefsAndHashesFullAndShort) {
  repository_.Write("a", "1");
  std::string first = repository_.Commit();
  repository_.Write("a", "2");
  std::string second = repository_.Commit();
  Git git(Options());
  std::string url = repository_.path();
  EXPECT_EQ(*git.Resolve(url, ""), second);
  EXPECT_EQ(*git.Resolve(url, "main"), second);
  EXPECT_EQ(*git.Resolve(url, first), first);
  EXPECT_EQ(*git.Resolve(url, first.substr(0, 8)), first);
  EXPECT_EQ(git.Resolve(url, "0000000").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(git.Resolve(url, "absent").status().code(), StatusCode::kNotFound);
}

TEST_F(GitTest, SnapshotHoldsTheFilesOfTheCommit) {
  repository_.Write("trainyard.yaml", "name: x\n");
  repository_.Write("src/run.sh", "#!/bin/sh\n");
  repository_.Write("src/ü ñ.txt", std::string("\r\n\0bytes", 8));
  std::string deep = std::string(90, 'd') + "/" + std::string(90, 'e') + "/" + std::string(90, 'f');
  repository_.Write(deep, "deep");
  repository_.Write(std::string(150, 'n'), "");
  repository_.Run("chmod +x src/run.sh; ln -s ../trainyard.yaml src/link");
  std::string commit = repository_.Commit();
  repository_.Write("later", "not in the commit");
  auto info = Snapshot(commit);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->files, 6);
  EXPECT_EQ(info->bytes, 8 + 10 + 8 + 4);
  EXPECT_THAT(Names(), ElementsAre(deep, std::string(150, 'n'), "src/link -> ../trainyard.yaml",
                                   "src/run.sh*", "src/ü ñ.txt", "trainyard.yaml"));
  EXPECT_EQ(*ReadArchiveFile(Tar(), "src/ü ñ.txt", 100), std::string("\r\n\0bytes", 8));
  EXPECT_EQ(Shell("sha256sum < " + Tar()).substr(0, 64), info->sha256);
  // GNU tar reads it too.
  Shell("mkdir " + (folder_ / "out") + "; tar -xf " + Tar() + " -C " + (folder_ / "out"));
  EXPECT_EQ(ReadBytes(folder_ / "out/" + deep), "deep");
  EXPECT_EQ(ReadBytes(folder_ / "out/src/link"), "name: x\n");
}

TEST_F(GitTest, TheSameFilesGiveTheSameBytes) {
  repository_.Write("b", "1");
  repository_.Write("a/x", "2");
  repository_.Write("a-b", "3");
  std::string commit = repository_.Commit();
  std::string hash = Snapshot(commit)->sha256;
  std::string bytes = ReadBytes(Tar());
  GitRepository other(folder_ / "other");
  other.Write("a-b", "3");
  other.Write("b", "1");
  other.Write("a/x", "2");
  other.Run("git commit -q --allow-empty -m 'another history'");
  GitOptions options = Options();
  options.cache = folder_ / "another-cache";
  auto again = Git(options).Snapshot(other.path(), other.Commit(), FileSink(Tar()));
  EXPECT_EQ(again->sha256, hash);
  EXPECT_EQ(ReadBytes(Tar()), bytes);
}

TEST_F(GitTest, AttributesFiltersAndHooksDoNothing) {
  repository_.Write(".gitattributes", "*.txt filter=evil eol=crlf ident\n");
  repository_.Write("a.txt", "$Id$\nline\n");
  std::string commit = repository_.Commit();
  std::string trace = folder_ / "trace";
  repository_.Run("git config filter.evil.smudge 'touch " + trace +
                  "'; git config "
                  "uploadpack.packObjectsHook 'touch " +
                  trace + "'; printf '#!/bin/sh\\ntouch " + trace +
                  "\\n' > .git/hooks/post-checkout; chmod +x .git/hooks/post-checkout; cp "
                  ".git/hooks/post-checkout .git/hooks/reference-transaction");
  auto info = Snapshot(commit);
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(*ReadArchiveFile(Tar(), "a.txt", 100), "$Id$\nline\n");
  EXPECT_FALSE(std::filesystem::exists(trace));
}

TEST_F(GitTest, SubmodulesAreRefused) {
  std::string commit =
      repository_.CommitTree(GitRepository::Entry("160000", "sub", std::string(40, '1')));
  EXPECT_THAT(Refusal(commit), HasSubstr("\"sub\": found a submodule"));
}

TEST_F(GitTest, LinksThatLeaveTheTreeAreRefused) {
  for (const char* target : {"/etc/passwd", "..", "../../etc", "a/../../b", "x/.."}) {
    repository_.Run("rm -rf d; mkdir d; ln -s '" + std::string(target) + "' d/link");
    // From inside d, one level up is still the tree.
    bool stays = std::string(target) == "..";
    std::string commit = repository_.Commit();
    if (stays) {
      EXPECT_TRUE(Snapshot(commit).ok()) << target;
    } else {
      EXPECT_THAT(Refusal(commit), HasSubstr("\"d/link\": found a symbolic link to")) << target;
    }
  }
}

TEST_F(GitTest, NamesThatLeaveTheTreeOrHideAreRefused) {
  std::string blob = repository_.Blob("x");
  std::string tree = repository_.Run("printf '' | git mktree");
  for (std::string name :
       {"..", ".", ".git", ".GIT", "a/b", "/etc", "new\nline", "\x1b[2J", "\xff"}) {
    auto refused = Refusal(repository_.CommitTree(GitRepository::Entry("100644", name, blob)));
    EXPECT_THAT(refused, HasSubstr("found")) << name;
    EXPECT_EQ(refused.find('\x1b'), std::string::npos) << "terminal escapes are not passed on";
  }
  for (std::string name : {"..", ".git"}) {
    Refusal(repository_.CommitTree(GitRepository::Entry("40000", name, tree)));
  }
}

TEST_F(GitTest, TooManyAndTooLargeFilesAreRefused) {
  GitOptions options = Options();
  options.limits = {.files = 5, .file_bytes = 100, .total_bytes = 150};
  Git git(options);
  repository_.Write("large", std::string(101, 'x'));
  EXPECT_THAT(Refusal(repository_.Commit(), &git),
              HasSubstr("\"large\": found a file of 101 bytes, expected at most 100"));
  repository_.Run("rm large");
  repository_.Write("a", std::string(80, 'x'));
  repository_.Write("b", std::string(80, 'x'));
  EXPECT_THAT(Refusal(repository_.Commit(), &git),
              HasSubstr("\"b\": found more than 150 bytes in all files"));
  repository_.Run("rm a b");
  for (int i = 0; i < 6; ++i) repository_.Write("f" + std::to_string(i), "");
  EXPECT_THAT(Refusal(repository_.Commit(), &git), HasSubstr("\"f5\": found more than 5 files"));
}

// 30 trees of 10 entries each, every one naming the next ten times: 10^30 files in a few kilobytes.
TEST_F(GitTest, TreesThatNameEachOtherAreRefused) {
  for (bool empty : {false, true}) {
    std::string hash = empty ? repository_.Run("printf '' | git mktree") : repository_.Blob("x");
    std::string mode = empty ? "040000 tree" : "100644 blob";
    for (int level = 0; level < 30; ++level) {
      std::string lines;
      for (char c = '0'; c <= '9'; ++c) lines += mode + " " + hash + "\t" + c + "\n";
      std::ofstream(repository_.path() + "/.git/lines") << lines;
      hash = repository_.Run("git mktree < .git/lines");
      mode = "040000 tree";
    }
    std::string commit = repository_.Run("c=$(git commit-tree -m x " + hash +
                                         "); git update-ref refs/heads/bomb $c; echo $c");
    GitOptions options = Options();
    options.limits.files = 1'000;
    Git git(options);
    EXPECT_THAT(Refusal(commit, &git), HasSubstr("found more than 1000"));
  }
}

TEST_F(GitTest, ForcePushBetweenTipAndFetch) {
  Git git(Options());
  repository_.Write("a", "1");
  std::string old = repository_.Commit();
  EXPECT_EQ(*git.Tip(repository_.path(), "main"), old);
  repository_.Write("a", "2");
  repository_.Run(
      "git add -A; git commit -q --amend -m y; git reflog expire --expire=now --all; git "
      "gc -q --prune=now");
  auto gone = Snapshot(old, &git);
  EXPECT_EQ(gone.status().code(), StatusCode::kNotFound) << gone.status();
  EXPECT_THAT(std::string(gone.status().message()), HasSubstr("force-push"));
  EXPECT_TRUE(Snapshot(*git.Tip(repository_.path(), "main"), &git).ok());
}

TEST_F(GitTest, AMirroredCommitOutlivesAForcePush) {
  repository_.Write("a", "1");
  std::string old = repository_.Commit();
  std::string hash = Snapshot(old)->sha256;
  repository_.Write("a", "2");
  repository_.Run("git add -A; git commit -q --amend -m y");
  EXPECT_TRUE(Snapshot(repository_.Run("git rev-parse HEAD")).ok());
  EXPECT_EQ(Snapshot(old)->sha256, hash);
}

TEST_F(GitTest, ABranchThatBecomesAFolderOfBranches) {
  repository_.Write("a", "1");
  std::string first = repository_.Commit();
  repository_.Run("git branch topic");
  ASSERT_TRUE(Snapshot(first).ok());
  repository_.Write("a", "2");
  repository_.Run("git branch -D -q topic; git checkout -q -b topic/one");
  std::string second = repository_.Commit();
  EXPECT_TRUE(Snapshot(second).ok());
}

TEST_F(GitTest, ADamagedMirrorIsMadeAnew) {
  repository_.Write("a", "1");
  std::string first = repository_.Commit();
  std::string hash = Snapshot(first)->sha256;
  Shell("rm " + (folder_ / "cache/*.git/HEAD"));
  EXPECT_EQ(Snapshot(first)->sha256, hash);
  Shell("find " + (folder_ / "cache") + " -path '*objects*' -type f -exec truncate -s 5 {} +");
  auto info = Snapshot(first);
  if (!info.ok()) {  // noticed only while reading
    EXPECT_EQ(info.status().code(), StatusCode::kDataLoss) << info.status();
    info = Snapshot(first);
  }
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->sha256, hash);
}

TEST_F(GitTest, CanBeCancelled) {
  repository_.Write("a", "1");
  std::string commit = repository_.Commit();
  Git git(Options());
  auto info = git.Snapshot(repository_.path(), commit, FileSink(Tar()), [] { return true; });
  EXPECT_EQ(info.status().code(), StatusCode::kCancelled) << info.status();
}

TEST_F(GitTest, AnErrorOfTheSinkIsPassedOn) {
  repository_.Write("a", "1");
  Git git(Options());
  auto info = git.Snapshot(repository_.path(), repository_.Commit(), [](std::string_view) {
    return absl::ResourceExhaustedError("the disk is full");
  });
  EXPECT_EQ(info.status(), absl::ResourceExhaustedError("the disk is full"));
}

TEST_F(GitTest, SeveralThreadsOnOneRemote) {
  repository_.Write("a", "1");
  std::string commit = repository_.Commit();
  Git git(Options());
  std::vector<std::string> hashes(4);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < hashes.size(); ++i) {
    threads.emplace_back([&, i] {
      auto info = git.Snapshot(repository_.path(), commit, FileSink(Tar() + std::to_string(i)));
      hashes[i] = info.ok() ? info->sha256 : info.status().ToString();
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(hashes[0].size(), 64u) << hashes[0];
  for (const std::string& hash : hashes) EXPECT_EQ(hash, hashes[0]);
}

TEST_F(GitTest, ARepositoryOfAnotherUser) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give files away";
  repository_.Write("a", "1");
  std::string commit = repository_.Commit();
  Shell("chown -R 12345:12345 " + repository_.path());
  EXPECT_TRUE(Snapshot(commit).ok());
}

TEST(ParseGitUrl, LetsThroughWhatIsAllowed) {
  GitOptions options;
  options.allow_local = true;
  options.allow_private_addresses = true;
  auto kind = [&](const std::string& url) {
    auto parsed = ParseGitUrl(url, options);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    return parsed.ok() ? parsed->kind : GitUrl::Kind::kLocal;
  };
  EXPECT_EQ(kind("https://example.org/a/b.git"), GitUrl::Kind::kHttps);
  EXPECT_EQ(kind("https://example.org:8443/a"), GitUrl::Kind::kHttps);
  EXPECT_EQ(kind("ssh://git@example.org:22/a"), GitUrl::Kind::kSsh);
  EXPECT_EQ(kind("git@example.org:a/b.git"), GitUrl::Kind::kSsh);
  EXPECT_EQ(ParseGitUrl("git@example.org:a/b.git", options)->host, "example.org");
  EXPECT_EQ(kind("/srv/git/a:b.git"), GitUrl::Kind::kLocal);
  EXPECT_EQ(ParseGitUrl("file:///srv/a", options)->text, "/srv/a");
}

TEST(ParseGitUrl, RefusesTheRest) {
  GitOptions options;
  options.allow_local = true;
  options.allow_private_addresses = true;
  for (std::string url : {"",
                          "ext::sh -c id",
                          "-uhttps://x",
                          "--upload-pack=id",
                          "http://example.org/a",
                          "git://example.org/a",
                          "ftp://example.org/a",
                          "fd::7",
                          "https://",
                          "https:///a",
                          "ssh://",
                          "ssh://-oProxyCommand=id/a",
                          "-oProxyCommand=id:a",
                          "x@-oProxyCommand=id:a",
                          "relative/path",
                          "file://host/a",
                          "https://example.org/a\nb",
                          "https://user:secret@example.org/a",
                          "https://token@example.org/a",
                          "ssh://git:secret@example.org/a",
                          "https://example.org\\@127.0.0.1/a",
                          "javascript:alert(1)//"}) {
    auto parsed = ParseGitUrl(url, options);
    if (url == "javascript:alert(1)//") {  // a host of that name, by ssh
      continue;
    }
    EXPECT_EQ(parsed.status().code(), StatusCode::kInvalidArgument)
        << url << " " << parsed.status();
    EXPECT_EQ(std::string(parsed.status().message()).find("secret"), std::string::npos);
  }
  options.allow_local = false;
  EXPECT_THAT(std::string(ParseGitUrl("/srv/a", options).status().message()),
              HasSubstr("found a local path, which this coordinator does not allow"));
}

TEST(ParseGitUrl, RefusesPrivateAddresses) {
  GitOptions options;
  for (const char* host : {"127.0.0.1",
                           "localhost",
                           "LocalHost",
                           "git.localhost",
                           "10.1.2.3",
                           "172.16.0.1",
                           "172.31.255.255",
                           "192.168.1.1",
                           "169.254.169.254",
                           "0.0.0.0",
                           "100.64.0.1",
                           "224.0.0.1",
                           "255.255.255.255",
                           "2130706433",
                           "0x7f.1",
                           "[::1]",
                           "[fe80::1]",
                           "[fc00::1]",
                           "[::ffff:127.0.0.1]",
                           "[::]",
                           "[64:ff9b::7f00:1]",
                           "[2002:7f00:1::]"}) {
    for (const char* scheme : {"https://", "ssh://git@"}) {
      auto parsed = ParseGitUrl(scheme + std::string(host) + "/a", options);
      EXPECT_EQ(parsed.status().code(), StatusCode::kInvalidArgument) << host << parsed.status();
    }
  }
  for (const char* host : {"8.8.8.8", "172.32.0.1", "[2606:4700::1111]"}) {
    EXPECT_TRUE(ParseGitUrl("https://" + std::string(host) + "/a", options).ok()) << host;
  }
}

}  // namespace
}  // namespace trainyard::coordinator
