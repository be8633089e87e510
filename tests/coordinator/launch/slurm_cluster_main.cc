// A Slurm of its own for tests in other languages: prints the path of its slurm.conf, obeys lines
// on standard input ("stop controller", "start controller"), and ends with it. Exits with 77 where
// no Slurm can run, saying why.
#include <cstdio>
#include <iostream>
#include <string>

#include "tests/coordinator/launch/slurm_cluster.h"

using trainyard::coordinator::SlurmCluster;

int main() {
  if (const std::string why = SlurmCluster::WhyNot(); !why.empty()) {
    std::fprintf(stderr, "SKIPPED: no Slurm can be started here: %s\n", why.c_str());
    return 77;
  }
  auto cluster = SlurmCluster::Start();
  if (!cluster.ok()) {
    std::fprintf(stderr, "%s\n", cluster.status().ToString().c_str());
    return 1;
  }
  std::cout << (*cluster)->environment().at("SLURM_CONF") << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    if (line == "stop controller") (*cluster)->StopController();
    if (line == "start controller") {
      if (const auto status = (*cluster)->StartController(); !status.ok()) {
        std::fprintf(stderr, "%s\n", status.ToString().c_str());
        return 1;
      }
    }
    std::cout << "done: " << line << std::endl;
  }
  return 0;
}
