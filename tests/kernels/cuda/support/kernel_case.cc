#include "tests/kernels/cuda/support/kernel_case.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <limits>

#include "kernels/cuda/resources.h"
#include "tests/kernels/cuda/support/schedules.h"

namespace trainyard::kernels::cuda::testing {
namespace {

using Results = std::vector<std::vector<double>>;

// captured: as a step is run, from a graph.
Results Run(const KernelCase& kernel, bool captured = false) {
  for (const KernelCase::Output& output : kernel.outputs) output.prepare();
  if (captured) {
    CheckCuda(cudaDeviceSynchronize(), kernel.name.c_str());
    const Stream stream;
    const StepGraph graph(stream, [&] { kernel.launch(stream.get()); });
    graph.Launch(stream);
    stream.Synchronize();
  } else {
    kernel.launch(nullptr);
  }
  CheckCuda(cudaDeviceSynchronize(), kernel.name.c_str());
  Results results;
  for (const KernelCase::Output& output : kernel.outputs) results.push_back(output.read());
  return results;
}

bool Same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

// How far what was found is from what was expected.
struct Deviation {
  double relative_l2 = 0;
  // Of one element: the difference, relative to the larger of what was expected there and the root
  // mean square of all that was.
  double worst = 0;
  size_t worst_at = 0;
};

// Where nothing but zero is expected, differences are not relative. Expected NaNs and infinities
// are either there or make the errors NaN and infinite.
Deviation Compare(const std::vector<double>& found, const std::vector<double>& expected) {
  const auto is_there = [&](size_t i) {
    return !std::isfinite(expected[i]) && Same(found[i], expected[i]);
  };
  double differences = 0, squares = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (is_there(i)) continue;
    differences += (found[i] - expected[i]) * (found[i] - expected[i]);
    squares += expected[i] * expected[i];
  }
  Deviation deviation;
  deviation.relative_l2 = std::sqrt(differences) / (squares > 0 ? std::sqrt(squares) : 1);
  const double usual = squares > 0 ? std::sqrt(squares / static_cast<double>(expected.size())) : 1;
  for (size_t i = 0; i < expected.size(); ++i) {
    if (is_there(i)) continue;
    const double error = std::abs(found[i] - expected[i]) / std::max(std::abs(expected[i]), usual);
    if (error <= deviation.worst) continue;
    deviation.worst = std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
    deviation.worst_at = i;
  }
  return deviation;
}

// With the digits that a tolerance needs.
std::string Text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.8g", value);
  return text;
}

std::string Element(const KernelCase::Output& output, const std::vector<double>& found, size_t i) {
  return "at " + std::to_string(i) + ": found " + Text(found[i]) + ", expected " +
         Text(output.expected[i]);
}

std::string Difference(const KernelCase::Output& output, const std::vector<double>& found) {
  if (found.size() != output.expected.size()) {
    return output.name + ": " + std::to_string(found.size()) + " elements, expected " +
           std::to_string(output.expected.size());
  }
  if (output.tolerance > 0) {
    const Deviation deviation = Compare(found, output.expected);
    const double element_tolerance = kElementTolerance * output.tolerance;
    if (deviation.relative_l2 <= output.tolerance && deviation.worst <= element_tolerance) {
      return "";
    }
    return output.name + ": error " + Text(deviation.relative_l2) + ", expected at most " +
           Text(output.tolerance) + "; of the worst element " + Text(deviation.worst) +
           ", expected at most " + Text(element_tolerance) + ", " +
           Element(output, found, deviation.worst_at);
  }
  for (size_t i = 0; i < found.size(); ++i) {
    if (!Same(found[i], output.expected[i])) return output.name + " " + Element(output, found, i);
  }
  return "";
}

// Not as numbers: zeros have signs, and NaNs more bits than that.
bool SameBits(const std::vector<double>& a, const std::vector<double>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](double x, double y) {
    return std::bit_cast<uint64_t>(x) == std::bit_cast<uint64_t>(y);
  });
}

}  // namespace

std::string Problem(const KernelCase& kernel) {
  Results first;
  for (int run = 0; run < kScheduleCount; ++run) {
    const WithSchedule schedule(run);
    const bool captured = run == kScheduleCount - 1;
    const Results results = Run(kernel, captured);
    const std::string where = kernel.name + ", schedule " + std::to_string(run) + ": ";
    for (size_t i = 0; i < results.size(); ++i) {
      const std::string difference = Difference(kernel.outputs[i], results[i]);
      if (!difference.empty()) return where + difference;
    }
    if (run == 0) first = results;
    for (size_t i = 0; i < results.size(); ++i) {
      if (SameBits(first[i], results[i])) continue;
      return where + kernel.outputs[i].name + " has other bits than in schedule 0";
    }
  }
  return "";
}

double Error(const KernelCase& kernel) {
  const Results results = Run(kernel);
  double error = 0;
  for (size_t i = 0; i < results.size(); ++i) {
    const double of_output = Compare(results[i], kernel.outputs[i].expected).relative_l2;
    if (!(of_output <= error)) error = of_output;
  }
  return error;
}

std::vector<float> Draw::Normal(int64_t count, float mean, float deviation) {
  std::normal_distribution<float> normal(mean, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random_);
  return values;
}

}  // namespace trainyard::kernels::cuda::testing
