// A folder per class, pictures inside: what is there, without decoding any.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trainyard::coordinator {

struct ClassFolders {
  std::vector<std::string> names;  // sorted by bytes
  int64_t pictures = 0;
  std::string first_picture;       // path of the first one of the first class
  std::string first_picture_name;  // the same for people
};

// `name` is the folder as people know it. Throws DataError: no such folder, fewer than two classes,
// a class without pictures.
ClassFolders ListClassFolders(const std::string& folder, const std::string& name);

struct PictureSize {
  int channels = 0;  // 1 (grey) or 3
  int height = 0;
  int width = 0;
};

// From the header of a PNG or JPEG. Throws DataError.
PictureSize ReadPictureSize(const std::string& path, const std::string& name);

}  // namespace trainyard::coordinator
