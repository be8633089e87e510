#include "coordinator/web/http_exchange.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace trainyard::coordinator {
namespace {

using Handled = httplib::Server::HandlerResponse;

constexpr char kText[] = "text/plain; charset=utf-8";

bool IsChunked(const httplib::Request& request) {
  return absl::EqualsIgnoreCase(request.get_header_value("Transfer-Encoding"), "chunked");
}

// Of Content-Length; nothing: it is no number.
std::optional<uint64_t> LengthOf(const httplib::Request& request) {
  const std::string text = request.get_header_value("Content-Length");
  uint64_t length = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), length);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return length;
}

std::string PhraseOf(int status) {
  switch (status) {
    case 400:
      return "no valid HTTP request";
    case 408:
      return "the request came too slowly";
    case 414:
      return "the address is too long";
    case 431:
      return "the headers are too long";
    case 500:
      return "something went wrong here; the coordinator's log says what";
    default:
      return absl::StrCat("status ", status);
  }
}

}  // namespace

HttpExchange::HttpExchange(const std::vector<Route>& routes, size_t body_bytes_max,
                           HttpStream* stream)
    : routes_(routes), body_bytes_max_(body_bytes_max), stream_(stream) {
  Configure();
}

void HttpExchange::Configure() {
  set_pre_routing_handler([this](const auto& request, auto& response) {
    if (const Refusal refusal = Check(request); refusal.status != 0) {
      response.status = refusal.status;
      response.set_content(refusal.text + "\n", kText);
      return Handled::Handled;
    }
    if (request.method == "POST") return Handled::Unhandled;
    Answer(request, response, nullptr);
    return Handled::Handled;
  });
  // Only what passed the check above comes here.
  Post(".*", [this](const auto& request, auto& response, const auto& reader) {
    Answer(request, response, &reader);
  });
  // Whoever waits to be told before sending a body is told no at once.
  set_expect_100_continue_handler([this](const auto& request, auto& response) {
    const Refusal refusal = Check(request);
    if (refusal.status == 0) return 100;
    response.status = refusal.status;
    response.set_content(refusal.text + "\n", kText);
    return refusal.status;
  });
  set_exception_handler([](const auto&, auto& response, std::exception_ptr thrown) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& error) {
      spdlog::error("an HTTP request failed: {}", error.what());
    } catch (...) {
      spdlog::error("an HTTP request failed");
    }
    response.status = 500;
  });
  set_error_handler([this](const auto&, auto& response) { SayWhy(response); });
  set_default_headers({{"Cache-Control", "no-store"}, {"X-Content-Type-Options", "nosniff"}});
}

void HttpExchange::Run() {
  bool closed = false;
  process_request(*stream_, /*close_connection=*/true, closed,
                  // Nobody is given parts of an answer, over and over.
                  [](httplib::Request& request) { request.ranges.clear(); });
}

const Route* HttpExchange::Find(const httplib::Request& request) const {
  const auto found = std::ranges::find(routes_, request.path, &Route::path);
  return found == routes_.end() ? nullptr : &*found;
}

HttpExchange::Refusal HttpExchange::Check(const httplib::Request& request) const {
  const Route* route = Find(request);
  if (route == nullptr) return {404, "there is nothing here"};
  const std::string method = request.method == "HEAD" ? "GET" : request.method;
  if (std::ranges::find(route->methods, method) == route->methods.end()) {
    return {405, absl::StrCat("expected ", absl::StrJoin(route->methods, " or "))};
  }
  return CheckBody(request);
}

HttpExchange::Refusal HttpExchange::CheckBody(const httplib::Request& request) const {
  const bool sized = request.has_header("Content-Length");
  // What two readers could understand differently is refused.
  if (request.get_header_value_count("Content-Length") > 1 ||
      request.get_header_value_count("Transfer-Encoding") > 1 ||
      (sized && request.has_header("Transfer-Encoding"))) {
    return {400, "found more than one length of the body"};
  }
  if (request.has_header("Transfer-Encoding") && !IsChunked(request)) {
    return {501, "found a transfer encoding, expected chunked or none"};
  }
  const std::string encoding = request.get_header_value("Content-Encoding");
  if (!encoding.empty() && !absl::EqualsIgnoreCase(encoding, "identity")) {
    return {415, "found an encoded body, expected it as it is"};
  }
  if (request.is_multipart_form_data()) {
    return {415, "found multipart/form-data, expected JSON or application/x-www-form-urlencoded"};
  }
  if (!sized) return {};
  const std::optional<uint64_t> length = LengthOf(request);
  if (!length) return {400, "Content-Length: expected a number of bytes"};
  if (*length > body_bytes_max_) {
    return {413, absl::StrCat("found a body of ", *length, " bytes, expected at most ",
                              body_bytes_max_)};
  }
  return {};
}

absl::StatusOr<std::string> HttpExchange::ReadBody(const httplib::Request& request,
                                                   const httplib::ContentReader* reader) {
  const bool chunked = IsChunked(request);
  std::string body;
  if (reader == nullptr || (!chunked && !request.has_header("Content-Length"))) return body;
  // Chunks have heads of their own.
  stream_->AllowMore(body_bytes_max_ + (chunked ? body_bytes_max_ / 4 + 4096 : 0));
  bool too_large = false;
  const bool whole = (*reader)([&](const char* data, size_t size) {
    too_large = size > body_bytes_max_ - body.size();
    if (!too_large) body.append(data, size);
    return !too_large;
  });
  if (too_large || stream_->over_limit()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("found a body of more than ", body_bytes_max_, " bytes"));
  }
  if (whole) return body;
  if (stream_->late()) return absl::DeadlineExceededError("the body came too slowly");
  return absl::InvalidArgumentError("the body is torn");
}

void HttpExchange::Answer(const httplib::Request& request, httplib::Response& response,
                          const httplib::ContentReader* reader) {
  HttpRequest given;
  given.method = request.method;
  given.query = request.params;
  given.header = [&](const std::string& name) { return request.get_header_value(name); };
  given.body = [&] { return ReadBody(request, reader); };
  const HttpResponse answer = Find(request)->handler(given);
  response.status = answer.status;
  response.set_content(answer.text, answer.type);
}

void HttpExchange::SayWhy(httplib::Response& response) const {
  if (response.status == 400 && stream_->over_limit()) response.status = 431;
  if (response.status == 400 && stream_->late()) response.status = 408;
  if (response.body.empty()) response.set_content(PhraseOf(response.status) + "\n", kText);
}

}  // namespace trainyard::coordinator
