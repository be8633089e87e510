#include "worker/program/program_runner.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "spdlog/spdlog.h"
#include "worker/agent/ending.h"
#include "worker/program/attempt.h"
#include "worker/program/lines.h"
#include "worker/program/process.h"

namespace trainyard::program {

using v1::AttemptEnded;

namespace {

constexpr size_t kMessageBytesMax = 4'000;

}  // namespace

ProgramRunner::ProgramRunner(ProgramOptions options, agent::BlobClient& blobs,
                             agent::BlobCache& cache)
    : options_(std::move(options)), blobs_(blobs), cache_(cache) {
  if (const absl::Status status = AdoptOrphans(); !status.ok())
    spdlog::warn("{}", std::string(status.message()));
}

std::optional<AttemptEnded> ProgramRunner::Run(const v1::Start& start, agent::Uplink& uplink,
                                               agent::AttemptControl& control) {
  Attempt attempt(start, options_, blobs_, cache_, uplink, control);
  agent::Ending ending;
  try {
    ending = attempt.Run();
  } catch (const std::exception& error) {
    ending = {AttemptEnded::FAILED, error.what()};
  }
  attempt.Clear();
  // A name of a file in it may be anything.
  ending.message = CleanText(ending.message, kMessageBytesMax);
  return Conclude(start, control, std::move(ending), attempt.step(), attempt.folder());
}

}  // namespace trainyard::program
