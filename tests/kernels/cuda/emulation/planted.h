// Kernels with one mistake each, and the same kernels without it.
#pragma once

#include <string>
#include <vector>

namespace trainyard::kernels::cuda::testing {

struct Planted {
  std::string name;
  // Runs the kernel, with the mistake or without; gives what it wrote.
  std::vector<float> (*run)(bool wrong);
  std::vector<float> expected;
};

const std::vector<Planted>& AllPlanted();
const Planted& FindPlanted(const std::string& name);

}  // namespace trainyard::kernels::cuda::testing
