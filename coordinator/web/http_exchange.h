// One request and its answer: the HTTP library parses the one and writes the other; which route it
// is for, and what is refused before a byte of its body is read, is decided here.
#pragma once

#include <httplib.h>

#include <string>
#include <vector>

#include "coordinator/web/http.h"
#include "coordinator/web/http_stream.h"

namespace trainyard::coordinator {

class HttpExchange final : private httplib::Server {
 public:
  // All outlive it.
  HttpExchange(const std::vector<Route>& routes, size_t body_bytes_max, HttpStream* stream);

  // Reads the request and writes the answer, whatever it is.
  void Run();

 private:
  struct Refusal {
    int status = 0;  // 0: none
    std::string text;
  };

  void Configure();
  const Route* Find(const httplib::Request& request) const;
  // Why it is refused by its head alone.
  Refusal Check(const httplib::Request& request) const;
  Refusal CheckBody(const httplib::Request& request) const;
  void Answer(const httplib::Request& request, httplib::Response& response,
              const httplib::ContentReader* reader);
  absl::StatusOr<std::string> ReadBody(const httplib::Request& request,
                                       const httplib::ContentReader* reader);
  void SayWhy(httplib::Response& response) const;

  const std::vector<Route>& routes_;
  const size_t body_bytes_max_;
  HttpStream* const stream_;
};

}  // namespace trainyard::coordinator
