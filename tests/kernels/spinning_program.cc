// Prints the limit that its OpenMP threads have, its argument, and what its process is called.
#include <cstdio>
#include <cstdlib>

#include "kernels/spinning.h"

int main(int argc, char** argv) {
  trainyard::kernels::LimitSpinning(argv);
  const char* limit = std::getenv("GOMP_SPINCOUNT");
  char name[32] = "";
  std::FILE* comm = std::fopen("/proc/self/comm", "r");
  if (comm == nullptr || std::fgets(name, sizeof name, comm) == nullptr) return 1;
  std::fclose(comm);
  std::printf("%s %s %s", limit == nullptr ? "none" : limit, argc > 1 ? argv[1] : "", name);
}
