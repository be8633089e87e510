// What each kernel reaches on this device: its error, its time, and the share of what the device
// can do at most, measured in the same run.
//   kernels_device_table FOLDER [--small|--peaks]
// Writes device_table.md and device_table.json into FOLDER; exits 1 where a kernel is wrong.
// --small: a few small shapes, for the emulated machine, where no time means anything.
// --peaks: only what the device can do, into peaks.json.
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/kernels/cuda/cases/augment_batch.h"
#include "tests/kernels/cuda/cases/batch_norm.h"
#include "tests/kernels/cuda/cases/conv.h"
#include "tests/kernels/cuda/cases/depthwise_conv.h"
#include "tests/kernels/cuda/cases/dropout.h"
#include "tests/kernels/cuda/cases/elementwise.h"
#include "tests/kernels/cuda/cases/first_conv.h"
#include "tests/kernels/cuda/cases/loss.h"
#include "tests/kernels/cuda/cases/optimizer.h"
#include "tests/kernels/cuda/cases/pool.h"
#include "tests/kernels/cuda/cases/step_ends.h"
#include "tests/kernels/cuda/support/kernel_case.h"
#include "tests/kernels/cuda/support/peaks.h"
#include "tests/kernels/cuda/support/timing.h"

namespace trainyard::kernels::cuda::testing {
namespace {

using Cases = std::vector<KernelCase>;

// One family at a time, so that only its memory is taken.
const std::vector<Cases (*)()> kFamilies = {
    AugmentBatchTableCases, FirstConvTableCases,   ConvTableCases,     DepthwiseTableCases,
    BatchNormTableCases,    ElementwiseTableCases, PoolTableCases,     DropoutTableCases,
    LossTableCases,         OptimizerTableCases,   StepEndsTableCases,
};

Cases SmallCases() {
  return {ActivationForwardCase<float>(4097, {true, 0.125f}, false, 1),
          ActivationForwardCase<bf16>(4096, {true, 0}, false, 2)};
}

struct Row {
  std::string kernel, problem;
  double error = 0, seconds = 0, bytes = 0, flops = 0;
  double memory_share = 0, arithmetic_share = 0;  // of the peaks
  bool in_l2 = false;  // much of it, from replay to replay: memory_share flatters

  std::string Bound() const { return memory_share >= arithmetic_share ? "memory" : "arithmetic"; }
};

std::string Format(const char* format, ...) {
  char text[1000];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return text;
}

double Share(double amount, double seconds, double peak) {
  return seconds > 0 && peak > 0 ? amount / seconds / peak : 0;
}

Row Measure(const KernelCase& kernel, const Device& device, const Peaks& peaks) {
  Row row;
  row.kernel = kernel.name;
  try {
    row.problem = Problem(kernel);
    row.error = Error(kernel);
    row.seconds = SecondsPerLaunch(kernel.launch);
  } catch (const std::exception& error) {
    row.problem = kernel.name + ": " + error.what();
  }
  row.bytes = kernel.bytes;
  row.flops = kernel.flops;
  row.memory_share = Share(kernel.bytes, row.seconds, peaks.bytes_per_second);
  row.arithmetic_share = Share(kernel.flops, row.seconds, peaks.Flops(kernel.arithmetic));
  row.in_l2 = kernel.bytes < 4.0 * static_cast<double>(device.l2_bytes);
  return row;
}

std::string Heading(const Device& device, const Peaks& peaks) {
  if (kEmulated) return device.name + ": errors are real, times are not\n";
  return Format("%s: copies %.0f GB/s, fp32 %.1f TFLOP/s, mma tf32 %.0f, mma bf16 %.0f\n",
                device.name.c_str(), peaks.bytes_per_second * 1e-9, peaks.fp32 * 1e-12,
                peaks.tf32 * 1e-12, peaks.bf16 * 1e-12);
}

const char kColumns[] =
    "| kernel | error | us | GB/s | of copy | TFLOP/s | of FMA or mma | bound |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |\n";

std::string MarkdownRow(const Row& row) {
  const std::string start = Format("| %s | %.1e | ", row.kernel.c_str(), row.error);
  if (kEmulated) return start + "emulated | | | | | |\n";
  if (row.seconds == 0) return start + "not timed | | | | | |\n";
  const double per_second = 1 / row.seconds;
  return start + Format("%.1f | %.0f | %.0f%%%s | %.2f | %.0f%% | %s |\n", row.seconds * 1e6,
                        row.bytes * per_second * 1e-9, row.memory_share * 100,
                        row.in_l2 ? " (L2 helps)" : "", row.flops * per_second * 1e-12,
                        row.arithmetic_share * 100, row.Bound().c_str());
}

std::string JsonRow(const Row& row) {
  // A kernel's error can be NaN, which JSON lacks.
  const std::string error = row.error == row.error ? Format("%.3e", row.error) : "null";
  std::string json =
      Format(R"({"kernel": "%s", "right": %s, "error": %s, "bytes": %.0f, )", row.kernel.c_str(),
             row.problem.empty() ? "true" : "false", error.c_str(), row.bytes);
  json += Format(R"("flops": %.0f)", row.flops);
  if (!kEmulated) {
    json += Format(R"(, "seconds": %.4e, "share_of_copy": %.4f, "share_of_arithmetic": %.4f)",
                   row.seconds, row.memory_share, row.arithmetic_share);
    json += Format(R"(, "l2_helps": %s, "bound": "%s")", row.in_l2 ? "true" : "false",
                   row.Bound().c_str());
  }
  return json + "}";
}

std::string Json(const Device& device, const Peaks& peaks, const std::vector<Row>& rows) {
  std::string json = Format("{\n\"device\": \"%s\", \"emulated\": %s,\n", device.name.c_str(),
                            kEmulated ? "true" : "false");
  if (!kEmulated) {
    json += Format(R"("copy_bytes_per_second": %.4e, "fp32_flops": %.4e, )", peaks.bytes_per_second,
                   peaks.fp32);
    json += Format("\"mma_tf32_flops\": %.4e, \"mma_bf16_flops\": %.4e,\n", peaks.tf32, peaks.bf16);
  }
  json += "\"kernels\": [\n";
  for (size_t i = 0; i < rows.size(); ++i)
    json += "  " + JsonRow(rows[i]) + (i + 1 < rows.size() ? ",\n" : "\n");
  return json + "]\n}\n";
}

void Write(const std::filesystem::path& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path.string());
}

void WritePeaks(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  const Device device = DescribeDevice();
  const Peaks peaks = MeasurePeaks(kEmulated);
  std::printf("%s", Heading(device, peaks).c_str());
  Write(folder / "peaks.json", Json(device, peaks, {}));
}

int Main(const std::filesystem::path& folder, bool small) {
  std::filesystem::create_directories(folder);
  const Device device = DescribeDevice();
  const Peaks peaks = MeasurePeaks(small);
  std::string markdown = Heading(device, peaks) + "\n" + kColumns;
  std::printf("%s", markdown.c_str());
  std::vector<Row> rows;
  int wrong = 0;
  // All rows so far: whatever ends the program early leaves those.
  auto write = [&] {
    Write(folder / "device_table.md", markdown);
    Write(folder / "device_table.json", Json(device, peaks, rows));
  };
  auto measure = [&](const Cases& cases) {
    for (const KernelCase& kernel : cases) {
      rows.push_back(Measure(kernel, device, peaks));
      const std::string line = MarkdownRow(rows.back());
      markdown += line;
      std::printf("%s", line.c_str());
      std::fflush(stdout);
      if (rows.back().problem.empty()) continue;
      ++wrong;
      std::fprintf(stderr, "wrong: %s\n", rows.back().problem.c_str());
    }
    write();
  };
  if (small) {
    measure(SmallCases());
  } else {
    for (const auto& family : kFamilies) measure(family());
  }
  if (wrong > 0) std::fprintf(stderr, "%d of %zu kernels are wrong\n", wrong, rows.size());
  return wrong > 0 ? 1 : 0;
}

}  // namespace
}  // namespace trainyard::kernels::cuda::testing

int main(int argc, char** argv) {
  const bool small = argc == 3 && std::strcmp(argv[2], "--small") == 0;
  const bool peaks = argc == 3 && std::strcmp(argv[2], "--peaks") == 0;
  if (argc != 2 && !small && !peaks) {
    std::fprintf(stderr, "usage: kernels_device_table FOLDER [--small|--peaks]\n");
    return 2;
  }
  try {
    if (peaks) {
      trainyard::kernels::cuda::testing::WritePeaks(argv[1]);
      return 0;
    }
    return trainyard::kernels::cuda::testing::Main(argv[1], small);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
