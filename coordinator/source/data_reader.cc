#include "coordinator/source/data_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>

#include "coordinator/source/data_file.h"
#include "coordinator/source/data_folder.h"

namespace trainyard::coordinator {
namespace {

constexpr uint32_t kImagesMagic = 0x00000803;
constexpr uint32_t kLabelsMagic = 0x00000801;
constexpr int64_t kCifarPixels = 3'072;
constexpr int64_t kCifarBytesMax = int64_t{16} << 30;  // in one file, unpacked

const std::string& NameOf(const v1::DataFile& file) {
  return !file.url().empty()         ? file.url()
         : !file.host_path().empty() ? file.host_path()
                                     : file.path();
}

std::string Text(const v1::Image& image) {
  return fmt::format("{}x{}x{}", image.channels(), image.height(), image.width());
}

uint32_t ReadSize(DataStream& stream, const char* what, uint32_t max) {
  uint32_t size = stream.ReadBigEndian(what);
  if (size < 1 || size > max) {
    stream.Fail(fmt::format("found {} {}, expected 1 to {}", size, what, max));
  }
  return size;
}

void ExpectMagic(DataStream& stream, uint32_t expected, const char* what) {
  uint32_t found = stream.ReadBigEndian("a magic number");
  if (found == expected) return;
  constexpr uint32_t kVers = 0x76657273;  // "version https://git-lfs..."
  if (found == kVers) stream.Fail("found a pointer of Git LFS, expected the file itself");
  stream.Fail(fmt::format("found the magic number 0x{:08x}, expected 0x{:08x} of an IDX file of {}",
                          found, expected, what));
}

// Reads to the end: there must be `expected` more bytes, no fewer and no more.
void ExpectRest(DataStream& stream, int64_t expected, const std::string& what) {
  int64_t found = stream.Drain(expected);
  if (found == expected) return;
  stream.Fail(fmt::format("found {} bytes{} behind the header, expected {} ({})", found,
                          found > expected ? " or more" : "", expected, what));
}

// The file's path here, its hash checked and noted.
std::string LocateHashed(const LocateFile& locate, v1::DataFile* file) {
  auto local = locate(*file);
  if (!local.ok()) throw DataError(std::string(local.status().message()));
  std::string hash = HashFile(*local, NameOf(*file));
  if (!file->sha256().empty() && file->sha256() != hash) {
    throw DataError(
        fmt::format("{}: found the SHA-256 {}, expected {}", NameOf(*file), hash, file->sha256()));
  }
  file->set_sha256(hash);
  return *local;
}

class DataOpener {
 public:
  DataOpener(v1::Data* data, const LocateFile& locate, std::vector<network::Problem>* problems)
      : data_(data), locate_(locate), problems_(problems) {}

  void OpenSet(const std::string& path, v1::DataSet* set) {
    path_ = path + ".images";  // where the next error belongs
    try {
      switch (data_->format()) {
        case v1::DATA_FORMAT_IDX:
          OpenIdx(path, set);
          break;
        case v1::DATA_FORMAT_CIFAR:
          OpenCifar(set);
          break;
        default:
          OpenFolder(set);
      }
    } catch (const DataError& error) {
      problems_->push_back({path_, error.what()});
    }
  }

 private:
  std::string Locate(v1::DataFile* file) { return LocateHashed(locate_, file); }

  void SetImage(int channels, int height, int width, const std::string& name) {
    v1::Image image;
    image.set_channels(channels);
    image.set_height(height);
    image.set_width(width);
    if (!data_->has_image()) *data_->mutable_image() = image;
    if (Text(image) != Text(data_->image())) {
      throw DataError(fmt::format("{}: found images of {}, expected {}", name, Text(image),
                                  Text(data_->image())));
    }
  }

  void OpenIdx(const std::string& path, v1::DataSet* set) {
    v1::DataFile* images = set->mutable_images(0);
    DataStream stream(Locate(images), NameOf(*images));
    ExpectMagic(stream, kImagesMagic, "images");
    int64_t count = ReadSize(stream, "images", INT32_MAX);
    int64_t rows = ReadSize(stream, "rows", network::kImageSideMax);
    int64_t columns = ReadSize(stream, "columns", network::kImageSideMax);
    ExpectRest(stream, count * rows * columns,
               fmt::format("{} images of {}x{}", count, rows, columns));
    SetImage(1, rows, columns, NameOf(*images));
    path_ = path + ".labels";
    OpenIdxLabels(set->mutable_labels(0), count);
    set->set_count(count);
  }

  void OpenIdxLabels(v1::DataFile* file, int64_t images) {
    DataStream stream(Locate(file), NameOf(*file));
    ExpectMagic(stream, kLabelsMagic, "labels");
    int64_t count = ReadSize(stream, "labels", INT32_MAX);
    if (count != images) {
      stream.Fail(fmt::format("found {} labels, expected {}, one per image", count, images));
    }
    std::vector<unsigned char> buffer(64 << 10);
    int64_t seen = 0;
    int most = 0;
    size_t got;
    while ((got = stream.Read(buffer.data(), buffer.size())) > 0) {
      for (size_t i = 0; i < got; ++i) CheckLabel(stream, buffer[i], seen + i, &most);
      seen += got;
    }
    if (seen != count) {
      stream.Fail(fmt::format("found {} labels behind the header, expected {}", seen, count));
    }
    LearnClasses(stream, most + 1);
  }

  void CheckLabel(const DataStream& stream, int label, int64_t position, int* most) {
    *most = std::max(*most, label);
    if (data_->classes() == 0 || label < data_->classes()) return;
    stream.Fail(fmt::format("found the label {} of image {}, expected 0 to {}", label, position,
                            data_->classes() - 1));
  }

  // The training set, which comes first, says how many classes there are where the spec does not.
  void LearnClasses(const DataStream& stream, int classes) {
    if (data_->classes() != 0) return;
    if (classes < 2) stream.Fail("found labels of one class only, expected two or more");
    data_->set_classes(classes);
  }

  void OpenCifar(v1::DataSet* set) {
    int64_t count = 0;
    for (v1::DataFile& file : *set->mutable_images()) {
      std::string local = Locate(&file);
      int64_t bytes = DataStream(local, NameOf(file)).Drain(kCifarBytesMax);
      DataStream stream(local, NameOf(file));
      int label_bytes = CifarLabelBytes(stream, bytes);
      CheckCifarLabels(stream, label_bytes);
      count += bytes / (kCifarPixels + label_bytes);
    }
    SetImage(3, 32, 32, NameOf(set->images(0)));
    set->set_count(count);
  }

  // 1 for CIFAR-10, 2 for CIFAR-100 (coarse, then fine), by the spec's classes or the file's size.
  int CifarLabelBytes(const DataStream& stream, int64_t bytes) {
    bool ten = bytes > 0 && bytes % (kCifarPixels + 1) == 0;
    bool hundred = bytes > 0 && bytes % (kCifarPixels + 2) == 0;
    if (data_->classes() == 0 && ten != hundred) data_->set_classes(ten ? 10 : 100);
    if (data_->classes() == 10 && ten) return 1;
    if (data_->classes() == 100 && hundred) return 2;
    if (data_->classes() == 0 && ten) {
      stream.Fail(
          "found a size that fits both CIFAR-10 and CIFAR-100, expected data.classes to say "
          "which it is (10 or 100)");
    }
    if (data_->classes() != 0 && data_->classes() != 10 && data_->classes() != 100) {
      stream.Fail(
          fmt::format("found {} classes, expected 10 or 100 for format cifar", data_->classes()));
    }
    stream.Fail(fmt::format("found {} bytes, expected a multiple of {}", bytes,
                            data_->classes() == 10    ? "3073 (CIFAR-10)"
                            : data_->classes() == 100 ? "3074 (CIFAR-100)"
                                                      : "3073 (CIFAR-10) or 3074 (CIFAR-100)"));
  }

  void CheckCifarLabels(DataStream& stream, int label_bytes) {
    std::vector<unsigned char> record(kCifarPixels + label_bytes);
    int most = 0;
    for (int64_t i = 0; stream.Read(record.data(), record.size()) == record.size(); ++i) {
      CheckLabel(stream, record[label_bytes - 1], i, &most);
    }
  }

  void OpenFolder(v1::DataSet* set) {
    const v1::DataFile& file = set->images(0);
    auto local = locate_(file);
    if (!local.ok()) throw DataError(std::string(local.status().message()));
    ClassFolders found = ListClassFolders(*local, NameOf(file));
    if (data_->class_names().empty()) {
      for (const std::string& name : found.names) data_->add_class_names(name);
      data_->set_classes(data_->class_names_size());
    }
    // In the spec's order or sorted, they must be the same names.
    std::set<std::string> expected(data_->class_names().begin(), data_->class_names().end());
    for (const std::string& name : found.names) {
      if (expected.erase(name) == 0) {
        throw DataError(
            fmt::format("{}: found the class folder {}, expected only those of the "
                        "training set or of data.class_names",
                        NameOf(file), name));
      }
    }
    if (!expected.empty()) {
      throw DataError(fmt::format("{}: found no folder for the class {}, expected one",
                                  NameOf(file), *expected.begin()));
    }
    if (!data_->has_image()) {
      PictureSize size = ReadPictureSize(found.first_picture, found.first_picture_name);
      SetImage(size.channels, size.height, size.width, NameOf(file));
    }
    int channels = data_->image().channels();
    if (channels != 1 && channels != 3) {
      throw DataError(
          fmt::format("{}: found data.image with {} channels, expected 1 (grey) or 3 "
                      "(red, green, blue)",
                      NameOf(file), channels));
    }
    set->set_count(found.pictures);
  }

  v1::Data* data_;
  const LocateFile& locate_;
  std::vector<network::Problem>* problems_;
  std::string path_;
};

}  // namespace

v1::Data OpenData(const v1::Data& data, const LocateFile& locate,
                  std::vector<network::Problem>* problems) {
  v1::Data opened = data;
  DataOpener opener(&opened, locate, problems);
  opener.OpenSet("data.train", opened.mutable_train());
  if (data.has_validation()) opener.OpenSet("data.validation", opened.mutable_validation());
  if (data.has_test()) opener.OpenSet("data.test", opened.mutable_test());
  return opened;
}

void OpenFile(const std::string& path, const LocateFile& locate, v1::DataFile* file,
              std::vector<network::Problem>* problems) {
  try {
    LocateHashed(locate, file);
  } catch (const DataError& error) {
    problems->push_back({path, error.what()});
  }
}

}  // namespace trainyard::coordinator
