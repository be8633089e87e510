// `data` and `validation`: where images and labels lie.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "coordinator/source/spec_parts.h"
#include "network/shapes.h"

namespace trainyard::coordinator {
namespace {

using Kind = YamlNode::Kind;

constexpr size_t kFilesMax = 10'000;

bool IsHash(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// What is wrong with a path inside the repository, or nothing.
std::string PathProblem(const std::string& path) {
  if (path.find('\\') != std::string::npos) return "a path with / between folders";
  std::string_view rest = path;
  while (!rest.empty()) {
    std::string_view part = rest.substr(0, rest.find('/'));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    if (part == "..") return "a path inside the repository, without ..";
  }
  return "";
}

// "images/train.gz", "/data/train.gz", or with a hash "https://host/train.gz".
void PlaceFile(const std::string& text, const YamlNode& node, const std::string& path,
               v1::DataFile* file, SpecProblems* problems) {
  size_t scheme = text.find("://");
  if (scheme == std::string::npos && text.starts_with("/")) {
    file->set_host_path(text);
  } else if (scheme == std::string::npos) {
    std::string expected = PathProblem(text);
    if (!expected.empty())
      problems->Add(node.place, path, Describe(node) + ", expected " + expected);
    file->set_path(text);
  } else if (text.starts_with("https://")) {
    file->set_url(text);
  } else {
    problems->Add(node.place, path,
                  Describe(node) + ", expected a path, or an https:// URL with its sha256");
  }
}

class DataReader {
 public:
  DataReader(v1::Data* data, SpecProblems* problems) : data_(data), problems_(problems) {}

  // A path, or {path | url, sha256}.
  void File(const YamlNode& node, const std::string& path, v1::DataFile* file) {
    if (node.kind != Kind::kMap) {
      std::string text;
      if (!ReadText(node, path, &text, problems_)) return;
      PlaceFile(text, node, path, file, problems_);
      CheckFile(node, path, *file);
      return;
    }
    Section section(&node, path, "file", problems_);
    const YamlNode* where = section.Find("path");
    const YamlNode* url = section.Find("url");
    if ((where != nullptr) == (url != nullptr)) {
      problems_->Add(node.place, path,
                     where ? "found both path and url, expected one of them"
                           : "found neither path nor url, expected one of them");
      return;
    }
    std::string text;
    section.Text(where ? "path" : "url", &text);
    if (text.empty()) return;
    PlaceFile(text, where ? *where : *url, section.PathOf(where ? "path" : "url"), file, problems_);
    if (url != nullptr && file->url().empty() && !problems_->Has(url->place)) {
      section.Problem("url", Describe(*url) + ", expected an https:// URL");
    }
    section.Text("sha256", file->mutable_sha256());
    if (!file->sha256().empty() && !IsHash(file->sha256())) {
      section.Problem("sha256", Describe(*section.Find("sha256")) +
                                    ", expected 64 hexadecimal digits in small letters");
    }
    CheckFile(node, path, *file);
  }

  // One file, or a list of them.
  void Files(const YamlNode& node, const std::string& path,
             google::protobuf::RepeatedPtrField<v1::DataFile>* files) {
    if (node.kind != Kind::kSequence) {
      File(node, path, files->Add());
      return;
    }
    if (node.items.empty() || node.items.size() > kFilesMax) {
      problems_->Add(
          node.place, path,
          fmt::format("found a list of {} files, expected 1 to {}", node.items.size(), kFilesMax));
      return;
    }
    for (size_t i = 0; i < node.items.size(); ++i) {
      File(node.items[i], fmt::format("{}[{}]", path, i), files->Add());
    }
  }

  void Set(const YamlNode& node, const std::string& path, v1::DataSet* set) {
    bool idx = data_->format() == v1::DATA_FORMAT_IDX;
    // `train: photos/` is short for `train: {images: photos/}`; so is {url: ..., sha256: ...}.
    bool files = node.kind != Kind::kMap || node.Find("url") || node.Find("path");
    if (!idx && files) {
      Files(node, path, set->mutable_images());
    } else {
      Section section(&node, path, "set", problems_);
      if (section.Require("images", idx ? "the file of images" : "the files")) {
        Files(*section.Find("images"), section.PathOf("images"), set->mutable_images());
      }
      if (!idx && section.Find("labels")) {
        section.Problem("labels", "found labels, expected none: only format idx has them apart");
      } else if (idx && section.Require("labels", "the file of labels")) {
        Files(*section.Find("labels"), section.PathOf("labels"), set->mutable_labels());
      }
    }
    CheckCounts(node, path, *set);
  }

 private:
  void CheckFile(const YamlNode& node, const std::string& path, const v1::DataFile& file) {
    bool folder = data_->format() == v1::DATA_FORMAT_FOLDER;
    if (file.url().empty() || problems_->Has(node.place)) return;
    if (folder) {
      problems_->Add(node.place, path, "found a URL, expected a folder");
    } else if (file.sha256().empty()) {
      problems_->Add(node.place, path,
                     "found a URL without its hash, expected {url: ..., sha256: ...}");
    }
  }

  void CheckCounts(const YamlNode& node, const std::string& path, const v1::DataSet& set) {
    if (data_->format() == v1::DATA_FORMAT_CIFAR) return;
    bool idx = data_->format() == v1::DATA_FORMAT_IDX;
    int most = std::max(set.images_size(), set.labels_size());
    if (most > 1) {
      problems_->Add(node.place, path,
                     fmt::format("found {} {}, expected one", most, idx ? "files" : "folders"));
    }
  }

  v1::Data* data_;
  SpecProblems* problems_;
};

void ReadClassNames(const Section& section, v1::Data* data, SpecProblems* problems) {
  const YamlNode* node = section.Find("class_names");
  if (node == nullptr) return;
  std::string path = section.PathOf("class_names");
  if (node->kind != Kind::kSequence || node->items.size() < 2) {
    problems->Add(node->place, path, Describe(*node) + ", expected a list of two names or more");
    return;
  }
  for (size_t i = 0; i < node->items.size(); ++i) {
    std::string name;
    if (!ReadText(node->items[i], fmt::format("{}[{}]", path, i), &name, problems)) return;
    const auto& names = data->class_names();
    if (names.size() < 10'000 && std::find(names.begin(), names.end(), name) != names.end()) {
      problems->Add(node->items[i].place, fmt::format("{}[{}]", path, i),
                    "found " + Quoted(name) + " a second time, expected different names");
      return;
    }
    data->add_class_names(name);
  }
  if (data->classes() == 0) data->set_classes(data->class_names_size());
  if (data->classes() != data->class_names_size()) {
    problems->Add(node->place, path,
                  fmt::format("found {} names, expected the {} of data.classes",
                              data->class_names_size(), data->classes()));
  }
}

// "1/12", since a split is often thought of so.
bool ReadRatio(const YamlNode& node, double* out) {
  size_t slash = node.text.find('/');
  if (node.kind != Kind::kScalar || slash == std::string::npos) return false;
  int parts[2] = {};
  const char* begin = node.text.data();
  const char* end = begin + node.text.size();
  auto above = std::from_chars(begin, begin + slash, parts[0]);
  auto below = std::from_chars(begin + slash + 1, end, parts[1]);
  if (above.ec != std::errc() || above.ptr != begin + slash || below.ec != std::errc() ||
      below.ptr != end || parts[1] <= 0) {
    return false;
  }
  *out = static_cast<double>(parts[0]) / parts[1];
  return true;
}

}  // namespace

void ReadDataFile(const YamlNode& node, const std::string& path, v1::DataFile* file,
                  SpecProblems* problems) {
  v1::Data files;  // of no format: a URL needs its hash, and a folder is as good as a file
  DataReader(&files, problems).File(node, path, file);
}

void ReadImage(const YamlNode& node, const std::string& path, v1::Image* image,
               SpecProblems* problems) {
  int32_t sizes[3] = {};
  const char* names[3] = {"channels", "height", "width"};
  const int limits[3] = {network::kFiltersMax, network::kImageSideMax, network::kImageSideMax};
  if (node.kind == Kind::kSequence) {
    if (node.items.size() != 3) {
      problems->Add(node.place, path,
                    fmt::format("found a list of {}, expected [channels, height, "
                                "width]",
                                node.items.size()));
      return;
    }
    for (int i = 0; i < 3; ++i) {
      int64_t value = 0;
      ReadInteger(node.items[i], fmt::format("{}[{}]", path, i), 1, limits[i], &value, problems);
      sizes[i] = value;
    }
  } else {
    Section section(&node, path, "image", problems);
    for (int i = 0; i < 3; ++i) {
      if (section.Require(names[i], "channels, height and width")) {
        section.Integer(names[i], 1, limits[i], &sizes[i]);
      }
    }
  }
  image->set_channels(sizes[0]);
  image->set_height(sizes[1]);
  image->set_width(sizes[2]);
}

void ReadData(const Section& root, v1::Data* data, SpecProblems* problems) {
  if (!root.Require("data", "a map that says where the images are")) return;
  Section section(root.Find("data"), "data", "data", problems);
  v1::DataFormat format = v1::DATA_FORMAT_UNSPECIFIED;
  if (section.Require("format", "idx, cifar or folder")) {
    section.Word<v1::DataFormat>("format",
                                 {{"idx", v1::DATA_FORMAT_IDX},
                                  {"cifar", v1::DATA_FORMAT_CIFAR},
                                  {"folder", v1::DATA_FORMAT_FOLDER}},
                                 &format);
  }
  data->set_format(format);
  int32_t classes = 0;
  section.Integer("classes", 2, network::kClassesMax, &classes);
  data->set_classes(classes);
  ReadClassNames(section, data, problems);
  if (const YamlNode* image = section.Find("image")) {
    ReadImage(*image, "data.image", data->mutable_image(), problems);
  }
  bool train = section.Require("train", "the images to learn from");
  if (format == v1::DATA_FORMAT_UNSPECIFIED) return;
  DataReader reader(data, problems);
  if (train) reader.Set(*section.Find("train"), "data.train", data->mutable_train());
  if (const YamlNode* node = section.Find("validation")) {
    reader.Set(*node, "data.validation", data->mutable_validation());
  }
  if (const YamlNode* node = section.Find("test")) {
    reader.Set(*node, "data.test", data->mutable_test());
  }
}

void ReadValidation(const Section& root, bool own_files, v1::Validation* validation,
                    SpecProblems* problems) {
  validation->set_fraction(own_files ? 0 : kValidationFraction);
  validation->set_seed(1);
  const YamlNode* node = root.Find("validation");
  if (node == nullptr) return;
  if (own_files) {
    problems->Add(node->place, "validation",
                  "found a split beside data.validation, expected one of the two");
    return;
  }
  const YamlNode* fraction = node;  // `validation: 0.1`
  if (node->kind != Kind::kScalar) {
    Section section(node, "validation", "validation", problems);
    uint64_t seed = 1;
    section.Seed("seed", &seed);
    validation->set_seed(seed);
    fraction = section.Find("fraction");
  }
  double value = kValidationFraction;
  if (fraction == nullptr) return;
  if (!ReadRatio(*fraction, &value) &&
      !ReadReal(*fraction, "validation.fraction", &value, problems)) {
    return;
  }
  if (value <= 0 || value >= 1) {
    problems->Add(fraction->place, "validation.fraction",
                  Describe(*fraction) + ", expected a number between 0 and 1, both excluded");
  }
  validation->set_fraction(value);
}

}  // namespace trainyard::coordinator
