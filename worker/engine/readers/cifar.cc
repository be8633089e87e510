// ReadCifar: the binary form of https://www.cs.toronto.edu/~kriz/cifar.html.
#include <string>
#include <utility>

#include "kernels/backend.h"
#include "worker/engine/dataset.h"
#include "worker/engine/readers/stream.h"

namespace trainyard::engine {
namespace {

constexpr kernels::ValueShape kShape{3, 32, 32};
constexpr size_t kImageBytes = 3 * 32 * 32;

void AppendFile(const std::string& path, int classes, std::vector<uint8_t>* pixels,
                std::vector<int32_t>* labels) {
  const size_t label_bytes = classes == 100 ? 2 : 1;
  const size_t record_bytes = label_bytes + kImageBytes;
  InputStream stream(path);
  const std::vector<uint8_t> bytes = stream.ReadRest();
  if (bytes.empty() || bytes.size() % record_bytes != 0) {
    stream.Fail("found " + std::to_string(bytes.size()) + " bytes, expected a multiple of the " +
                std::to_string(record_bytes) + " bytes of a CIFAR-" + std::to_string(classes) +
                " record");
  }
  pixels->reserve(pixels->size() + bytes.size() / record_bytes * kImageBytes);
  for (size_t at = 0; at < bytes.size(); at += record_bytes) {
    const size_t label_at = at + label_bytes - 1;
    if (bytes[label_at] >= classes) {
      stream.Fail("byte " + std::to_string(label_at) + ": found label " +
                  std::to_string(bytes[label_at]) + ", expected 0 to " +
                  std::to_string(classes - 1));
    }
    labels->push_back(bytes[label_at]);
    const auto image = bytes.begin() + static_cast<ptrdiff_t>(at + label_bytes);
    pixels->insert(pixels->end(), image, image + kImageBytes);
  }
}

}  // namespace

Dataset ReadCifar(const std::vector<std::string>& files, int classes) {
  if (classes != 10 && classes != 100) {
    throw kernels::Error("CIFAR: found " + std::to_string(classes) +
                         " classes, expected 10 or 100");
  }
  if (files.empty()) throw kernels::Error("CIFAR: found no files, expected at least one");
  std::vector<uint8_t> pixels;
  std::vector<int32_t> labels;
  for (const std::string& file : files) AppendFile(file, classes, &pixels, &labels);
  return Dataset(kShape, std::move(pixels), std::move(labels));
}

}  // namespace trainyard::engine
