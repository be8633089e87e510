#include "tests/worker/engine/support/raw_dataset.h"

#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

namespace trainyard::engine {
namespace {

template <typename T>
std::vector<T> ReadValues(const std::string& path) {
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  std::vector<T> values(error ? 0 : bytes / sizeof(T));
  file.read(reinterpret_cast<char*>(values.data()),
            static_cast<std::streamsize>(values.size() * sizeof(T)));
  if (error || !file) throw kernels::Error(path + " cannot be read");
  return values;
}

}  // namespace

Dataset ReadRaw(const std::string& pixels_file, const std::string& labels_file,
                const network::Network& network) {
  std::vector<uint8_t> pixels = ReadValues<uint8_t>(pixels_file);
  std::vector<int32_t> labels = ReadValues<int32_t>(labels_file);
  const auto expected = labels.size() * static_cast<size_t>(network.input.size());
  if (pixels.size() != expected) {
    throw kernels::Error(pixels_file + ": found " + std::to_string(pixels.size()) +
                         " bytes, expected " + std::to_string(expected) + " for " +
                         std::to_string(labels.size()) + " labels");
  }
  for (int32_t label : labels) {
    if (label < 0 || label >= network.classes) {
      throw kernels::Error(labels_file + ": found the label " + std::to_string(label) +
                           ", expected 0 to " + std::to_string(network.classes - 1));
    }
  }
  return Dataset({network.input.channels, network.input.height, network.input.width},
                 std::move(pixels), std::move(labels));
}

}  // namespace trainyard::engine
