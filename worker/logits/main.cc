// trainyard-logits: computes a network's logits of given images with given weights, so that an
// import can be held against the model that it came from.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <new>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "kernels/backend.h"
#include "worker/engine/mapped_file.h"
#include "worker/logits/logits.h"

namespace {

using namespace trainyard;  // NOLINT: this is the program

constexpr int kExitError = 1;
constexpr int kExitUsage = 2;

engine::MappedFile Open(const std::string& path) {
  auto file = engine::MappedFile::Open(path);
  if (!file) throw kernels::Error(path + ": no file that can be read");
  return *std::move(file);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Computes a network's logits of given images with given weights.",
               "trainyard-logits");
  std::string network, weights, pixels, out, backend = "cpu";
  app.add_option("--network", network, "The network, as JSON of its message")->required();
  app.add_option("--weights", weights, "Its weights, safetensors")->required();
  app.add_option("--pixels", pixels, "Images: bytes, (count, channels, height, width)")->required();
  app.add_option("--logits", out, "Where to write: float32, (count, classes)")->required();
  app.add_option("--backend", backend, "What computes: cpu or reference")->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  try {
    const std::vector<float> logits =
        logits::ComputeLogits(logits::ParseNetwork(std::string(Open(network).bytes())),
                              Open(weights).bytes(), Open(pixels).bytes(), backend);
    std::ofstream file(out, std::ios::binary);
    file.write(reinterpret_cast<const char*>(logits.data()),
               static_cast<std::streamsize>(logits.size() * sizeof(float)));
    if (!file.flush()) throw kernels::Error(out + ": cannot be written");
  } catch (const kernels::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return kExitError;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "not enough memory for this network\n");
    return kExitError;
  }
  return 0;
}
