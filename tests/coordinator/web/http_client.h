// HTTP as bytes on a socket, so that a test can send what no well-behaved client would.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <map>
#include <string>
#include <string_view>

namespace trainyard::coordinator {

using Headers = std::map<std::string, std::string>;

class Connection {
 public:
  explicit Connection(const std::string& address) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(connect(fd_, reinterpret_cast<sockaddr*>(&to), sizeof to), 0) << strerror(errno);
  }
  ~Connection() { close(fd_); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // False: the other side takes no more.
  bool Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }
  // Everything up to the end, which must come within a minute.
  std::string Receive() {
    std::string all;
    char buffer[4096];
    while (true) {
      pollfd waited{fd_, POLLIN, 0};
      if (poll(&waited, 1, 60'000) <= 0) {
        ADD_FAILURE() << "no end after " << all;
        return all;
      }
      const ssize_t got = recv(fd_, buffer, sizeof buffer, 0);
      if (got <= 0) return all;
      all.append(buffer, static_cast<size_t>(got));
    }
  }

 private:
  int fd_ = -1;
};

struct Answer {
  int status = 0;  // 0: the connection ended without one
  std::string head, body;
};

inline Answer ParseAnswer(const std::string& text) {
  Answer answer;
  const size_t end = text.find("\r\n\r\n");
  if (!text.starts_with("HTTP/1.1 ") || end == text.npos) return answer;
  answer.status = std::stoi(text.substr(9, 3));
  answer.head = text.substr(0, end);
  answer.body = text.substr(end + 4);
  return answer;
}

// A request with its body's length, unless the headers say it otherwise.
inline std::string Request(const std::string& method, const std::string& target, Headers headers,
                           const std::string& body) {
  headers.try_emplace("Host", "trainyard.example");
  if (!body.empty() && !headers.contains("Transfer-Encoding")) {
    headers.try_emplace("Content-Length", std::to_string(body.size()));
  }
  std::string text = method + " " + target + " HTTP/1.1\r\n";
  for (const auto& [name, value] : headers) text += name + ": " + value + "\r\n";
  return text + "\r\n" + body;
}

inline Answer Ask(const std::string& address, const std::string& request) {
  Connection connection(address);
  EXPECT_TRUE(connection.Send(request));
  return ParseAnswer(connection.Receive());
}

}  // namespace trainyard::coordinator
