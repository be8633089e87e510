// GetJobLogs: what the workers of a job's attempts wrote meanwhile.
//
// A worker's log holds the lines of all attempts that it ever ran. Most name their attempt; the
// others are told by their time, with which every line begins, unless the worker ran only one. Logs
// of workers that somebody else started lie on their hosts; their place is taken by a line that
// says so.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "coordinator/convert/api.h"
#include "coordinator/rpc/client_service.h"
#include "coordinator/rpc/request_checks.h"
#include "coordinator/rpc/status.h"

namespace trainyard::coordinator {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(250);
constexpr int64_t kTailMs = 1'000;  // what a worker still writes after its attempt's end
constexpr size_t kChunkMax = 64 * 1024;
constexpr int64_t kOpenEnd = INT64_MAX;

// One attempt's part of a worker's log.
struct Part {
  core::AttemptId attempt;
  std::string heading;                    // for people
  std::string path;                       // empty: not here
  int64_t from_ms = 0, to_ms = kOpenEnd;  // wall clock
  bool whole = false;                     // every line is the attempt's, whatever its time zone
};

// "2024-05-01 12:00:00.123 ..." in local time -> milliseconds since 1970; -1 where a line begins
// otherwise.
int64_t TimeOf(const std::string& line) {
  std::tm time = {};
  const char* rest = strptime(line.c_str(), "%Y-%m-%d %H:%M:%S", &time);
  if (rest == nullptr || *rest != '.') return -1;
  time.tm_isdst = -1;
  const std::time_t seconds = std::mktime(&time);
  if (seconds < 0) return -1;
  return int64_t{seconds} * 1000 + std::atoi(rest + 1) % 1000;
}

// The attempt that "...: job 3, attempt 12: ..." names; 0: none.
int64_t AttemptOf(const std::string& line) {
  long long job = 0, attempt = 0;
  const size_t at = line.find(": job ");
  if (at == std::string::npos) return 0;
  if (std::sscanf(line.c_str() + at, ": job %lld, attempt %lld", &job, &attempt) != 2) return 0;
  return attempt;
}

bool RunsOneAttempt(const Loop& loop, const std::string& pool) {
  return loop.Read([&](const core::State& state) {
    const auto found = state.settings.pools.find(pool);
    return found != state.settings.pools.end() && found->second.one_attempt;
  });
}

std::vector<Part> PartsOf(const core::State& state, core::JobId job, const ClientParts& service) {
  std::vector<Part> parts;
  for (const auto& [id, attempt] : state.attempts) {
    if (attempt.job != job || attempt.started_wall_ms == 0) continue;
    const auto trial = state.trials.find(attempt.trial);
    const auto worker = state.workers.find(attempt.worker);
    Part part{id, "", "", attempt.started_wall_ms, kOpenEnd};
    if (attempt.ended_wall_ms != 0) part.to_ms = attempt.ended_wall_ms + kTailMs;
    part.heading = absl::StrCat(
        "== trial ", trial == state.trials.end() ? 0 : trial->second.number, ", attempt ",
        attempt.number, attempt.finishing ? " (finishing)" : "", ", worker ",
        worker == state.workers.end() ? "unknown" : CleanLine(worker->second.name), " ==\n");
    if (worker != state.workers.end() && worker->second.launch) {
      const std::string& pool = worker->second.pool;
      const auto launcher = service.launchers.find(pool);
      if (launcher != service.launchers.end()) {
        part.path = launcher->second->LogPath(worker->second.launch.value);
        part.whole = RunsOneAttempt(*service.loop, pool);
      }
    }
    parts.push_back(std::move(part));
  }
  return parts;
}

// Reads on in one log, as it grows.
class Reader {
 public:
  explicit Reader(const Part& part) : part_(part), file_(part.path, std::ios::binary) {}

  void set_end(int64_t to_ms) { part_.to_ms = to_ms; }

  // The next lines of the attempt, at most a chunk; empty: none yet.
  std::string Next() {
    std::string text;
    file_.clear();
    while (text.size() < kChunkMax) {
      const std::streampos before = file_.tellg();
      if (!std::getline(file_, line_)) break;
      if (file_.eof()) {  // not yet written to its end
        file_.clear();
        file_.seekg(before);
        break;
      }
      const int64_t time = TimeOf(line_);
      if (time >= 0) inside_ = time >= part_.from_ms && time <= part_.to_ms;
      if (const int64_t named = AttemptOf(line_); time >= 0 && named != 0) {
        inside_ = named == part_.attempt.value;
      }
      if (inside_ || part_.whole) absl::StrAppend(&text, CleanLine(line_), "\n");
    }
    return text;
  }

 private:
  Part part_;
  std::ifstream file_;
  std::string line_;
  bool inside_ = false;  // lines without a time belong to the one before
};

bool Send(grpc::ServerWriter<v1::LogChunk>* writer, std::string text) {
  v1::LogChunk chunk;
  chunk.set_text(std::move(text));
  return writer->Write(chunk);
}

}  // namespace

grpc::Status ClientService::GetJobLogs(grpc::ServerContext* context,
                                       const v1::GetJobLogsRequest* request,
                                       grpc::ServerWriter<v1::LogChunk>* writer) {
  if (auto status = CheckId("job", request->job()); !status.ok()) return ToGrpc(status);
  const absl::Cleanup leave = [this] { --followers_; };
  if (++followers_ > options_.followers_max) {
    return ToGrpc(absl::ResourceExhaustedError(
        absl::StrCat(options_.followers_max, " calls read logs already")));
  }
  const core::JobId job{request->job()};
  core::AttemptId done;  // everything up to this attempt was sent
  while (true) {
    const auto state = parts_.records->LoadJob(job, Records::Detail::kSummary);
    if (!state.ok()) return ToGrpc(state.status());
    const auto found = state->jobs.find(job);
    const bool ended = found == state->jobs.end() || found->second.ended();
    for (const Part& part : PartsOf(*state, job, parts_)) {
      if (part.attempt <= done) continue;
      if (!Send(writer, part.heading)) return grpc::Status::CANCELLED;
      if (part.path.empty()) {
        if (!Send(writer, "(its log lies on the host of the worker)\n")) {
          return grpc::Status::CANCELLED;
        }
        done = part.attempt;
        continue;
      }
      Reader reader(part);
      bool open = part.to_ms == kOpenEnd;
      while (true) {
        std::string text = reader.Next();
        if (!text.empty()) {
          if (!Send(writer, std::move(text))) return grpc::Status::CANCELLED;
          continue;
        }
        if (!open || !request->follow()) break;
        if (context->IsCancelled() || stopping_) return grpc::Status::CANCELLED;
        std::this_thread::sleep_for(kLookEvery);
        const auto now = parts_.records->LoadJob(job, Records::Detail::kSummary);
        if (!now.ok()) return ToGrpc(now.status());
        if (const int64_t end = now->attempts.at(part.attempt).ended_wall_ms; end != 0) {
          reader.set_end(end + kTailMs);
          open = false;  // once more, for what came with the end
        }
      }
      done = part.attempt;
    }
    if (ended || !request->follow()) return grpc::Status::OK;
    if (context->IsCancelled() || stopping_) return grpc::Status::CANCELLED;
    std::this_thread::sleep_for(kLookEvery);
  }
}

}  // namespace trainyard::coordinator
