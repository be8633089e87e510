#include "kernels/cuda/cudnn/plan_files.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>

#include "kernels/hash.h"

namespace trainyard::kernels::cuda {
namespace {

// To be counted up where files look otherwise, and where an engine is chosen by other rules: a plan
// of the old ones would not be the one that is made now.
constexpr std::string_view kVersion = "trainyard cudnn plan 1";

// Everything but the hash before it.
std::string Body(const std::string& key, const StoredPlan& plan) {
  return key + "\n" + plan.engine + "\n" + plan.text;
}

std::string HashOf(std::string_view text) {
  Fnv1a hash;
  hash.Add(text);
  return hash.Digits();
}

// Takes the first line off; empty where there is no whole one.
std::string_view TakeLine(std::string_view& text) {
  const size_t end = text.find('\n');
  if (end == std::string_view::npos) return {};
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end + 1);
  return line;
}

}  // namespace

std::string PlanFiles::PathOf(const std::string& key) const {
  return folder_ + "/" + HashOf(key) + ".plan";
}

std::optional<StoredPlan> PlanFiles::Read(const std::string& key) const {
  if (folder_.empty()) return std::nullopt;
  std::ifstream file(PathOf(key), std::ios::binary);
  const std::string all(std::istreambuf_iterator<char>(file), {});
  std::string_view rest = all;
  if (TakeLine(rest) != kVersion) return std::nullopt;
  const std::string_view hash = TakeLine(rest);
  if (hash != HashOf(rest) || TakeLine(rest) != key) return std::nullopt;
  StoredPlan plan;
  plan.engine = TakeLine(rest);
  plan.text = rest;
  return plan;
}

// Written beside its place and moved there, so that readers and other writers see a whole file. It
// need not be flushed: what a crash leaves of it, its hash tells.
void PlanFiles::Write(const std::string& key, const StoredPlan& plan) const {
  if (folder_.empty()) return;
  std::error_code failed;
  std::filesystem::create_directories(folder_, failed);
  const std::string path = PathOf(key), body = Body(key, plan);
  std::string temporary = path + ".XXXXXX";
  const int descriptor = mkstemp(temporary.data());
  if (descriptor < 0) return;
  close(descriptor);
  std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
  file << kVersion << "\n" << HashOf(body) << "\n" << body;
  file.close();
  if (!file.fail()) std::filesystem::rename(temporary, path, failed);
  if (file.fail() || failed) unlink(temporary.c_str());
}

}  // namespace trainyard::kernels::cuda
