// Data files are believed only as far as their bytes go; what is wrong is named with the file.
#include "coordinator/source/data_reader.h"

#include <gmock/gmock.h>
#include <zlib.h>

#include "tests/coordinator/source/temp_folder.h"

namespace trainyard::coordinator {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

std::string BigEndian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
          static_cast<char>(value >> 8), static_cast<char>(value)};
}

std::string IdxImages(uint32_t count, uint32_t rows, uint32_t columns) {
  return BigEndian(0x803) + BigEndian(count) + BigEndian(rows) + BigEndian(columns) +
         std::string(count * rows * columns, '\x07');
}

std::string IdxLabels(const std::string& labels) {
  return BigEndian(0x801) + BigEndian(labels.size()) + labels;
}

std::string Gzip(const std::string& bytes) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, bytes.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = bytes.size();
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = out.size();
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

class DataTest : public testing::Test {
 protected:
  v1::Data Idx(const std::string& images, const std::string& labels) {
    v1::Data data;
    data.set_format(v1::DATA_FORMAT_IDX);
    AddIdx(data.mutable_train(), "train", images, labels);
    return data;
  }
  void AddIdx(v1::DataSet* set, const std::string& name, const std::string& images,
              const std::string& labels) {
    folder_.Write(name + "-images", images);
    folder_.Write(name + "-labels", labels);
    set->add_images()->set_path(name + "-images");
    set->add_labels()->set_path(name + "-labels");
  }
  v1::Data Cifar(const std::string& bytes) {
    v1::Data data;
    data.set_format(v1::DATA_FORMAT_CIFAR);
    folder_.Write("batch.bin", bytes);
    data.mutable_train()->add_images()->set_path("batch.bin");
    return data;
  }
  v1::Data Folder(const std::string& name) {
    v1::Data data;
    data.set_format(v1::DATA_FORMAT_FOLDER);
    data.mutable_train()->add_images()->set_path(name);
    return data;
  }

  v1::Data Open(const v1::Data& data, std::vector<network::Problem>* problems) {
    return OpenData(
        data,
        [&](const v1::DataFile& file) -> absl::StatusOr<std::string> {
          return folder_ / file.path();
        },
        problems);
  }
  v1::Data Accepted(const v1::Data& data) {
    std::vector<network::Problem> problems;
    v1::Data opened = Open(data, &problems);
    for (const auto& problem : problems) ADD_FAILURE() << problem.path << ": " << problem.message;
    return opened;
  }
  std::string Refusal(const v1::Data& data) {
    std::vector<network::Problem> problems;
    Open(data, &problems);
    std::string text;
    for (const auto& problem : problems) text += problem.path + ": " + problem.message + "\n";
    return text;
  }

  TempFolder folder_;
};

TEST_F(DataTest, IdxPlainAndCompressed) {
  std::string images = IdxImages(5, 4, 6), labels = IdxLabels({0, 1, 2, 2, 1});
  for (bool zipped : {false, true}) {
    v1::Data data = Accepted(zipped ? Idx(Gzip(images), Gzip(labels)) : Idx(images, labels));
    EXPECT_EQ(data.train().count(), 5);
    EXPECT_EQ(data.classes(), 3);
    EXPECT_EQ(data.image().channels(), 1);
    EXPECT_EQ(data.image().height(), 4);
    EXPECT_EQ(data.image().width(), 6);
  }
}

TEST_F(DataTest, HashesAreNotedAndHeld) {
  v1::Data data = Idx(IdxImages(2, 1, 1), IdxLabels({0, 1}));
  folder_.Write("train-labels", IdxLabels({0, 1}));
  std::string hash = Accepted(data).train().labels(0).sha256();
  // The SHA-256 of 00000801 00000002 00 01, by sha256sum.
  EXPECT_EQ(hash, "8c50639ad7f90a8211edb1bbdfb25436fd8e2a10794b6d5e3d479d1b22c7e318");
  data.mutable_train()->mutable_labels(0)->set_sha256(hash);
  Accepted(data);
  data.mutable_train()->mutable_labels(0)->set_sha256(std::string(64, '0'));
  EXPECT_THAT(Refusal(data), HasSubstr("data.train.labels: train-labels: found the SHA-256 " +
                                       hash + ", expected 0000"));
}

TEST_F(DataTest, IdxThatIsWrong) {
  std::string images = IdxImages(2, 3, 3), labels = IdxLabels({0, 1});
  struct Case {
    std::string images, labels, message;
  };
  const Case cases[] = {
      {labels, labels,
       "data.train.images: train-images: found the magic number 0x00000801, "
       "expected 0x00000803 of an IDX file of images"},
      {images, images, "data.train.labels: train-labels: found the magic number 0x00000803"},
      {"", labels, "train-images: found its end after 0 bytes, expected a magic number"},
      {images.substr(0, 10), labels, "found its end after 10 bytes, expected rows"},
      {images.substr(0, 20), labels,
       "found 4 bytes behind the header, expected 18 (2 images of 3x3)"},
      {images + "x", labels, "found 19 bytes or more behind the header, expected 18"},
      {Gzip(images).substr(0, 30), labels, "the file is cut off"},
      {IdxImages(0, 3, 3), labels, "found 0 images, expected 1 to"},
      {IdxImages(2, 0, 3), labels, "found 0 rows, expected 1 to"},
      {BigEndian(0x803) + BigEndian(0x7FFFFFFF) + BigEndian(16'384) + BigEndian(16'384), labels,
       "found 0 bytes behind the header, expected 576460752034988032"},
      {BigEndian(0x803) + BigEndian(0xFFFFFFFF) + BigEndian(9) + BigEndian(9), labels,
       "found 4294967295 images"},
      {images, IdxLabels({0, 1, 1}), "found 3 labels, expected 2, one per image"},
      {images, IdxLabels({0, 1}).substr(0, 9), "found 1 labels behind the header, expected 2"},
      {images, IdxLabels({0, 1}) + "x", "found 3 labels behind the header, expected 2"},
      {images, IdxLabels({0, 0}), "found labels of one class only"},
  };
  for (const Case& c : cases) {
    EXPECT_THAT(Refusal(Idx(c.images, c.labels)), HasSubstr(c.message));
    folder_.Write("train-images", "");
  }
  std::string damaged = Gzip(images);
  damaged[20] ^= 0x55;
  EXPECT_THAT(Refusal(Idx(damaged, labels)), HasSubstr("train-images: "));
}

TEST_F(DataTest, BytesInPlaceOfTheFileItself) {
  std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
  EXPECT_THAT(Refusal(Idx(pointer, IdxLabels({0, 1}))), HasSubstr("Git LFS"));
}

TEST_F(DataTest, MissingFilesAndFoldersInTheirPlace) {
  v1::Data data = Idx(IdxImages(2, 1, 1), IdxLabels({0, 1}));
  data.mutable_train()->mutable_images(0)->set_path("absent");
  EXPECT_THAT(Refusal(data), HasSubstr("absent: cannot be opened: No such file"));
  data.mutable_train()->mutable_images(0)->set_path(".");
  EXPECT_THAT(Refusal(data), HasSubstr("found something other than a file"));
}

TEST_F(DataTest, SetsThatDisagree) {
  v1::Data data = Idx(IdxImages(2, 2, 2), IdxLabels({0, 1}));
  AddIdx(data.mutable_test(), "test", IdxImages(1, 2, 3), IdxLabels({1}));
  EXPECT_THAT(Refusal(data), HasSubstr("data.test.images: test-images: found images of 1x2x3, "
                                       "expected 1x2x2"));
  AddIdx(data.mutable_validation(), "val", IdxImages(1, 2, 2), IdxLabels({5}));
  EXPECT_THAT(Refusal(data), HasSubstr("data.validation.labels: val-labels: found the label 5 of "
                                       "image 0, expected 0 to 1"));
}

TEST_F(DataTest, LabelsBeyondTheClassesOfTheSpec) {
  v1::Data data = Idx(IdxImages(2, 2, 2), IdxLabels({0, 9}));
  data.set_classes(9);
  EXPECT_THAT(Refusal(data), HasSubstr("found the label 9 of image 1, expected 0 to 8"));
  data.set_classes(12);
  EXPECT_EQ(Accepted(data).classes(), 12);
}

std::string CifarRecords(int count, int label_bytes, char label) {
  std::string record(label_bytes + 3'072, '\x11');
  record[label_bytes - 1] = label;
  std::string all;
  for (int i = 0; i < count; ++i) all += record;
  return all;
}

TEST_F(DataTest, CifarByItsSize) {
  v1::Data ten = Accepted(Cifar(CifarRecords(3, 1, 9)));
  EXPECT_EQ(ten.classes(), 10);
  EXPECT_EQ(ten.train().count(), 3);
  EXPECT_EQ(ten.image().channels(), 3);
  v1::Data hundred = Accepted(Cifar(Gzip(CifarRecords(4, 2, 99))));
  EXPECT_EQ(hundred.classes(), 100);
  EXPECT_EQ(hundred.train().count(), 4);
}

TEST_F(DataTest, CifarThatIsWrong) {
  EXPECT_THAT(Refusal(Cifar(CifarRecords(2, 1, 10))),
              HasSubstr("data.train.images: batch.bin: found the label 10 of image 0"));
  EXPECT_THAT(Refusal(Cifar(std::string(5'000, 'x'))),
              HasSubstr("found 5000 bytes, expected a multiple of 3073 (CIFAR-10) or 3074"));
  EXPECT_THAT(Refusal(Cifar("")), HasSubstr("found 0 bytes"));
  v1::Data data = Cifar(CifarRecords(2, 1, 1));
  data.set_classes(100);
  EXPECT_THAT(Refusal(data), HasSubstr("found 6146 bytes, expected a multiple of 3074"));
  data.set_classes(7);
  EXPECT_THAT(Refusal(data), HasSubstr("found 7 classes, expected 10 or 100"));
  data.set_classes(10);
  data.mutable_image()->set_channels(1);
  EXPECT_THAT(Refusal(data), HasSubstr("found images of 3x32x32, expected 1x0x0"));
}

std::string Png(uint32_t width, uint32_t height, char colour) {
  return "\x89PNG\r\n\x1a\n" + BigEndian(13) + "IHDR" + BigEndian(width) + BigEndian(height) +
         std::string({8, colour, 0, 0, 0});
}

std::string Jpeg(int width, int height, char components) {
  using namespace std::string_literals;
  auto two = [](int n) { return std::string{static_cast<char>(n >> 8), static_cast<char>(n)}; };
  return "\xFF\xD8\xFF\xE0\x00\x04xx\xFF\xFF\xC0"s + two(11) + "\x08" + two(height) + two(width) +
         components + "\x01\x11\x00"s;
}

TEST_F(DataTest, AFolderPerClass) {
  folder_.Write("p/cat/2.png", "x");
  folder_.Write("p/cat/1.png", Png(7, 5, 2));
  folder_.Write("p/dog/a.JPG", "x");
  folder_.Write("p/dog/notes.txt", "x");
  folder_.Write("p/.hidden/a.png", "x");
  v1::Data data = Accepted(Folder("p"));
  EXPECT_THAT(data.class_names(), testing::ElementsAre("cat", "dog"));
  EXPECT_EQ(data.classes(), 2);
  EXPECT_EQ(data.train().count(), 3);
  EXPECT_EQ(data.image().channels(), 3);
  EXPECT_EQ(data.image().height(), 5);
  EXPECT_EQ(data.image().width(), 7);
}

TEST_F(DataTest, ClassNamesOfTheSpecGiveTheOrder) {
  folder_.Write("p/cat/1.jpg", Jpeg(30, 20, 1));
  folder_.Write("p/dog/1.jpg", Jpeg(30, 20, 1));
  v1::Data data = Folder("p");
  data.add_class_names("dog");
  data.add_class_names("cat");
  data = Accepted(data);
  EXPECT_THAT(data.class_names(), testing::ElementsAre("dog", "cat"));
  EXPECT_EQ(data.image().channels(), 1);
  EXPECT_EQ(data.image().height(), 20);
  EXPECT_EQ(data.image().width(), 30);
}

TEST_F(DataTest, FoldersThatAreWrong) {
  EXPECT_THAT(Refusal(Folder("absent")), HasSubstr("absent: cannot be listed: No such file"));
  folder_.Write("p/cat/1.png", "not a picture");
  EXPECT_THAT(Refusal(Folder("p")), HasSubstr("p: found 1 folders, expected one per class"));
  folder_.Write("p/dog/readme", "");
  EXPECT_THAT(Refusal(Folder("p")), HasSubstr("p/dog: found no picture"));
  folder_.Write("p/dog/1.png", "x");
  EXPECT_THAT(Refusal(Folder("p")), HasSubstr("p/cat/1.png: found something that is neither PNG"));
  folder_.Write("p/cat/1.png", Png(0, 5, 2));
  EXPECT_THAT(Refusal(Folder("p")), HasSubstr("p/cat/1.png: found a picture of 5x0"));
  folder_.Write("p/cat/1.png", Jpeg(30, 20, 3).substr(0, 15));
  EXPECT_THAT(Refusal(Folder("p")), HasSubstr("neither PNG nor JPEG"));
  folder_.Write("p/cat/1.png", Png(5, 5, 2));
  v1::Data data = Folder("p");
  folder_.Write("t/cat/1.png", "x");
  folder_.Write("t/cow/1.png", "x");
  data.mutable_test()->add_images()->set_path("t");
  EXPECT_THAT(Refusal(data), HasSubstr("data.test.images: t: found the class folder cow"));
}

}  // namespace
}  // namespace trainyard::coordinator
