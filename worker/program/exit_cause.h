// What the end of a program means, by what it left: its exit code or signal, its last words, and
// what the kernel counted.
//
// Finally failed is what the same program would do again: it says so itself, its code or a package
// is missing or does not compile, its command cannot be run. Everything else may be tried again,
// within the core's limit; out of memory is an outcome of its own.
#pragma once

#include <deque>
#include <string>

#include "worker/agent/ending.h"
#include "worker/program/process.h"

namespace trainyard::program {

struct Last {
  Exit exit;
  bool sandboxed = false;          // a signal shows as exit code 128 + its number
  bool memory_killed = false;      // the kernel ended somebody for want of memory meanwhile
  bool network = false;            // it could reach the network
  std::string error;               // of its `error` line; empty: none
  std::deque<std::string> output;  // the last lines
  std::string runtime;             // "program-keras"
};

// Of one that did not end with exit code 0, or said an error.
agent::Ending Explain(const Last& last);

}  // namespace trainyard::program
