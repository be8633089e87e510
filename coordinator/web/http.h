// What a route is given and gives back; nothing in it is of the HTTP library.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace trainyard::coordinator {

// Decoded names and values, of a query or a form.
using HttpParams = std::multimap<std::string, std::string>;

struct HttpRequest {
  std::string method;
  HttpParams query;
  // The value of a header, whatever its case; empty: there is none.
  std::function<std::string(const std::string& name)> header;
  // Reads the body, once. RESOURCE_EXHAUSTED: larger than the server takes; DEADLINE_EXCEEDED: too
  // slow; INVALID_ARGUMENT: torn. Until it is called nothing of the body has been read.
  std::function<absl::StatusOr<std::string>()> body;
};

struct HttpResponse {
  int status = 200;
  std::string text;
  std::string type = "text/plain; charset=utf-8";
};

struct Route {
  std::string path;                                         // as a whole
  std::vector<std::string> methods;                         // where GET is one, HEAD is too
  std::function<HttpResponse(const HttpRequest&)> handler;  // on any thread, many at a time
};

// The first value, or empty.
std::string ParamOf(const HttpParams& params, const std::string& name);
// Of application/x-www-form-urlencoded.
HttpParams ParseForm(const std::string& body);
// 413, 408 or 400 for a body that could not be read.
HttpResponse Unreadable(const absl::Status& status);

}  // namespace trainyard::coordinator
