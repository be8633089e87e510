#include "worker/program/output.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "spdlog/spdlog.h"

namespace trainyard::program {
namespace {

// A descendant that goes on writing at the end is not listened to for ever.
constexpr int64_t kLastBytesMax = 64 << 20;

bool MayHoldMetrics(std::string_view line) {
  return line.find_first_of("=:{") != std::string_view::npos ||
         line.find("poch") != std::string_view::npos || line.find('/') != std::string_view::npos;
}

}  // namespace

Output::Output(int pipe, OutputLimits limits)
    : pipe_(pipe),
      limits_(limits),
      wake_(eventfd(0, EFD_CLOEXEC)),
      splitter_(limits.line_bytes),
      thread_([this] { Run(); }) {
  fcntl(pipe_, F_SETFL, O_NONBLOCK);
}

Output::~Output() {
  Finish();
  close(pipe_);
  close(wake_);
}

std::vector<std::string> Output::TakeLines() {
  std::lock_guard lock(mutex_);
  std::vector<std::string> lines(std::make_move_iterator(waiting_.begin()),
                                 std::make_move_iterator(waiting_.end()));
  waiting_.clear();
  return lines;
}

int64_t Output::bytes() const {
  std::lock_guard lock(mutex_);
  return bytes_;
}

void Output::Finish() {
  if (!thread_.joinable()) return;
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof one);
  thread_.join();
  const int64_t enough = bytes() + kLastBytesMax;
  while (bytes() < enough && Read()) {
  }
  splitter_.Flush([this](std::string_view line, bool cut) { Take(line, cut); });
  if (cut_lines_ > 0) {
    spdlog::info("{} lines of the program were cut at {} bytes", cut_lines_, limits_.line_bytes);
  }
  if (left_out_lines_ == 0) return;
  const int64_t shown = std::min<int64_t>(left_out_lines_, static_cast<int64_t>(last_.size()));
  spdlog::info("{} lines of the program, {} bytes, were left out here; the last ones are:",
               left_out_lines_ - shown, left_out_bytes_);
  for (auto line = last_.end() - shown; line != last_.end(); ++line) {
    spdlog::info("program: {}", *line);
  }
}

void Output::Run() {
  for (;;) {
    pollfd fds[] = {{pipe_, POLLIN, 0}, {wake_, POLLIN, 0}};
    if (poll(fds, 2, -1) < 0) continue;
    if (fds[1].revents != 0) return;
    if (!Read() && (fds[0].revents & POLLHUP) != 0) {  // nobody can write any more
      pollfd wake{wake_, POLLIN, 0};
      while (poll(&wake, 1, -1) < 0) {
      }
      return;
    }
  }
}

bool Output::Read() {
  char piece[1 << 16];
  const ssize_t size = read(pipe_, piece, sizeof piece);
  if (size <= 0) return size < 0 && errno == EINTR;
  {
    std::lock_guard lock(mutex_);
    bytes_ += size;
  }
  splitter_.Feed({piece, static_cast<size_t>(size)},
                 [this](std::string_view line, bool cut) { Take(line, cut); });
  return true;
}

void Output::Take(std::string_view raw, bool cut) {
  std::string line = CleanText(raw, limits_.line_bytes);
  cut_lines_ += cut ? 1 : 0;
  const auto bytes = static_cast<int64_t>(line.size()) + 1;
  if (logged_bytes_ < limits_.log_bytes) {
    logged_bytes_ += bytes;
    spdlog::info("program: {}", line);
    if (logged_bytes_ >= limits_.log_bytes) {
      spdlog::info("the program has printed {} bytes; more of it is left out here until its end",
                   logged_bytes_);
    }
  } else {
    ++left_out_lines_;
    left_out_bytes_ += bytes;
  }
  if (MayHoldMetrics(line)) {
    std::lock_guard lock(mutex_);
    if (waiting_.size() == limits_.waiting_lines) waiting_.pop_front();
    waiting_.push_back(line);
  }
  if (last_.size() == limits_.last_lines) last_.pop_front();
  last_.push_back(std::move(line));
}

}  // namespace trainyard::program
