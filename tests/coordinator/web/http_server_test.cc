// Shows that the HTTP listener answers what is right, refuses the rest before reading it, and that
// nobody who is slow, large or odd keeps it from answering others.
#include "coordinator/web/http_server.h"

#include <curl/curl.h>
#include <gmock/gmock.h>

#include <atomic>
#include <list>
#include <memory>
#include <stdexcept>
#include <thread>

#include "tests/coordinator/source/temp_folder.h"
#include "tests/coordinator/web/http_client.h"

namespace trainyard::coordinator {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;

class HttpServerTest : public testing::Test {
 protected:
  void Start(HttpOptions options = {}) {
    options.address = "127.0.0.1:0";
    auto server = HttpServer::Start(
        std::move(options),
        {{"/echo", {"POST", "GET"}, [this](const auto& request) { return Echo(request); }},
         {"/unread",
          {"POST"},
          [](const auto&) {
            return HttpResponse{401, "who are you?\n"};
          }},
         {"/thrown", {"GET"}, [](const auto&) -> HttpResponse {
            throw std::runtime_error("/srv/secret/path");
          }}});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  HttpResponse Echo(const HttpRequest& request) {
    const auto body = request.body();
    if (!body.ok()) return Unreadable(body.status());
    read_ += body->size();
    return {200, ParamOf(request.query, "q") + request.header("x-odd-Case") + *body};
  }
  Answer Send(const std::string& request) { return Ask(server_->address(), request); }

  std::atomic<size_t> read_ = 0;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, ARouteIsGivenItsQueryHeadersAndBody) {
  Start();
  const Answer answer = Send(Request("POST", "/echo?q=a%20b", {{"X-Odd-Case", "-"}}, "body"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "a b-body");
  EXPECT_THAT(answer.head, Not(HasSubstr("Server:")));
  EXPECT_THAT(answer.head, HasSubstr("Connection: close"));
  EXPECT_EQ(Send("POST /echo?q=none HTTP/1.1\r\n\r\n").body, "none") << "no length is no body";
  EXPECT_EQ(Send("HEAD /echo?q=x HTTP/1.1\r\n\r\n").body, "");
  EXPECT_EQ(Send(Request("POST", "/echo", {{"Transfer-Encoding", "chunked"}},
                         "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"))
                .body,
            "abcde");
  EXPECT_EQ(Send(Request("GET", "/echo?q=whole", {{"Range", "bytes=0-1"}}, "")).body, "whole");
}

TEST_F(HttpServerTest, UnknownPathsAndWrongMethodsAreSaid) {
  Start();
  EXPECT_EQ(Send(Request("GET", "/", {}, "")).status, 404);
  EXPECT_EQ(Send(Request("GET", "/echo/../etc/passwd", {}, "")).status, 404);
  EXPECT_EQ(Send(Request("GET", "/echo%00", {}, "")).status, 404);
  EXPECT_EQ(Send(Request("GET", "/unread", {}, "")).status, 405);
  EXPECT_EQ(Send(Request("PUT", "/echo", {}, "x")).status, 405);
  EXPECT_EQ(Send(Request("CONNECT", "elsewhere:443", {}, "")).status, 404);
}

TEST_F(HttpServerTest, WhatIsNoHttpIsRefused) {
  Start();
  EXPECT_EQ(Send("hello\r\n\r\n").status, 400);
  EXPECT_EQ(Send("BREW /echo HTTP/1.1\r\n\r\n").status, 400);
  EXPECT_EQ(Send("GET /echo HTTP/9.9\r\n\r\n").status, 400);
  EXPECT_EQ(Send(std::string("\x16\x03\x01\0\0\r\n\r\n", 9)).status, 400);
  for (const Headers& headers : {Headers{{"Content-Length", "4x"}},
                                 {{"Content-Length", "-1"}},
                                 {{"Content-Length", "18446744073709551617"}},
                                 {{"Content-Length", "4"}, {"Transfer-Encoding", "chunked"}}}) {
    EXPECT_EQ(Send(Request("POST", "/echo", headers, "body")).status, 400);
  }
  EXPECT_EQ(
      Send("POST /echo HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody").status,
      400);
  EXPECT_EQ(Send(Request("POST", "/echo", {{"Transfer-Encoding", "gzip"}}, "x")).status, 501);
  EXPECT_EQ(Send(Request("POST", "/echo", {{"Content-Encoding", "gzip"}}, "x")).status, 415);
  EXPECT_EQ(
      Send(Request("POST", "/echo", {{"Content-Type", "multipart/form-data; boundary=x"}}, "--x--"))
          .status,
      415);
  EXPECT_EQ(read_, 0u);
}

TEST_F(HttpServerTest, TornChunksAreRefused) {
  Start();
  for (const char* body : {"zz\r\nabc\r\n", "-1\r\nabc\r\n", "ffffffffffffffff\r\nabc\r\n"}) {
    Connection connection(server_->address());
    ASSERT_TRUE(
        connection.Send(Request("POST", "/echo", {{"Transfer-Encoding", "chunked"}}, body)));
    EXPECT_THAT(ParseAnswer(connection.Receive()).status, AnyOf(400, 408, 413)) << body;
  }
}

TEST_F(HttpServerTest, ALargeBodyIsRefusedBeforeItIsSent) {
  Start();
  const Headers gibibyte = {{"Content-Length", "1073741824"}};
  EXPECT_EQ(Send(Request("POST", "/echo", gibibyte, "")).status, 413) << "none of it was sent";
  Headers polite = gibibyte;
  polite["Expect"] = "100-continue";
  EXPECT_EQ(Send(Request("POST", "/echo", polite, "")).status, 413);
  // Somebody who sends it all the same is cut off.
  Connection connection(server_->address());
  ASSERT_TRUE(connection.Send(Request("POST", "/echo", gibibyte, "")));
  const std::string piece(1 << 20, 'x');
  int taken_mib = 0;
  while (taken_mib < 1024 && connection.Send(piece)) ++taken_mib;
  EXPECT_LT(taken_mib, 64);
  EXPECT_EQ(read_, 0u);
}

TEST_F(HttpServerTest, AChunkedBodyMayBeNoLarger) {
  HttpOptions options;
  options.body_bytes_max = 1000;
  Start(options);
  std::string body;
  for (int i = 0; i < 4; ++i) body += "fa\r\n" + std::string(250, 'x') + "\r\n";
  const Headers chunked = {{"Transfer-Encoding", "chunked"}};
  EXPECT_EQ(Send(Request("POST", "/echo", chunked, body + "0\r\n\r\n")).body.size(), 1000u);
  EXPECT_EQ(Send(Request("POST", "/echo", chunked, body + "1\r\nx\r\n0\r\n\r\n")).status, 413);
  EXPECT_EQ(
      Send(Request("POST", "/echo", chunked, "1;" + std::string(20'000, 'x') + "\r\n")).status, 413)
      << "one endless line";
}

TEST_F(HttpServerTest, AHandlerThatDoesNotWantTheBodyAnswersWithoutIt) {
  Start();
  EXPECT_EQ(Send(Request("POST", "/unread", {{"Content-Length", "1000"}}, "")).status, 401);
}

TEST_F(HttpServerTest, LongHeadsAreRefused) {
  Start();
  EXPECT_EQ(Send(Request("GET", "/echo?q=" + std::string(9'000, 'x'), {}, "")).status, 414);
  EXPECT_THAT(Send(Request("GET", "/echo", {{"X", std::string(9'000, 'x')}}, "")).status,
              AnyOf(400, 431));
  Headers many;
  for (int i = 0; i < 10'000; ++i) many["X-" + std::to_string(i)] = "x";
  EXPECT_EQ(Send(Request("GET", "/echo", many, "")).status, 431);
  Connection endless(server_->address());
  endless.Send("GET /" + std::string(1 << 20, 'x'));
  EXPECT_NE(ParseAnswer(endless.Receive()).status, 200) << "a line without an end";
}

TEST_F(HttpServerTest, ASlowClientIsCutOff) {
  HttpOptions options;
  options.request_limit = std::chrono::milliseconds(100);
  Start(options);
  Connection silent(server_->address());
  Connection in_head(server_->address());
  in_head.Send("GET /echo HTTP/1.1\r\nX: y\r\n");
  Connection in_body(server_->address());
  in_body.Send(Request("POST", "/echo", {{"Content-Length", "1000"}}, "some"));
  EXPECT_EQ(ParseAnswer(silent.Receive()).status, 0);
  // Where its time was over before its first line had come, it is told nothing.
  EXPECT_THAT(ParseAnswer(in_head.Receive()).status, AnyOf(0, 408));
  EXPECT_THAT(ParseAnswer(in_body.Receive()).status, AnyOf(0, 408));
  // One that never stops sending does not gain time by it.
  Connection dripping(server_->address());
  dripping.Send("GET /echo HTTP/1.1\r\n");
  while (dripping.Send("X: y\r\n")) std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

TEST_F(HttpServerTest, SlowClientsDoNotKeepItFromAnsweringOthers) {
  HttpOptions options;
  options.connections_max = 4;
  options.request_limit = std::chrono::minutes(10);
  Start(options);
  std::list<Connection> slow;
  for (int i = 0; i < 20; ++i) {
    slow.emplace_back(server_->address());
    slow.back().Send("GET /echo HTTP/1.1\r\nX:");
    if (i % 5 != 4) continue;
    EXPECT_EQ(Send(Request("GET", "/echo?q=here", {}, "")).body, "here");
  }
  EXPECT_EQ(ParseAnswer(slow.front().Receive()).status, 0) << "the oldest had to go";
}

TEST_F(HttpServerTest, ManyAtATimeAreAllAnswered) {
  Start();
  std::atomic<int> answered = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) answered += Send(Request("POST", "/echo", {}, "x")).body == "x";
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(answered, 400);
}

TEST_F(HttpServerTest, WhatAHandlerThrowsIsNotTold) {
  Start();
  const Answer answer = Send(Request("GET", "/thrown", {}, ""));
  EXPECT_EQ(answer.status, 500);
  EXPECT_THAT(answer.head + answer.body, Not(HasSubstr("secret")));
}

TEST_F(HttpServerTest, ItStopsWhileClientsAreConnected) {
  Start();
  Connection idle(server_->address());
  server_.reset();
  EXPECT_EQ(ParseAnswer(idle.Receive()).status, 0);
}

TEST_F(HttpServerTest, AnAddressThatCannotBeHadIsSaid) {
  Start();
  HttpOptions taken;
  taken.address = server_->address();
  EXPECT_THAT(
      std::string(HttpServer::Start(taken, {}).status().message()),
      AllOf(HasSubstr("--http: cannot listen on " + server_->address()), HasSubstr("in use")));
  for (const char* wrong : {"", "7702", ":7702", "host:", "host:port", "host:65536", "unix:/x"}) {
    EXPECT_THAT(std::string(CheckHttpAddress(wrong).message()),
                HasSubstr("expected host:port, such as 127.0.0.1:7702"));
  }
}

// ---- TLS ----

size_t Append(char* data, size_t, size_t size, void* out) {
  static_cast<std::string*>(out)->append(data, size);
  return size;
}

// The answer to a POST over TLS by a client that trusts `ca_pem`; empty if there is none.
std::string PostOverTls(const std::string& address, const std::string& ca_file) {
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(),
                                                                 &curl_easy_cleanup);
  const std::string url = "https://" + address + "/echo?q=over+TLS%20";
  std::string answer;
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_CAINFO, ca_file.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, "body");
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, Append);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &answer);
  curl_easy_perform(curl.get());
  return answer;
}

TEST_F(HttpServerTest, OverTlsItShowsTheCertificateThatItWasGiven) {
  const TempFolder folder, other_folder;
  const auto authority = CertificateAuthority::Open(folder.path());
  const auto other = CertificateAuthority::Open(other_folder.path());
  ASSERT_TRUE(authority.ok() && other.ok());
  HttpOptions options;
  options.tls = *authority->IssueServer({"127.0.0.1"}, 1);
  Start(options);
  EXPECT_EQ(PostOverTls(server_->address(), folder / "ca.pem"), "over TLS body");
  EXPECT_EQ(PostOverTls(server_->address(), other_folder / "ca.pem"), "");
  EXPECT_EQ(Send(Request("GET", "/echo", {}, "")).status, 0) << "plain text";
  options.request_limit = std::chrono::milliseconds(100);
  Start(options);
  Connection silent(server_->address());
  EXPECT_EQ(silent.Receive(), "");
}

}  // namespace
}  // namespace trainyard::coordinator
