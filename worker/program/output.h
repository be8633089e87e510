// What a program prints: read all the time, so that it never waits for us, and never kept whole.
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "worker/program/lines.h"

namespace trainyard::program {

struct OutputLimits {
  size_t line_bytes = 2'000;    // the rest of a line is dropped
  int64_t log_bytes = 4 << 20;  // goes to the log; the last lines do in any case
  size_t last_lines = 40;
  size_t waiting_lines = 10'000;  // with numbers in them, until somebody takes them
};

class Output {
 public:
  // Takes over `pipe`, the end to read from.
  Output(int pipe, OutputLimits limits);
  ~Output();

  // Lines that may hold metrics, in order; each once. Where nobody takes them, the oldest go.
  std::vector<std::string> TakeLines();
  // Grows while something comes.
  int64_t bytes() const;

  // Reads what is left in the pipe and ends; whoever still holds its other end is not waited for.
  // Then says what was left out of the log.
  void Finish();
  // The last lines, oldest first. After Finish.
  const std::deque<std::string>& last() const { return last_; }

 private:
  void Run();
  bool Read();  // whether there may be more
  void Take(std::string_view line, bool cut);

  const int pipe_;
  const OutputLimits limits_;
  int wake_ = -1;

  // The reading thread's, then Finish's.
  LineSplitter splitter_;
  int64_t logged_bytes_ = 0;
  int64_t left_out_lines_ = 0, left_out_bytes_ = 0;
  int64_t cut_lines_ = 0;
  std::deque<std::string> last_;

  mutable std::mutex mutex_;
  std::deque<std::string> waiting_;
  int64_t bytes_ = 0;

  std::thread thread_;
};

}  // namespace trainyard::program
