// Readers return what the files hold, and say what is wrong with those that are damaged, made up or
// don't fit together: file, what was found, what was expected. None of them trusts a header's
// sizes.
#include <gtest/gtest.h>
#include <png.h>
#include <sys/stat.h>
#include <turbojpeg.h>
#include <zlib.h>

#include <cstring>
#include <filesystem>

#include "tests/worker/engine/support/examples.h"
#include "tests/worker/engine/support/faults.h"
#include "worker/engine/dataset.h"
#include "worker/engine/readers/image.h"

namespace trainyard::engine {
namespace {

std::string BigEndian(std::initializer_list<uint32_t> values) {
  std::string bytes;
  for (uint32_t value : values) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift & 255);
  }
  return bytes;
}

std::string Gzip(const std::string& bytes) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(bytes.size() + 1000, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

class IdxTest : public ::testing::Test {
 protected:
  // Three images of 2x3, pixels 0 to 17, labels 0, 1, 2.
  static std::string Pixels() {
    std::string pixels;
    for (int i = 0; i < 18; ++i) pixels += static_cast<char>(i);
    return pixels;
  }
  static std::string Images() { return BigEndian({0x803, 3, 2, 3}) + Pixels(); }
  static std::string Labels() { return BigEndian({0x801, 3}) + std::string("\0\1\2", 3); }

  Dataset Read(const std::string& images, const std::string& labels, int classes = 3) {
    WriteBytes(folder_.File("images"), images);
    WriteBytes(folder_.File("labels"), labels);
    return ReadIdx(folder_.File("images"), folder_.File("labels"), classes);
  }

  ::testing::AssertionResult Refuses(const std::string& images, const std::string& labels,
                                     std::vector<std::string> words, int classes = 3) {
    return ThrowsNaming([&] { Read(images, labels, classes); }, words);
  }

  TemporaryFolder folder_;
};

TEST_F(IdxTest, ReadsPlainAndGzip) {
  for (const auto& [images, labels] :
       {std::pair(Images(), Labels()), std::pair(Gzip(Images()), Gzip(Labels()))}) {
    const Dataset dataset = Read(images, labels);
    EXPECT_EQ(dataset.count(), 3);
    EXPECT_EQ(dataset.shape().channels, 1);
    EXPECT_EQ(dataset.shape().height, 2);
    EXPECT_EQ(dataset.shape().width, 3);
    for (int i = 0; i < 18; ++i) EXPECT_EQ(dataset.images().pixels[i], i);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(dataset.images().labels[i], i);
  }
}

TEST_F(IdxTest, EveryTruncationIsRefused) {
  for (const std::string& images : {Images(), Gzip(Images())}) {
    for (size_t size = 0; size < images.size(); ++size) {
      EXPECT_TRUE(Refuses(images.substr(0, size), Labels(), {"/images"})) << size;
    }
  }
  for (const std::string& labels : {Labels(), Gzip(Labels())}) {
    for (size_t size = 0; size < labels.size(); ++size) {
      EXPECT_TRUE(Refuses(Images(), labels.substr(0, size), {"/labels"})) << size;
    }
  }
}

TEST_F(IdxTest, GzipOfWrongCrcOrLengthIsRefused) {
  const std::string good = Gzip(Images());
  for (size_t from_end : {1, 4, 5, 8}) {
    std::string bad = good;
    bad[bad.size() - from_end] = static_cast<char>(bad[bad.size() - from_end] ^ 1);
    EXPECT_TRUE(Refuses(bad, Labels(), {"/images", "gzip data is damaged"})) << from_end;
  }
}

TEST_F(IdxTest, GiantHeaderInATinyFileIsRefusedBeforeAnythingIsAllocated) {
  const std::string giant = BigEndian({0x803, 0x7FFFFFFF, 16384, 16384}) + Pixels();
  const std::string labels = BigEndian({0x801, 0x7FFFFFFF}) + std::string("\0\1\2", 3);
  EXPECT_TRUE(Refuses(giant, labels, {"/labels", "expected 2147483647"}));
  const std::string wide = BigEndian({0x803, 3, 16384, 16384}) + Pixels();
  EXPECT_TRUE(Refuses(wide, Labels(), {"/images", "at most 18 bytes", "expected 805306368"}));
  EXPECT_TRUE(Refuses(Gzip(wide), Labels(), {"/images", "expected 805306368"}));
}

TEST_F(IdxTest, MeaninglessHeadersAreRefused) {
  EXPECT_TRUE(Refuses(BigEndian({0x802, 3, 2, 3}) + Pixels(), Labels(),
                      {"/images", "0x00000802", "0x00000803"}));
  EXPECT_TRUE(Refuses(Images(), Images(), {"/labels", "0x00000803", "0x00000801"}));
  EXPECT_TRUE(Refuses(BigEndian({0x803, 3, 0, 0}), Labels(), {"/images", "0 rows"}));
  EXPECT_TRUE(Refuses(BigEndian({0x803, 3, 2, 0}), Labels(), {"/images", "0 columns"}));
  EXPECT_TRUE(Refuses(BigEndian({0x803, 0, 2, 3}), Labels(), {"/images", "0 images"}));
  EXPECT_TRUE(Refuses(BigEndian({0x803, ~0u, 2, 3}), Labels(), {"/images", "4294967295 images"}));
}

TEST_F(IdxTest, CountsThatDisagreeAreRefused) {
  const std::string two = BigEndian({0x801, 2}) + std::string("\0\1", 2);
  EXPECT_TRUE(Refuses(Images(), two, {"/labels", "2 labels", "expected 3", "/images"}));
  EXPECT_TRUE(Refuses(Images() + "x", Labels(), {"/images", "more bytes", "3 images of 2x3"}));
  EXPECT_TRUE(Refuses(Images(), Labels() + "x", {"/labels", "more bytes"}));
}

TEST_F(IdxTest, LabelOutOfRangeIsRefusedWithItsPlace) {
  EXPECT_TRUE(Refuses(Images(), Labels(), {"/labels", "byte 10", "label 2", "0 to 1"}, 2));
}

TEST_F(IdxTest, MissingFileAndFolderAreNamed) {
  EXPECT_TRUE(ThrowsNaming([&] { ReadIdx(folder_.File("none"), folder_.File("none"), 3); },
                           {"/none", "No such file"}));
  EXPECT_TRUE(ThrowsNaming([&] { ReadIdx(folder_.path(), folder_.path(), 3); },
                           {folder_.path(), "regular file"}));
}

class CifarTest : public ::testing::Test {
 protected:
  static std::string Record(const std::string& labels, char pixel) {
    return labels + std::string(1024, pixel) + std::string(1024, pixel + 1) +
           std::string(1024, pixel + 2);
  }
  Dataset Read(const std::vector<std::string>& contents, int classes) {
    std::vector<std::string> files;
    for (const std::string& content : contents) {
      files.push_back(folder_.File("batch" + std::to_string(files.size())));
      WriteBytes(files.back(), content);
    }
    return ReadCifar(files, classes);
  }
  TemporaryFolder folder_;
};

TEST_F(CifarTest, ReadsTenClassesFromSeveralFiles) {
  const Dataset dataset = Read({Record("\3", 10) + Record("\4", 20), Gzip(Record("\5", 30))}, 10);
  ASSERT_EQ(dataset.count(), 3);
  EXPECT_EQ(dataset.images().labels[0], 3);
  EXPECT_EQ(dataset.images().labels[2], 5);
  EXPECT_EQ(dataset.images().pixels[3072 + 1024], 21);
  EXPECT_EQ(dataset.images().pixels[2 * 3072 + 2048], 32);
}

TEST_F(CifarTest, TheFineLabelCountsOfAHundredClasses) {
  const Dataset dataset = Read({Record("\1\x63", 10)}, 100);
  EXPECT_EQ(dataset.images().labels[0], 99);
  EXPECT_EQ(dataset.images().pixels[0], 10);
}

TEST_F(CifarTest, DamageIsRefused) {
  EXPECT_TRUE(
      ThrowsNaming([&] { Read({Record("\3", 1) + "x"}, 10); }, {"batch0", "3074 bytes", "3073"}));
  EXPECT_TRUE(ThrowsNaming([&] { Read({""}, 10); }, {"batch0", "0 bytes"}));
  EXPECT_TRUE(ThrowsNaming(
      [&] {
        Read({Record("\3", 1), Record("\x0A", 1)}, 10);
      },
      {"batch1", "byte 0", "label 10", "0 to 9"}));
  EXPECT_TRUE(ThrowsNaming([&] { Read({Record("\1\x64", 1)}, 100); }, {"byte 1", "label 100"}));
  EXPECT_TRUE(ThrowsNaming([&] { Read({}, 10); }, {"no files"}));
  EXPECT_TRUE(ThrowsNaming([&] { Read({Record("\1", 1)}, 7); }, {"7 classes"}));
}

// A picture with a gradient, so that a damaged or swapped one differs.
Picture Gradient(int width, int height) {
  Picture picture{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      picture.rgb.push_back(static_cast<uint8_t>(x * 255 / std::max(1, width - 1)));
      picture.rgb.push_back(static_cast<uint8_t>(y * 255 / std::max(1, height - 1)));
      picture.rgb.push_back(40);
    }
  }
  return picture;
}

std::string Png(const Picture& picture) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(picture.width);
  image.height = static_cast<png_uint_32>(picture.height);
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = 0;
  EXPECT_TRUE(png_image_write_to_memory(&image, nullptr, &size, 0, picture.rgb.data(), 0, nullptr));
  std::string out(size, '\0');
  EXPECT_TRUE(
      png_image_write_to_memory(&image, out.data(), &size, 0, picture.rgb.data(), 0, nullptr));
  out.resize(size);
  return out;
}

std::string Jpeg(const Picture& picture) {
  const tjhandle encoder = tjInitCompress();
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  EXPECT_EQ(tjCompress2(encoder, picture.rgb.data(), picture.width, 0, picture.height, TJPF_RGB,
                        &buffer, &size, TJSAMP_444, 95, 0),
            0);
  const std::string out(reinterpret_cast<char*>(buffer), size);
  tjFree(buffer);
  tjDestroy(encoder);
  return out;
}

Picture Decode(const std::string& bytes) {
  return DecodeImage({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, "picture");
}

// The PNG with other sizes in its header, CRC made to fit.
std::string WithPngSize(std::string png, uint32_t width, uint32_t height) {
  png.replace(16, 8, BigEndian({width, height}));
  const auto crc = crc32(0, reinterpret_cast<const Bytef*>(png.data() + 12), 17);
  png.replace(29, 4, BigEndian({static_cast<uint32_t>(crc)}));
  return png;
}

TEST(DecodeImage, PngComesBackExactly) {
  const Picture picture = Gradient(7, 5);
  const Picture decoded = Decode(Png(picture));
  EXPECT_EQ(decoded.width, 7);
  EXPECT_EQ(decoded.height, 5);
  EXPECT_EQ(decoded.rgb, picture.rgb);
}

TEST(DecodeImage, JpegComesBackClosely) {
  const Picture picture = Gradient(33, 20);
  const Picture decoded = Decode(Jpeg(picture));
  ASSERT_EQ(decoded.rgb.size(), picture.rgb.size());
  for (size_t i = 0; i < decoded.rgb.size(); ++i) {
    EXPECT_NEAR(decoded.rgb[i], picture.rgb[i], 12) << i;
  }
}

TEST(DecodeImage, EveryTruncationIsRefused) {
  const std::string png = Png(Gradient(9, 9));
  // The last chunk, IEND, holds nothing: without it the picture is complete.
  for (size_t size = 0; size + 12 < png.size(); ++size) {
    EXPECT_TRUE(ThrowsNaming([&] { Decode(png.substr(0, size)); }, {"picture"})) << size;
  }
  const std::string jpeg = Jpeg(Gradient(40, 40));
  // Without its last two bytes, the end marker, a JPEG is complete as well.
  for (size_t size = 0; size + 3 < jpeg.size(); ++size) {
    EXPECT_TRUE(ThrowsNaming([&] { Decode(jpeg.substr(0, size)); }, {"picture"})) << size;
  }
}

TEST(DecodeImage, PngOfWrongCrcIsRefused) {
  std::string png = Png(Gradient(9, 9));
  png[29] = static_cast<char>(png[29] ^ 1);
  EXPECT_TRUE(ThrowsNaming([&] { Decode(png); }, {"picture", "PNG", "CRC"}));
  png = Png(Gradient(9, 9));
  png[png.size() - 13] = static_cast<char>(png[png.size() - 13] ^ 1);
  EXPECT_TRUE(ThrowsNaming([&] { Decode(png); }, {"picture", "PNG"}));
}

TEST(DecodeImage, FlippedBytesNeverCrash) {
  for (const std::string& good : {Png(Gradient(12, 12)), Jpeg(Gradient(12, 12))}) {
    for (size_t i = 0; i < good.size(); ++i) {
      for (int mask : {1, 0x80, 0xFF}) {
        std::string bad = good;
        bad[i] = static_cast<char>(bad[i] ^ mask);
        try {
          const Picture picture = Decode(bad);
          EXPECT_EQ(picture.rgb.size(), size_t{3} * picture.width * picture.height);
        } catch (const kernels::Error&) {
        }
      }
    }
  }
}

TEST(DecodeImage, GiantHeaderInATinyFileIsRefused) {
  const std::string png = Png(Gradient(8, 8));
  EXPECT_TRUE(
      ThrowsNaming([&] { Decode(WithPngSize(png, 60000, 60000)); }, {"60000x60000", "16384"}));
  EXPECT_TRUE(
      ThrowsNaming([&] { Decode(WithPngSize(png, 8192, 8192)); }, {"8192x8192", "bytes can hold"}));
  std::string jpeg = Jpeg(Gradient(8, 8));
  const size_t frame = jpeg.find("\xFF\xC0");
  ASSERT_NE(frame, std::string::npos);
  jpeg.replace(frame + 5, 4, std::string("\x20\x00\x20\x00", 4));
  EXPECT_TRUE(ThrowsNaming([&] { Decode(jpeg); }, {"8192x8192", "bytes can hold"}));
  jpeg.replace(frame + 5, 4, std::string("\0\0\0\0", 4));
  EXPECT_TRUE(ThrowsNaming([&] { Decode(jpeg); }, {"picture"}));
  EXPECT_TRUE(ThrowsNaming([&] { Decode(WithPngSize(png, 0, 0)); }, {"picture"}));
}

TEST(DecodeImage, OtherFormatsAreNamedAsSuch) {
  EXPECT_TRUE(ThrowsNaming([] { Decode("GIF89a"); }, {"picture", "PNG", "JPEG"}));
  EXPECT_TRUE(ThrowsNaming([] { Decode(""); }, {"picture"}));
}

TEST(Resize, SameSizeChangesNothingAndOneColourStaysOne) {
  const Picture picture = Gradient(9, 6);
  EXPECT_EQ(Resize(picture, 9, 6).rgb, picture.rgb);
  Picture plain{10, 7, std::vector<uint8_t>(210, 77)};
  for (const auto& [width, height] : {std::pair(3, 4), std::pair(25, 31), std::pair(1, 1)}) {
    const Picture resized = Resize(plain, width, height);
    EXPECT_EQ(resized.rgb, std::vector<uint8_t>(size_t{3} * width * height, 77));
  }
}

TEST(Resize, DoublingInterpolatesBetweenPixelCentres) {
  Picture picture{2, 1, {0, 0, 0, 100, 200, 40}};
  const Picture resized = Resize(picture, 4, 1);
  const std::vector<uint8_t> expected = {0, 0, 0, 25, 50, 10, 75, 150, 30, 100, 200, 40};
  EXPECT_EQ(resized.rgb, expected);
}

TEST(Resize, ShrinkingCountsEveryPixel) {
  // A fine chessboard must become grey, not black or white.
  Picture picture{32, 32, {}};
  for (int y = 0; y < 32; ++y) {
    for (int x = 0; x < 32; ++x) picture.rgb.insert(picture.rgb.end(), 3, (x + y) % 2 ? 255 : 0);
  }
  for (uint8_t value : Resize(picture, 5, 5).rgb) EXPECT_NEAR(value, 128, 8);
}

TEST(StoreAsPlanes, SeparatesColoursAndWeighsThemForGrey) {
  const Picture picture{2, 1, {255, 0, 0, 10, 20, 30}};
  std::vector<uint8_t> planes(6), grey(2);
  StoreAsPlanes(picture, {3, 1, 2}, planes);
  EXPECT_EQ(planes, (std::vector<uint8_t>{255, 10, 0, 20, 0, 30}));
  StoreAsPlanes(picture, {1, 1, 2}, grey);
  EXPECT_EQ(grey, (std::vector<uint8_t>{76, 18}));
}

class FolderTest : public ::testing::Test {
 protected:
  void Store(const std::string& name, const std::string& bytes) {
    std::filesystem::create_directories(std::filesystem::path(folder_.File(name)).parent_path());
    WriteBytes(folder_.File(name), bytes);
  }
  TemporaryFolder folder_;
};

TEST_F(FolderTest, ReadsClassesInTheirOrderAndFilesByName) {
  Store("dog/b.PNG", Png({1, 1, {30, 30, 30}}));
  Store("dog/a.png", Png({1, 1, {20, 20, 20}}));
  Store("cat/z.jpeg", Jpeg({8, 8, std::vector<uint8_t>(192, 90)}));
  Store("cat/.hidden.png", "no picture");
  Store("cat/notes.txt", "no picture");
  const Dataset dataset = ReadFolder(folder_.path(), {"dog", "cat"}, {1, 2, 2});
  ASSERT_EQ(dataset.count(), 3);
  EXPECT_EQ(std::vector<int32_t>(dataset.images().labels.begin(), dataset.images().labels.end()),
            (std::vector<int32_t>{0, 0, 1}));
  EXPECT_EQ(dataset.images().pixels[0], 20);
  EXPECT_EQ(dataset.images().pixels[4], 30);
  EXPECT_NEAR(dataset.images().pixels[8], 90, 1);
}

TEST_F(FolderTest, ManyPicturesOnSeveralThreadsKeepTheirOrder) {
  for (int i = 0; i < 100; ++i) {
    const std::string number = std::to_string(1000 + i);
    Store("a/" + number + ".png", Png({2, 2, std::vector<uint8_t>(12, static_cast<uint8_t>(i))}));
  }
  const auto read = [&] {
    const Dataset dataset = ReadFolder(folder_.path(), {"a"}, {1, 1, 1});
    for (int i = 0; i < 100; ++i) EXPECT_EQ(dataset.images().pixels[i], i);
  };
  read();
  const WithFaults no_threads({.threads_max = 0});
  read();
}

TEST_F(FolderTest, TheFirstDamagedPictureIsNamed) {
  Store("a/1.png", Png(Gradient(4, 4)));
  for (int i = 2; i < 9; ++i) Store("a/" + std::to_string(i) + ".png", "damaged");
  for (int run = 0; run < 20; ++run) {
    EXPECT_TRUE(ThrowsNaming([&] { ReadFolder(folder_.path(), {"a"}, {1, 4, 4}); }, {"/a/2.png"}));
  }
}

TEST_F(FolderTest, MissingAndEmptyClassesAndOddChannelsAreRefused) {
  Store("a/1.png", Png(Gradient(4, 4)));
  Store("empty/readme.txt", "");
  EXPECT_TRUE(ThrowsNaming(
      [&] {
        ReadFolder(folder_.path(), {"a", "b"}, {1, 4, 4});
      },
      {"/b", "cannot be listed"}));
  EXPECT_TRUE(ThrowsNaming(
      [&] {
        ReadFolder(folder_.path(), {"a", "empty"}, {1, 4, 4});
      },
      {"/empty", "no picture"}));
  EXPECT_TRUE(ThrowsNaming([&] { ReadFolder(folder_.path(), {"a"}, {2, 4, 4}); }, {"2 channels"}));
  EXPECT_TRUE(ThrowsNaming([&] { ReadFolder(folder_.path(), {}, {1, 4, 4}); }, {"class names"}));
}

TEST(Dataset, PixelsAndLabelsMustAgree) {
  EXPECT_TRUE(ThrowsNaming(
      [] {
        Dataset({1, 2, 2}, std::vector<uint8_t>(7), {0, 1});
      },
      {"7 bytes", "2 images of 4 bytes"}));
}

}  // namespace
}  // namespace trainyard::engine
