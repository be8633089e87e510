#include "coordinator/watch/import_spec.h"

#include <algorithm>
#include <array>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/source/archive.h"
#include "coordinator/source/spec_override.h"
#include "coordinator/source/spec_reader.h"

namespace trainyard::coordinator {
namespace {

// What the program measures is how far the native logits are from Keras' own, relative L2.
constexpr char kSpec[] = R"(
program: {framework: keras}
target: val_loss <= 1e-4
tune: false
)";
constexpr std::array<const char*, 5> kEndings = {".keras", ".h5", ".hdf5", ".json", ".py"};

absl::Status Refuse(const std::string& path, const std::string& problem) {
  return absl::InvalidArgumentError(
      absl::StrCat("import: ", absl::CHexEscape(path), ": ", problem));
}

absl::Status CheckFile(const std::filesystem::path& archive, const std::string& path) {
  if (std::none_of(kEndings.begin(), kEndings.end(),
                   [&](const char* ending) { return path.ends_with(ending); })) {
    return Refuse(path,
                  absl::StrCat("expected a name that ends in ", absl::StrJoin(kEndings, ", ")));
  }
  const auto files = ListArchive(archive);
  if (!files.ok()) return files.status();
  const auto found = std::find_if(files->begin(), files->end(),
                                  [&](const ArchiveFile& file) { return file.path == path; });
  if (found == files->end() || !found->link.empty()) {
    return Refuse(path, "the source has no such file; expected a path inside of it");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<JobSpec> MakeImportSpec(const std::filesystem::path& archive,
                                       const std::string& path,
                                       const std::vector<std::string>& overrides) {
  if (absl::Status status = CheckFile(archive, path); !status.ok()) return status;
  for (const std::string& text : overrides) {
    const std::string key = OverrideKey(text);
    const std::string section = key.substr(0, key.find_first_of(".["));
    if (section == "budget" || section == "resources" || section == "name") continue;
    return absl::InvalidArgumentError(
        absl::StrCat("--set ", key, ": found '", section, "', expected budget, resources or name"));
  }
  const std::string file = path.substr(path.rfind('/') + 1);
  auto parsed = ReadSpec({kSpec, "import", overrides, absl::StrCat("import ", file)});
  if (!parsed.ok()) return parsed.status();
  v1::Program& program = parsed->spec.program;
  // A path that looks like an option is none.
  const std::string inside = path.starts_with("-") ? "./" + path : path;
  for (const char* word : {"python3", "-m", "trainyard_program.to_native"}) {
    program.add_command(word);
  }
  program.add_command(inside);
  return parsed->spec;
}

}  // namespace trainyard::coordinator
