#include <png.h>
#include <turbojpeg.h>

#include <cstring>
#include <memory>
#include <string_view>

#include "kernels/backend.h"
#include "network/shapes.h"
#include "worker/engine/readers/image.h"

namespace trainyard::engine {
namespace {

constexpr int kColours = 3;
constexpr uint8_t kPngSignature[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
constexpr uint8_t kJpegSignature[] = {0xFF, 0xD8, 0xFF};
// Pixels that one byte of file can make at best: deflate's factor times one-bit pixels; a bit for
// each block of 8x8.
constexpr int64_t kPngPixelsPerByte = 1032 * 8;
constexpr int64_t kJpegPixelsPerByte = 64 * 8;

[[noreturn]] void Fail(const std::string& path, const std::string& text) {
  throw kernels::Error(path + ": " + text);
}

// Refuses sizes that the file cannot really hold, before anything is allocated for them.
void CheckSize(const std::string& path, int64_t width, int64_t height, size_t bytes,
               int64_t pixels_per_byte) {
  const bool sides = width >= 1 && height >= 1 && width <= network::kImageSideMax &&
                     height <= network::kImageSideMax;
  if (!sides || width * height > kPixelsMax) {
    Fail(path, "found a picture of " + std::to_string(width) + "x" + std::to_string(height) +
                   ", expected sides of 1 to " + std::to_string(network::kImageSideMax) +
                   " and at most " + std::to_string(kPixelsMax) + " pixels");
  }
  if (width * height / pixels_per_byte > static_cast<int64_t>(bytes)) {
    Fail(path, "found a header for " + std::to_string(width) + "x" + std::to_string(height) +
                   " pixels, expected no more than " + std::to_string(bytes) + " bytes can hold");
  }
}

Picture DecodePng(std::span<const uint8_t> bytes, const std::string& path) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  const std::unique_ptr<png_image, void (*)(png_image*)> owner(&image, png_image_free);
  if (!png_image_begin_read_from_memory(&image, bytes.data(), bytes.size())) {
    Fail(path, std::string("found a damaged PNG file: ") + image.message);
  }
  CheckSize(path, image.width, image.height, bytes.size(), kPngPixelsPerByte);
  image.format = PNG_FORMAT_RGB;
  Picture picture{static_cast<int>(image.width), static_cast<int>(image.height), {}};
  picture.rgb.resize(static_cast<size_t>(picture.width) * picture.height * kColours);
  const png_color black{0, 0, 0};
  if (!png_image_finish_read(&image, &black, picture.rgb.data(), 0, nullptr)) {
    Fail(path, std::string("found a damaged PNG file: ") + image.message);
  }
  // Damage that libpng can live with (a CRC of a chunk it does not need) is no reason to stop.
  return picture;
}

Picture DecodeJpeg(std::span<const uint8_t> bytes, const std::string& path) {
  const std::unique_ptr<void, int (*)(tjhandle)> decoder(tjInitDecompress(), tjDestroy);
  if (decoder == nullptr) Fail(path, "no JPEG decoder: out of memory");
  const auto fail = [&] {
    Fail(path, std::string("found a damaged JPEG file: ") + tjGetErrorStr2(decoder.get()));
  };
  Picture picture;
  int subsampling = 0, colours = 0;
  if (tjDecompressHeader3(decoder.get(), bytes.data(), bytes.size(), &picture.width,
                          &picture.height, &subsampling, &colours) != 0) {
    fail();
  }
  CheckSize(path, picture.width, picture.height, bytes.size(), kJpegPixelsPerByte);
  if (colours == TJCS_CMYK || colours == TJCS_YCCK) {
    Fail(path, "found a CMYK picture, expected RGB or grey");
  }
  picture.rgb.resize(static_cast<size_t>(picture.width) * picture.height * kColours);
  if (tjDecompress2(decoder.get(), bytes.data(), bytes.size(), picture.rgb.data(), picture.width, 0,
                    picture.height, TJPF_RGB, TJFLAG_ACCURATEDCT) != 0) {
    // Stray bytes between segments are harmless and common; lost data is neither.
    const std::string_view message = tjGetErrorStr2(decoder.get());
    const bool harmless = tjGetErrorCode(decoder.get()) == TJERR_WARNING &&
                          message.find("extraneous bytes") != std::string_view::npos;
    if (!harmless) fail();
  }
  return picture;
}

template <size_t kSize>
bool StartsWith(std::span<const uint8_t> bytes, const uint8_t (&signature)[kSize]) {
  return bytes.size() >= kSize && std::memcmp(bytes.data(), signature, kSize) == 0;
}

}  // namespace

Picture DecodeImage(std::span<const uint8_t> bytes, const std::string& path) {
  if (StartsWith(bytes, kPngSignature)) return DecodePng(bytes, path);
  if (StartsWith(bytes, kJpegSignature)) return DecodeJpeg(bytes, path);
  Fail(path, "found neither the signature of a PNG nor that of a JPEG file in its first bytes");
}

}  // namespace trainyard::engine
