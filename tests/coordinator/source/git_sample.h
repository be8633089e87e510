// Repositories made with the git command, and snapshots of them.
#pragma once

#include <gtest/gtest.h>
#include <stdio.h>

#include <string>

#include "coordinator/source/archive.h"
#include "coordinator/source/git.h"
#include "tests/coordinator/source/temp_folder.h"

namespace trainyard::coordinator {

// Runs a shell command; returns what it printed, without the last line's end.
inline std::string Shell(const std::string& command) {
  FILE* pipe = popen(("exec 2>&1; set -e; " + command).c_str(), "r");
  EXPECT_NE(pipe, nullptr);
  std::string out;
  char buffer[4'096];
  size_t got;
  while ((got = fread(buffer, 1, sizeof buffer, pipe)) > 0) out.append(buffer, got);
  EXPECT_EQ(pclose(pipe), 0) << command << "\n" << out;
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class GitRepository {
 public:
  explicit GitRepository(std::string path) : path_(std::move(path)) {
    Shell("mkdir -p '" + path_ + "'");
    Run("git init -q -b main");
  }

  const std::string& path() const { return path_; }
  // In the repository, with nothing of this machine's configuration.
  std::string Run(const std::string& command) const {
    return Shell("cd '" + path_ +
                 "'; export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null "
                 "GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a "
                 "GIT_COMMITTER_EMAIL=a@b GIT_COMMITTER_DATE='1700000000 +0000' "
                 "GIT_AUTHOR_DATE='1700000000 +0000'; " +
                 command);
  }
  void Write(const std::string& name, const std::string& bytes) const {
    std::filesystem::path file = std::filesystem::path(path_) / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << bytes;
  }
  // Everything in the folder, committed; returns the commit.
  std::string Commit() const {
    return Run(
        "git -c core.safecrlf=false add -A -f .; git commit -q --allow-empty -m x; git rev-parse "
        "HEAD");
  }
  // A commit of a tree whose entries are written as git stores them: "100644 NAME\0<20 bytes>".
  std::string CommitTree(const std::string& tree_bytes) const {
    std::ofstream(path_ + "/.git/tree", std::ios::binary) << tree_bytes;
    return Run(
        "tree=$(git hash-object -t tree --literally -w .git/tree); "
        "c=$(git commit-tree -m x $tree); git update-ref refs/heads/odd $c; echo $c");
  }
  // A tree entry for an object by its hexadecimal name.
  static std::string Entry(const std::string& mode, const std::string& name,
                           const std::string& hash) {
    std::string entry = mode + " " + name + '\0';
    for (size_t i = 0; i < 40; i += 2) {
      entry += static_cast<char>(std::stoi(hash.substr(i, 2), nullptr, 16));
    }
    return entry;
  }
  std::string Blob(const std::string& content) const {
    return Run("printf '%s' '" + content + "' | git hash-object -w --stdin");
  }

 private:
  std::string path_;
};

// A sink that writes a file.
inline ByteSink FileSink(const std::string& path) {
  auto file = std::make_shared<std::ofstream>(path, std::ios::binary | std::ios::trunc);
  return [file](std::string_view bytes) {
    file->write(bytes.data(), bytes.size());
    file->flush();
    return *file ? absl::OkStatus() : absl::InternalError("cannot write");
  };
}

}  // namespace trainyard::coordinator
