// ReadFolder: a folder per class, pictures inside.
#include <algorithm>
#include <cctype>
#include <exception>
#include <filesystem>
#include <limits>
#include <string>
#include <system_error>
#include <utility>

#include "kernels/backend.h"
#include "worker/engine/dataset.h"
#include "worker/engine/in_threads.h"
#include "worker/engine/readers/image.h"
#include "worker/engine/readers/stream.h"

namespace trainyard::engine {
namespace {

namespace fs = std::filesystem;
using kernels::Error;

constexpr int kDecodersMax = 16;

bool IsPictureName(const fs::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension == ".png" || extension == ".jpg" || extension == ".jpeg";
}

// The pictures of one class in the order of their names' bytes. Hidden files and those of other
// kinds are left out.
std::vector<std::string> ListPictures(const fs::path& folder) {
  std::vector<std::string> paths;
  std::error_code error;
  fs::directory_iterator entry(folder, error);
  for (; !error && entry != fs::directory_iterator(); entry.increment(error)) {
    const fs::path& path = entry->path();
    if (path.filename().string().starts_with('.') || !IsPictureName(path)) continue;
    paths.push_back(path.string());
  }
  if (error) throw Error(folder.string() + ": cannot be listed: " + error.message());
  if (paths.empty()) {
    throw Error(folder.string() + ": found no picture, expected files named .png, .jpg or .jpeg");
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

void LoadPicture(const std::string& path, const kernels::ValueShape& shape,
                 std::span<uint8_t> out) {
  const std::vector<uint8_t> bytes = InputStream(path).ReadRest();
  StoreAsPlanes(DecodeImage(bytes, path), shape, out);
}

// Decodes all pictures, each into its place, on several threads. The error thrown is that of the
// first picture that has one, whichever thread found it.
void LoadPictures(const std::vector<std::string>& paths, const kernels::ValueShape& shape,
                  std::span<uint8_t> out) {
  const auto image_bytes = static_cast<size_t>(shape.size());
  const size_t count = std::min<size_t>({paths.size(), kDecodersMax, CountThreads(0)});
  std::vector<std::exception_ptr> errors(count);
  std::vector<size_t> failed(count, std::numeric_limits<size_t>::max());
  const auto work = [&](size_t worker) {
    for (size_t i = worker; i < paths.size(); i += count) {
      try {
        LoadPicture(paths[i], shape, out.subspan(i * image_bytes, image_bytes));
      } catch (...) {
        errors[worker] = std::current_exception();
        failed[worker] = i;
        return;
      }
    }
  };
  InThreads(count, work);
  const size_t first =
      static_cast<size_t>(std::min_element(failed.begin(), failed.end()) - failed.begin());
  if (errors[first]) std::rethrow_exception(errors[first]);
}

}  // namespace

Dataset ReadFolder(const std::string& folder, const std::vector<std::string>& class_names,
                   kernels::ValueShape shape) {
  if (shape.channels != 1 && shape.channels != 3) {
    throw Error(folder + ": found an input of " + std::to_string(shape.channels) +
                " channels, expected 1 (grey) or 3 (red, green, blue)");
  }
  if (shape.height < 1 || shape.width < 1) throw Error(folder + ": expected an input with pixels");
  if (class_names.empty()) throw Error(folder + ": found no class names, expected at least one");
  std::vector<std::string> paths;
  std::vector<int32_t> labels;
  for (size_t label = 0; label < class_names.size(); ++label) {
    std::vector<std::string> of_class = ListPictures(fs::path(folder) / class_names[label]);
    labels.insert(labels.end(), of_class.size(), static_cast<int32_t>(label));
    std::move(of_class.begin(), of_class.end(), std::back_inserter(paths));
  }
  std::vector<uint8_t> pixels;
  try {
    pixels.resize(paths.size() * static_cast<size_t>(shape.size()));
  } catch (const std::exception&) {
    throw Error(folder + ": " + std::to_string(paths.size()) + " pictures of " +
                std::to_string(shape.size()) + " bytes don't fit into memory");
  }
  LoadPictures(paths, shape, pixels);
  return Dataset(shape, std::move(pixels), std::move(labels));
}

}  // namespace trainyard::engine
