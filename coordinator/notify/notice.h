// What people are told of a job, before any channel gives it its form: the facts, as words and as
// numbers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trainyard/v1/resources.pb.h"

namespace trainyard::coordinator {

enum class NoticeEvent { kCreated, kTargetMet, kTargetMissed, kFailed, kCancelled };
std::string_view Name(NoticeEvent event);  // "target_met", as it is written in files

struct JobNotice {
  // The same whenever this notice is delivered, and no other notice's: receivers tell a repetition
  // by it. Letters, digits and -.
  std::string key;
  NoticeEvent event = NoticeEvent::kFailed;
  v1::Job job;       // epochs need not be there
  std::string text;  // how it ended
  std::string link;  // to the job, for people; empty: none

  int64_t time_ms() const { return job.ended_ms() > 0 ? job.ended_ms() : job.created_ms(); }
};

// What the end of a job in this state is.
NoticeEvent EndOf(v1::JobState state);
// {job} and {commit} of the template filled in; empty where the template is.
std::string LinkTo(const v1::Job& job, std::string_view url_template);

// One line: "shoes: target met, val_accuracy 0.9130 (target >= 0.91)".
std::string Headline(const JobNotice& notice);
// The rest, as far as it is known: {"Commit", "3f2c..."}, ...; no value is empty.
std::vector<std::pair<std::string, std::string>> Facts(const JobNotice& notice);

// Of the target: "val_accuracy"; empty if the job's spec cannot be read.
std::string_view MetricName(const v1::Job& job);
// "val_accuracy 0.9130 at epoch 3 of trial 2"; empty without a best model.
std::string BestText(const v1::Job& job);
std::string TargetText(const v1::Job& job);  // ">= 0.91"
std::string StateName(const v1::Job& job);   // "below_target"

// At most so many bytes, cut between two characters, with "..." where something is left out.
std::string Shortened(std::string_view text, size_t bytes_max);
// One line for people: what a terminal or a mail header would act on becomes a space.
std::string OneLine(std::string_view text);

}  // namespace trainyard::coordinator
