#include "coordinator/source/tar_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace trainyard::coordinator {
namespace {

constexpr size_t kNameBytes = 100;
constexpr size_t kPrefixBytes = 155;

// Offsets of the fields of a ustar header.
enum Field {
  kName = 0,
  kMode = 100,
  kUid = 108,
  kGid = 116,
  kSize = 124,
  kTime = 136,
  kSum = 148,
  kType = 156,
  kLink = 157,
  kMagic = 257,
  kPrefix = 345
};

void Put(std::string* block, int at, std::string_view text) {
  std::copy(text.begin(), text.end(), block->begin() + at);
}

// Splits a path at a slash so that it fits into prefix and name; false if it does not.
bool Split(std::string_view path, std::string_view* prefix, std::string_view* name) {
  *prefix = {};
  *name = path;
  if (path.size() <= kNameBytes) return true;
  for (size_t slash = path.find('/'); slash != path.npos; slash = path.find('/', slash + 1)) {
    if (slash <= kPrefixBytes && path.size() - slash - 1 <= kNameBytes) {
      *prefix = path.substr(0, slash);
      *name = path.substr(slash + 1);
      return true;
    }
  }
  return false;
}

std::string Block(std::string_view prefix, std::string_view name, std::string_view link, char type,
                  int64_t size, int mode) {
  std::string block(kTarBlock, '\0');
  Put(&block, kName, name);
  Put(&block, kMode, fmt::format("{:07o}", mode));
  Put(&block, kUid, "0000000");
  Put(&block, kGid, "0000000");
  Put(&block, kSize, fmt::format("{:011o}", size));
  Put(&block, kTime, "00000000000");
  Put(&block, kSum, "        ");
  block[kType] = type;
  Put(&block, kLink, link);
  Put(&block, kMagic, std::string_view("ustar\00000", 8));
  Put(&block, kPrefix, prefix);
  unsigned sum = 0;
  for (unsigned char byte : block) sum += byte;
  Put(&block, kSum, fmt::format("{:06o}", sum));
  block[kSum + 6] = '\0';
  return block;
}

// "LENGTH key=value\n", where LENGTH counts itself.
std::string PaxRecord(std::string_view key, std::string_view value) {
  size_t rest = key.size() + value.size() + 3;
  size_t length = rest + 1;
  while (length != rest + std::to_string(length).size()) {
    length = rest + std::to_string(length).size();
  }
  return fmt::format("{} {}={}\n", length, key, value);
}

}  // namespace

std::string TarHeader(const TarEntry& entry) {
  std::string_view prefix, name, link = entry.link;
  std::string records;
  if (!Split(entry.path, &prefix, &name)) {
    records += PaxRecord("path", entry.path);
    name = std::string_view(entry.path).substr(0, kNameBytes);
  }
  if (link.size() > kNameBytes) {
    records += PaxRecord("linkpath", link);
    link = link.substr(0, kNameBytes);
  }
  std::string header;
  if (!records.empty()) {
    header = Block({}, "pax", {}, 'x', records.size(), 0644) + records;
    header.append(TarPadding(records.size()), '\0');
  }
  bool is_link = !entry.link.empty();
  int mode = is_link ? 0777 : entry.executable ? 0755 : 0644;
  return header + Block(prefix, name, link, is_link ? '2' : '0', entry.size, mode);
}

}  // namespace trainyard::coordinator
