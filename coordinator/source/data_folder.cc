#include "coordinator/source/data_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "coordinator/source/data_file.h"
#include "network/shapes.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr size_t kClassesMax = 100'000;

bool IsPicture(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; });
  return extension == ".png" || extension == ".jpg" || extension == ".jpeg";
}

bool IsHidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

// Calls visit(entry) for every entry that is not hidden.
template <class Visit>
void ForEach(const fs::path& folder, const std::string& name, const Visit& visit) {
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    if (!IsHidden(entry->path())) visit(*entry);
  }
  if (error) throw DataError(name + ": cannot be listed: " + error.message());
}

}  // namespace

ClassFolders ListClassFolders(const std::string& folder, const std::string& name) {
  ClassFolders found;
  ForEach(folder, name, [&](const fs::directory_entry& entry) {
    std::error_code ignored;
    if (!entry.is_directory(ignored)) return;
    found.names.push_back(entry.path().filename().string());
    if (found.names.size() > kClassesMax) {
      throw DataError(
          fmt::format("{}: found more than {} folders, expected fewer classes", name, kClassesMax));
    }
  });
  if (found.names.size() < 2) {
    throw DataError(fmt::format("{}: found {} folders, expected one per class, two or more", name,
                                found.names.size()));
  }
  std::sort(found.names.begin(), found.names.end());
  for (const std::string& label : found.names) {
    fs::path class_folder = fs::path(folder) / label;
    std::string first;
    int64_t before = found.pictures;
    ForEach(class_folder, name + "/" + label, [&](const fs::directory_entry& entry) {
      if (!IsPicture(entry.path())) return;
      ++found.pictures;
      std::string file = entry.path().filename().string();
      if (first.empty() || file < first) first = file;
    });
    if (found.pictures == before) {
      throw DataError(
          fmt::format("{}/{}: found no picture, expected files named .png, .jpg or "
                      ".jpeg",
                      name, label));
    }
    if (found.first_picture.empty()) {
      found.first_picture = (class_folder / first).string();
      found.first_picture_name = name + "/" + label + "/" + first;
    }
  }
  return found;
}

namespace {

[[noreturn]] void NoPicture(const std::string& name) {
  throw DataError(name + ": found something that is neither PNG nor JPEG, expected one of them");
}

PictureSize Checked(PictureSize size, const std::string& name) {
  int most = network::kImageSideMax;
  if (size.height < 1 || size.width < 1 || size.height > most || size.width > most) {
    throw DataError(fmt::format("{}: found a picture of {}x{}, expected sides of 1 to {}", name,
                                size.height, size.width, most));
  }
  return size;
}

// Behind the signature: length, "IHDR", width, height, depth, colour type.
PictureSize ReadPng(DataStream& stream, const std::string& name) {
  unsigned char rest[10];
  stream.ReadBigEndian("a PNG header");
  if (stream.ReadBigEndian("a PNG header") != 0x49484452) NoPicture(name);
  uint32_t width = stream.ReadBigEndian("its width");
  uint32_t height = stream.ReadBigEndian("its height");
  if (stream.Read(rest, 2) != 2) NoPicture(name);
  bool grey = rest[1] == 0 || rest[1] == 4;
  auto clamp = [](uint32_t side) { return static_cast<int>(std::min<uint32_t>(side, INT32_MAX)); };
  return Checked({grey ? 1 : 3, clamp(height), clamp(width)}, name);
}

// Segments until a start of frame: FF Cx, length, depth, height, width, components.
PictureSize ReadJpeg(DataStream& stream, const std::string& name) {
  std::vector<unsigned char> segment(1 << 16);
  for (;;) {
    unsigned char head[4];
    if (stream.Read(head, 2) != 2 || head[0] != 0xFF) NoPicture(name);
    while (head[1] == 0xFF) {  // fill bytes
      if (stream.Read(head + 1, 1) != 1) NoPicture(name);
    }
    if (stream.Read(head + 2, 2) != 2) NoPicture(name);
    size_t length = head[2] << 8 | head[3];
    if (length < 2 || stream.Read(segment.data(), length - 2) != length - 2) NoPicture(name);
    int marker = head[1];
    bool frame =
        marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (!frame) continue;
    if (length < 8) NoPicture(name);
    return Checked(
        {segment[5] == 1 ? 1 : 3, segment[1] << 8 | segment[2], segment[3] << 8 | segment[4]},
        name);
  }
}

}  // namespace

PictureSize ReadPictureSize(const std::string& path, const std::string& name) {
  DataStream stream(path, name);
  unsigned char signature[8];
  if (stream.Read(signature, 2) != 2) NoPicture(name);
  if (signature[0] == 0xFF && signature[1] == 0xD8) return ReadJpeg(stream, name);
  if (stream.Read(signature + 2, 6) != 6 || std::memcmp(signature, "\x89PNG\r\n\x1a\n", 8) != 0) {
    NoPicture(name);
  }
  return ReadPng(stream, name);
}

}  // namespace trainyard::coordinator
