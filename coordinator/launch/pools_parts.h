// The sections of the pools file, for pools_file.cc.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "coordinator/launch/pools.h"
#include "coordinator/source/spec_section.h"

namespace trainyard::coordinator {

// Text that ends up in a command line or in a request to a daemon: it starts with a letter or
// digit.
struct TextForm {
  std::string_view others;    // that it may have beside letters and digits
  std::string_view expected;  // for the message
  size_t bytes_max = 255;
};

// Each leaves `out` alone where the key is absent or wrong.
void ReadForm(const Section& section, std::string_view key, const TextForm& form, std::string* out,
              SpecProblems* problems);
void ReadSize(const Section& section, std::string_view key, int64_t* out, SpecProblems* problems);
// An absolute path without `..`.
bool ReadFolder(const YamlNode& node, const std::string& path, std::string* out,
                SpecProblems* problems);
// Whether it is "host:port" or "[address]:port".
bool IsHostAndPort(std::string_view text);

Section PoolSection(const YamlNode* node, std::string path, std::string_view name,
                    SpecProblems* problems);

// pools_docker.cc; `folder` is where relative paths of files start.
DockerPool ReadDockerPool(const Section& pool, const std::filesystem::path& folder,
                          SpecProblems* problems);
// pools_slurm.cc
SlurmPool ReadSlurmPool(const Section& pool, SpecProblems* problems);

}  // namespace trainyard::coordinator
