#include "worker/program/sandbox.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "worker/program/lines.h"
#include "worker/program/process.h"

namespace trainyard::program {
namespace {

namespace fs = std::filesystem;

// Of /etc, what programs and the dynamic linker read, and no secrets.
constexpr const char* kEtc[] = {
    "alternatives",  "ca-certificates", "fonts",        "group",        "host.conf", "hosts",
    "ld.so.cache",   "ld.so.conf",      "ld.so.conf.d", "locale.alias", "localtime", "mime.types",
    "nsswitch.conf", "os-release",      "passwd",       "pki",          "protocols", "python3",
    "resolv.conf",   "services",        "ssl",          "timezone",
};

void Add(std::vector<std::string>& argv, std::initializer_list<std::string> more) {
  argv.insert(argv.end(), more);
}

}  // namespace

absl::StatusOr<std::string> ProbeBubblewrap() {
  const char* path = std::getenv("PATH");
  const absl::StatusOr<std::string> found =
      FindProgram("bwrap", path != nullptr ? path : "/usr/bin:/bin", "/");
  if (!found.ok()) {
    return absl::FailedPreconditionError(
        "programs need bubblewrap, which is not here: install the package bubblewrap");
  }
  auto process = Process::Start({{*found, "--unshare-all", "--die-with-parent", "--ro-bind", "/",
                                  "/", "--proc", "/proc", "--dev", "/dev", "true"},
                                 {"PATH=/usr/bin:/bin"},
                                 "/",
                                 /*keep_rights=*/true});
  if (!process.ok()) return process.status();
  const auto exit = process->Wait(std::chrono::seconds(30));
  if (exit && exit->signal == 0 && exit->code == 0) return *found;
  const int output = process->TakeOutput();
  process->KillAll();
  char text[500];
  const ssize_t size = read(output, text, sizeof text);
  close(output);
  return absl::FailedPreconditionError(absl::StrCat(
      "programs need a sandbox, and bubblewrap cannot make one here: ",
      CleanText({text, static_cast<size_t>(std::max<ssize_t>(size, 0))}, sizeof text),
      "; unprivileged user namespaces must be allowed (kernel.unprivileged_userns_clone, "
      "user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)"));
}

std::vector<std::string> InSandbox(const std::string& bubblewrap,
                                   const std::vector<std::string>& argv, const Workspace& space,
                                   const SandboxOptions& options) {
  std::vector<std::string> out = {bubblewrap, "--unshare-all", "--die-with-parent",
                                  "--new-session"};
  if (options.network) out.push_back("--share-net");
  // Root would keep its capabilities.
  Add(out, {"--cap-drop", "ALL", "--ro-bind", "/usr", "/usr"});
  for (const char* folder : {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}) {
    std::error_code error;
    if (fs::is_symlink(folder, error)) {
      Add(out, {"--symlink", fs::read_symlink(folder, error).string(), folder});
    } else {
      Add(out, {"--ro-bind-try", folder, folder});
    }
  }
  for (const char* name : kEtc) {
    const std::string path = absl::StrCat("/etc/", name);
    Add(out, {"--ro-bind-try", path, path});
  }
  std::error_code error;
  for (const char* keys : {"/etc/ssl/private", "/etc/pki/tls/private"}) {
    if (fs::is_directory(keys, error)) Add(out, {"--tmpfs", keys});
  }
  Add(out, {"--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"});
  for (auto at = fs::directory_iterator("/dev", error); at != fs::directory_iterator();
       at.increment(error)) {
    const std::string path = at->path().string();
    if (path.starts_with("/dev/nvidia")) Add(out, {"--dev-bind-try", path, path});
  }
  for (const std::string& folder : options.folders) Add(out, {"--ro-bind", folder, folder});
  for (const std::string& folder :
       {space.source, space.home, space.tmp, space.checkpoints, space.output, space.exchange}) {
    Add(out, {"--bind", folder, folder});
  }
  Add(out, {"--tmpfs", space.data});
  for (const auto& [name, path] : space.data_at) {
    Add(out, {"--ro-bind", path, absl::StrCat(space.data, "/", name)});
  }
  Add(out, {"--remount-ro", space.data, "--remount-ro", "/", "--chdir", space.source, "--"});
  out.insert(out.end(), argv.begin(), argv.end());
  return out;
}

}  // namespace trainyard::program
