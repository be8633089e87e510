#include "worker/program/exit_cause.h"

#include <signal.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "proto/signal_name.h"
#include "worker/program/lines.h"

namespace trainyard::program {
namespace {

using agent::Ending;
using v1::AttemptEnded;

constexpr size_t kQuotedLines = 4;
constexpr size_t kQuotedBytes = 600;

// Python's name of what nobody caught, "ValueError: too bad" -> "ValueError"; empty: no traceback.
std::string Uncaught(const std::deque<std::string>& output, std::string* line) {
  const auto trace = std::find_if(output.rbegin(), output.rend(), [](const std::string& text) {
    return absl::StartsWith(text, "Traceback (most recent call last)") ||
           absl::StartsWith(text, "  File \"");
  });
  for (auto at = trace.base(); at != output.end(); ++at) {
    const size_t end = std::min(at->find(':'), at->size());
    const std::string name = at->substr(0, end);
    const bool is_name = !name.empty() && name.find(' ') == std::string::npos &&
                         (absl::EndsWith(name, "Error") || absl::EndsWith(name, "Exception") ||
                          absl::EndsWith(name, "Exit") || absl::EndsWith(name, "Interrupt"));
    if (!is_name) continue;
    *line = *at;
    const size_t dot = name.rfind('.');
    return dot == std::string::npos ? name : name.substr(dot + 1);
  }
  return "";
}

std::string Between(const std::string& text, char quote) {
  const size_t start = text.find(quote);
  const size_t end = start == std::string::npos ? start : text.find(quote, start + 1);
  return end == std::string::npos ? "" : text.substr(start + 1, end - start - 1);
}

bool Holds(const std::deque<std::string>& output, std::initializer_list<const char*> words) {
  return std::any_of(output.begin(), output.end(), [&](const std::string& line) {
    return std::any_of(words.begin(), words.end(),
                       [&](const char* word) { return absl::StrContains(line, word); });
  });
}

// ": its last words: ..." or nothing.
std::string LastWords(const std::deque<std::string>& output) {
  std::vector<std::string> words;
  for (auto line = output.rbegin(); line != output.rend() && words.size() < kQuotedLines; ++line) {
    if (line->find_first_not_of(' ') != std::string::npos) words.insert(words.begin(), *line);
  }
  if (words.empty()) return ", and printed nothing";
  const std::string text = absl::StrJoin(words, " | ");
  const size_t start = text.size() > kQuotedBytes ? text.size() - kQuotedBytes : 0;
  return absl::StrCat("; it printed last: ", CleanText(text.substr(start), kQuotedBytes + 3));
}

std::string NetworkHint(const Last& last) {
  const bool wanted =
      Holds(last.output, {"Temporary failure in name resolution", "Name or service not known",
                          "Network is unreachable", "URL fetch failure", "Could not resolve host"});
  if (last.network || !wanted) return "";
  return ". It has no network: allow it with program.network: true, or name what it fetches under "
         "program.data";
}

bool OutOfMemory(const Last& last, int signal) {
  if (signal == SIGKILL && last.memory_killed) return true;
  return Holds(last.output, {"MemoryError", "CUDA out of memory", "OutOfMemoryError",
                             "OOM when allocating", "std::bad_alloc", "CUDA_ERROR_OUT_OF_MEMORY"});
}

// What the same source would do again, whoever runs it.
bool IsFinal(const std::string& error) {
  static constexpr const char* kFinal[] = {"ModuleNotFoundError", "ImportError",      "SyntaxError",
                                           "IndentationError",    "TabError",         "NameError",
                                           "UnboundLocalError",   "FileNotFoundError"};
  return std::any_of(std::begin(kFinal), std::end(kFinal),
                     [&](const char* name) { return error == name; });
}

}  // namespace

Ending Explain(const Last& last) {
  if (!last.error.empty()) return {AttemptEnded::FAILED_FINALLY, last.error};
  int signal = last.exit.signal;
  if (signal == 0 && last.exit.code > 128 && last.exit.code < 128 + SIGRTMIN) {
    signal = last.exit.code - 128;  // of a shell's child, or told by the sandbox
  }
  if (OutOfMemory(last, signal)) {
    return {AttemptEnded::OUT_OF_MEMORY,
            absl::StrCat("the program ran out of memory", LastWords(last.output))};
  }
  const std::string& final_line = last.output.empty() ? "" : last.output.back();
  if (last.sandboxed && last.exit.code == 1 && absl::StartsWith(final_line, "bwrap: ")) {
    const bool exec = absl::StrContains(final_line, "execvp");
    return {exec ? AttemptEnded::FAILED_FINALLY : AttemptEnded::FAILED,
            absl::StrCat("the program could not be started in its sandbox: ", final_line)};
  }
  std::string line;
  const std::string error = Uncaught(last.output, &line);
  if (error == "ModuleNotFoundError") {
    const std::string module = Between(line, '\'');
    return {
        AttemptEnded::FAILED_FINALLY,
        absl::StrCat("the program needs the package ", module.empty() ? line : module,
                     ", which is not there: add it to the image for ", last.runtime,
                     " (docs/images.md) or, on this machine, to the Python that runs programs")};
  }
  const std::string how = signal != 0 ? absl::StrCat("was ended by ", SignalName(signal))
                                      : absl::StrCat("ended with exit code ", last.exit.code);
  const std::string message =
      absl::StrCat("the program ", how, LastWords(last.output), NetworkHint(last));
  const bool command_missing = signal == 0 && (last.exit.code == 126 || last.exit.code == 127);
  return {command_missing || IsFinal(error) ? AttemptEnded::FAILED_FINALLY : AttemptEnded::FAILED,
          message};
}

}  // namespace trainyard::program
