#include "coordinator/source/data_roots.h"

#include <fmt/format.h>

#include <algorithm>

#include "coordinator/source/yaml_tree.h"

namespace trainyard::coordinator {
namespace {

namespace fs = std::filesystem;

bool IsBelow(const fs::path& path, const fs::path& root) {
  auto [end, ignored] = std::mismatch(root.begin(), root.end(), path.begin(), path.end());
  return end == root.end();
}

absl::Status Refuse(const std::string& host_path, const std::vector<std::string>& roots) {
  std::string list;
  for (const std::string& root : roots) list += (list.empty() ? "" : ", ") + root;
  return absl::InvalidArgumentError(
      fmt::format("{}: found a path outside the allowed data roots, expected one below {}",
                  Quoted(host_path), list.empty() ? "a root, of which none is configured" : list));
}

}  // namespace

absl::StatusOr<fs::path> ResolveHostPath(const std::string& host_path,
                                         const std::vector<std::string>& roots) {
  fs::path written = fs::path(host_path).lexically_normal();
  if (!written.is_absolute()) return Refuse(host_path, roots);
  std::error_code error;
  bool named = false;  // below a root as written
  fs::path real = fs::canonical(host_path, error);
  bool exists = !error;
  for (const std::string& root : roots) {
    if (root.empty() || root[0] != '/') continue;
    fs::path real_root = fs::canonical(root, error);
    if (error) continue;
    if (exists && IsBelow(real, real_root)) return real;
    named = named || IsBelow(written, (fs::path(root) / "").lexically_normal().parent_path()) ||
            IsBelow(written, real_root);
  }
  // Whether something exists outside the roots is nobody's business.
  if (exists || !named) return Refuse(host_path, roots);
  return absl::NotFoundError(
      fmt::format("{}: found no such file, expected one", Quoted(host_path)));
}

}  // namespace trainyard::coordinator
