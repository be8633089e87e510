// HTTP to one Docker host: any number of requests at a time, all on one thread, over a Unix socket,
// mutual TLS or, on the loopback interface only, plain TCP.
//
// What it calls back runs on that thread and must not block. Thread-safe. Destroying it breaks off
// whatever is under way.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/launch/pools.h"

namespace trainyard::coordinator {

struct HttpRequest {
  std::string method = "GET";
  std::string path;  // with its query
  std::string body = {};
  std::string content_type = "application/json";
  std::chrono::milliseconds timeout = std::chrono::seconds(15);  // of the whole; 0: none
};

struct HttpReply {
  long status = 0;
  std::string body;  // of a stream only if it was refused
};

// A reply that comes bit by bit, for as long as the server likes.
struct HttpStream {
  std::function<void()> on_open;                       // it was answered with status 200
  std::function<bool(std::string_view data)> on_data;  // false: enough
};

class HttpLoop {
 public:
  using Id = int64_t;
  // UNAVAILABLE: no reply, with the cause in words; CANCELLED: the loop is being destroyed.
  using Done = std::function<void(absl::StatusOr<HttpReply>)>;

  // INVALID_ARGUMENT: a URL that is neither unix:// nor tcp://, or plain TCP to another machine.
  static absl::StatusOr<std::unique_ptr<HttpLoop>> Open(const DockerHost& host);
  ~HttpLoop();

  void Start(HttpRequest request, Done done);
  Id StartStream(HttpRequest request, HttpStream stream, Done done);
  // On the loop's thread: nothing of the request is called any more.
  void Cancel(Id id);
  // Waits for the reply; on any thread but the loop's.
  absl::StatusOr<HttpReply> Call(HttpRequest request);
  // Runs it on the loop's thread, once so much time has passed.
  void After(std::chrono::milliseconds delay, std::function<void()> task);

 private:
  using Clock = std::chrono::steady_clock;
  struct Transfer;

  explicit HttpLoop(const DockerHost& host);
  Id Add(std::unique_ptr<Transfer> transfer);
  void Configure(Transfer& transfer) const;
  void Run();
  void Begin(std::unique_ptr<Transfer> transfer);
  void FinishTransfers();
  int RunTasks();  // milliseconds until the next
  absl::Status Explain(const Transfer& transfer, int result) const;

  const DockerHost host_;
  std::string base_;    // "http://docker" or "https://gpu1:2376"
  std::string socket_;  // path of the Unix socket, if it is one
  void* const multi_;   // CURLM

  std::mutex mutex_;
  bool stopping_ = false;
  Id last_id_ = 0;
  std::vector<std::unique_ptr<Transfer>> added_;                   // to be begun
  std::multimap<Clock::time_point, std::function<void()>> tasks_;  // by when they are due

  std::map<Id, std::unique_ptr<Transfer>> transfers_;  // of the loop's thread alone
  std::thread thread_;
};

// What may stand in a URL's query as it is, and everything else as %XX.
std::string PercentEncode(std::string_view text);

}  // namespace trainyard::coordinator
