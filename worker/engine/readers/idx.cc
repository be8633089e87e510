// ReadIdx: the format of the MNIST family (http://yann.lecun.com/exdb/mnist), big-endian:
//   images  0x00000803, count, rows, columns, pixels
//   labels  0x00000801, count, labels
#include <string>
#include <utility>

#include "network/shapes.h"
#include "worker/engine/dataset.h"
#include "worker/engine/readers/stream.h"

namespace trainyard::engine {
namespace {

constexpr uint32_t kImagesMagic = 0x00000803;
constexpr uint32_t kLabelsMagic = 0x00000801;
constexpr uint32_t kCountMax = 0x7FFFFFFF;

std::string Hex(uint32_t value) {
  std::string text = "0x";
  for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[value >> shift & 15];
  return text;
}

void ExpectMagic(InputStream& stream, uint32_t expected, const char* what) {
  const uint32_t found = stream.ReadBigEndian32("the magic number");
  if (found == expected) return;
  stream.Fail("byte 0: found magic number " + Hex(found) + ", expected " + Hex(expected) +
              " of an IDX file of " + what);
}

// A size that stands in the header at byte `at`.
uint32_t ReadSize(InputStream& stream, int at, const char* what, uint32_t max) {
  const uint32_t size = stream.ReadBigEndian32(std::string("the number of ") + what);
  if (size < 1 || size > max) {
    stream.Fail("byte " + std::to_string(at) + ": found " + std::to_string(size) + " " + what +
                ", expected 1 to " + std::to_string(max));
  }
  return size;
}

}  // namespace

Dataset ReadIdx(const std::string& images_file, const std::string& labels_file, int classes) {
  InputStream images(images_file);
  ExpectMagic(images, kImagesMagic, "images");
  const uint32_t count = ReadSize(images, 4, "images", kCountMax);
  const uint32_t rows = ReadSize(images, 8, "rows", network::kImageSideMax);
  const uint32_t columns = ReadSize(images, 12, "columns", network::kImageSideMax);

  InputStream labels(labels_file);
  ExpectMagic(labels, kLabelsMagic, "labels");
  const uint32_t label_count = ReadSize(labels, 4, "labels", kCountMax);
  if (label_count != count) {
    labels.Fail("byte 4: found " + std::to_string(label_count) + " labels, expected " +
                std::to_string(count) + ", one for each image in " + images_file);
  }
  const std::vector<uint8_t> label_bytes = labels.ReadBytes(label_count, "labels");
  labels.ExpectEnd(std::to_string(label_count) + " labels");
  for (size_t i = 0; i < label_bytes.size(); ++i) {
    if (label_bytes[i] >= classes) {
      labels.Fail("byte " + std::to_string(8 + i) + ": found label " +
                  std::to_string(label_bytes[i]) + ", expected 0 to " +
                  std::to_string(classes - 1));
    }
  }
  std::vector<uint8_t> pixels = images.ReadBytes(uint64_t{count} * rows * columns, "pixels");
  images.ExpectEnd(std::to_string(count) + " images of " + std::to_string(rows) + "x" +
                   std::to_string(columns));
  return Dataset({1, static_cast<int>(rows), static_cast<int>(columns)}, std::move(pixels),
                 std::vector<int32_t>(label_bytes.begin(), label_bytes.end()));
}

}  // namespace trainyard::engine
