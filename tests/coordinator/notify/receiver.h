// A real HTTP or mail server in a process of its own, for one test (receivers.py).
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "tests/coordinator/source/temp_folder.h"

namespace trainyard::coordinator {

class Receiver {
 public:
  explicit Receiver(const char* kind, int port = 0) {
    int input[2], output[2];
    EXPECT_EQ(pipe2(input, O_CLOEXEC), 0);
    EXPECT_EQ(pipe2(output, O_CLOEXEC), 0);
    const std::string wanted = std::to_string(port);
    process_ = fork();
    if (process_ == 0) {
      dup2(input[0], STDIN_FILENO);
      dup2(output[1], STDOUT_FILENO);
      execl("/usr/bin/python3", "python3", NOTIFY_RECEIVERS, kind, folder_.path().c_str(),
            wanted.c_str(), nullptr);
      _exit(127);
    }
    close(input[0]);
    close(output[1]);
    to_process_ = input[1];
    FILE* lines = fdopen(output[0], "r");
    EXPECT_EQ(fscanf(lines, "%d", &port_), 1) << "the receiver did not start";
    fclose(lines);
  }
  ~Receiver() {
    close(to_process_);
    waitpid(process_, nullptr, 0);
  }
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  int port() const { return port_; }
  std::string ca() const { return folder_ / "certificate.pem"; }

  // What has come in.
  std::vector<nlohmann::json> received() const {
    std::vector<nlohmann::json> items;
    std::ifstream file(folder_ / "received");
    for (std::string line; std::getline(file, line);) {
      auto item = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
      if (!item.is_discarded()) items.push_back(std::move(item));  // whole lines only
    }
    return items;
  }
  // Once so much has come in.
  std::vector<nlohmann::json> WaitFor(size_t count) const {
    for (int i = 0; i < 6'000 && received().size() < count; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    EXPECT_GE(received().size(), count);
    return received();
  }

 private:
  const TempFolder folder_;
  pid_t process_ = -1;
  int to_process_ = -1;
  int port_ = 0;
};

}  // namespace trainyard::coordinator
