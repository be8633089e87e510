// What the program's exit code says to pipelines; docs/cli.md lists the same numbers.
#pragma once

namespace trainyard::cli {

enum ExitCode : int {
  kDone = 0,         // target met, or simply done
  kUnexpected = 1,   // an error that nobody foresaw
  kUsage = 2,        // wrong usage or bad input
  kBelowTarget = 3,  // the job finished below its target
  kJobFailed = 4,
  kJobCancelled = 5,
  kUnreachable = 6,  // no coordinator at the address
  kTimeout = 7,
  kRefused = 8,        // no token, none that lives, or one whose role does not allow the call
  kInterrupted = 130,  // SIGINT, as a shell counts it
  kTerminated = 143,   // SIGTERM
};

}  // namespace trainyard::cli
