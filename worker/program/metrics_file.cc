#include "worker/program/metrics_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace trainyard::program {
namespace {

constexpr size_t kPieceBytes = 1 << 18;
constexpr int kPiecesMax = 4;  // at a time: a flood must not keep us from everything else
constexpr int kLastPiecesMax = 1'024;

}  // namespace

MetricsFile::MetricsFile(const std::string& path)
    : file_(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC)) {}

MetricsFile::~MetricsFile() {
  if (file_ >= 0) close(file_);
}

std::vector<Said> MetricsFile::Read(bool last) {
  std::vector<Said> said;
  const LineSplitter::Sink sink = [&](std::string_view line, bool cut) { Take(line, cut, &said); };
  std::string piece(kPieceBytes, '\0');
  for (int pieces = last ? kLastPiecesMax : kPiecesMax; pieces > 0; --pieces) {
    const ssize_t size = read(file_, piece.data(), piece.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    splitter_.Feed({piece.data(), static_cast<size_t>(size)}, sink);
  }
  if (last) splitter_.Flush(sink);
  return said;
}

void MetricsFile::Take(std::string_view line, bool cut, std::vector<Said>* said) {
  ++line_;
  std::string problem;
  if (cut) {
    problem = absl::StrCat("found a line of more than ", kMetricsLineBytesMax, " bytes");
  } else {
    for (Said& one : ParseMetricsLine(line, &problem)) said->push_back(std::move(one));
  }
  if (problem_.empty() && !problem.empty()) {
    problem_ = absl::StrCat("TRAINYARD_METRICS_FILE, line ", line_, ": ", problem);
  }
}

}  // namespace trainyard::program
