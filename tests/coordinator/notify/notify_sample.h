// What the tests of notifications start from: a notice of a job that met its target, and a folder
// with the secrets that notify files point to.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

#include "coordinator/notify/notice.h"
#include "coordinator/notify/notify_file.h"
#include "tests/coordinator/source/temp_folder.h"

namespace trainyard::coordinator {

inline constexpr char kCommit[] = "0123456789abcdef0123456789abcdef01234567";

inline JobNotice SampleNotice() {
  JobNotice notice;
  notice.key = "trainyard-00112233-notice-7";
  notice.event = NoticeEvent::kTargetMet;
  notice.text = "job 3 succeeded: target met at epoch 5";
  notice.link = "https://ci.example/trainyard/3";
  v1::Job& job = notice.job;
  job.set_id(3);
  job.set_name("small");
  job.set_project("shoes");
  job.set_source("git@github.com:vision/shoes.git");
  job.set_commit(kCommit);
  job.set_state(v1::JOB_STATE_SUCCEEDED);
  job.set_reason("target met at epoch 5");
  job.mutable_spec()->mutable_target()->set_metric(v1::Target::VAL_ACCURACY);
  job.mutable_spec()->mutable_target()->set_bound(0.91);
  job.set_best_metric(0.9134);
  job.set_best_trial(2);
  job.set_best_epoch(5);
  job.add_trials();
  job.add_trials();
  job.mutable_model()->set_test_accuracy(0.9012);
  job.mutable_model()->set_test_count(10'000);
  job.set_created_ms(1'700'000'000'000);
  job.set_ended_ms(1'700'000'600'000);
  return notice;
}

// Reads text as if it were notify.yaml in a folder of its own.
class NotifyFolder {
 public:
  NotifyFolder() {
    folder_.Write("ca.pem", "PEM");
    folder_.Write("partner-ca.pem", "PEM");
    Secret("secrets/slack-url", "https://hooks.slack.example/services/T0/B0/hidden");
    Secret("chat-url", "https://chat.example/hooks/hidden");
    for (const char* name : {"secrets/mail-password", "secrets/github-token", "chat-secret",
                             "partner-password", "forge-token"}) {
      Secret(name, "hidden");
    }
    setenv("SLACK_URL", "https://hooks.slack.example/services/hidden", 1);
    for (const char* name : {"REGISTRY_SECRET", "MAIL_PASSWORD", "GITHUB_TOKEN"}) {
      setenv(name, "hidden", 1);
    }
  }

  const TempFolder& folder() const { return folder_; }
  void Secret(const std::string& name, const std::string& text, int mode = 0600) const {
    const std::string path = folder_.Write(name, text + "\n");
    std::filesystem::permissions(path, static_cast<std::filesystem::perms>(mode));
  }

  absl::StatusOr<NotifyConfig> Read(const std::string& text) const {
    return ReadNotifyText(text, folder_ / "notify.yaml");
  }
  NotifyConfig Accepted(const std::string& text) const {
    auto config = Read(text);
    EXPECT_TRUE(config.ok()) << config.status().message() << "\n" << text;
    return config.ok() ? *config : NotifyConfig();
  }
  // The message, with the file's folder left out.
  std::string Refusal(const std::string& text) const {
    auto config = Read(text);
    EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument) << text;
    std::string message(config.status().message());
    const std::string here = folder_.path().string() + "/";
    for (size_t at; (at = message.find(here)) != message.npos;) message.erase(at, here.size());
    return message;
  }

 private:
  TempFolder folder_;
};

}  // namespace trainyard::coordinator
