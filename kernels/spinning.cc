#include "kernels/spinning.h"

#include <unistd.h>

#include <climits>
#include <cstdlib>

namespace trainyard::kernels {
namespace {

constexpr const char* kLimit = "GOMP_SPINCOUNT";
constexpr const char* kSpins = "2000";

}  // namespace

void LimitSpinning(char** argv) {
  if (std::getenv(kLimit) != nullptr || std::getenv("OMP_WAIT_POLICY") != nullptr) return;
  // By its own path: /proc/self/exe would also be what the process is then called.
  char path[PATH_MAX] = "";
  if (readlink("/proc/self/exe", path, sizeof(path) - 1) < 0) return;
  if (setenv(kLimit, kSpins, 0) == 0) execv(path, argv);
}

}  // namespace trainyard::kernels
