#include "coordinator/rpc/tweak_plan.h"

#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/convert/api.h"
#include "coordinator/core/step.h"
#include "coordinator/core/tuner/changes.h"
#include "coordinator/core/tuning.h"
#include "coordinator/watch/tweak_overrides.h"
#include "proto/spec_convert.h"

namespace trainyard::coordinator {
namespace {

std::string Numbers(const core::State& state, const std::vector<core::TrialId>& trials) {
  return absl::StrJoin(trials, ", ", [&](std::string* out, core::TrialId id) {
    absl::StrAppend(out, state.trials.at(id).number);
  });
}

void Fill(const core::Tweak& tweak, const network::Configuration& configuration,
          v1::TweakJobResponse* response) {
  *response->mutable_tweak() = ToProto(tweak);
  *response->mutable_configuration() = trainyard::ToProto(configuration);
}

absl::StatusOr<TweakPlan> PlanAccepting(const core::Job& job) {
  if (!job.proposal) {
    const std::string why = job.reason.empty() ? "" : absl::StrCat(" (", job.reason, ")");
    return absl::FailedPreconditionError(
        absl::StrCat("job ", job.id.value, " has no proposal to accept", why,
                     ": name what is to change, as --set key=value"));
  }
  TweakPlan plan;
  plan.event.job = job.id;
  Fill(job.proposal->tweak, job.proposal->configuration, &plan.response);
  return plan;
}

// "trial 4 would start, built on trial 3; trial 2 would go on to epoch 9".
std::string WhatStarts(const core::Advice& advice, const core::Job& job) {
  const char* start = job.request.manual ? " would be proposed" : " would start";
  size_t trials = job.trials.size();
  std::vector<std::string> parts;
  for (const core::NextTrial& next : advice.next) {
    const bool built = next.base > 0 && next.tweak.move != "search";
    const std::string base = built ? absl::StrCat(", built on trial ", next.base) : "";
    parts.push_back(absl::StrCat("trial ", ++trials, start, base));
  }
  for (const core::Promotion& promotion : advice.promotions) {
    parts.push_back(absl::StrCat(
        "trial ", promotion.trial, " would go on to ",
        promotion.until_epoch > 0 ? absl::StrCat("epoch ", promotion.until_epoch) : "its end"));
  }
  return absl::StrJoin(parts, "; ");
}

}  // namespace

absl::StatusOr<TweakPlan> PlanTweak(const core::State& state, const v1::TweakJobRequest& request) {
  const core::Job& job = state.jobs.at(core::JobId{request.job()});
  if (request.overrides().empty()) {
    if (request.trial() == 0) return PlanAccepting(job);
    return absl::InvalidArgumentError(absl::StrCat(
        "trial ", request.trial(), ": found nothing to change in it, expected --set key=value"));
  }
  // The one that runs is named, so that no other is changed should it end meanwhile.
  int number = request.trial();
  const std::vector<core::TrialId> going = core::Going(state, job);
  if (number == 0 && going.size() == 1) number = state.trials.at(going.front()).number;
  if (number == 0 && going.size() > 1) {
    return absl::FailedPreconditionError(absl::StrCat(
        "trials ", Numbers(state, going), " are running: say which one is meant, as --trial ",
        state.trials.at(going.front()).number));
  }
  v1::JobSpec spec;
  spec.ParseFromString(job.request.spec_blob);
  auto tweaked = ApplyToConfiguration(spec, core::BaseForTweak(state, job, number),
                                      {request.overrides().begin(), request.overrides().end()});
  if (!tweaked.ok()) return tweaked.status();
  const core::Trial* named = core::TrialOf(state, job, number);
  const core::Trial& before = named != nullptr ? *named : core::BaseOfProposal(state, job);
  const core::Tweak tweak{.finding = {.kind = core::FindingKind::kManual},
                          .reason = "a person decided",
                          .changes = core::Difference(before.current(), *tweaked),
                          .base = before.number};
  TweakPlan plan;
  Fill(tweak, *tweaked, &plan.response);
  plan.event.job = job.id;
  plan.event.configuration = *std::move(tweaked);
  plan.event.trial = number;
  return plan;
}

absl::StatusOr<core::Answer> Foretell(core::State state, core::TweakRequested event,
                                      int64_t now_ms) {
  event.request = core::RequestId{1};
  const core::Result result =
      core::Step(state, core::Event{.now_ms = now_ms, .what = std::move(event)});
  for (const core::Effect& effect : result.effects) {
    const auto* answer = std::get_if<core::Answer>(&effect);
    if (answer == nullptr) continue;
    if (answer->code != absl::StatusCode::kOk) return absl::Status(answer->code, answer->message);
    return *answer;
  }
  return absl::InternalError("a tweak was not answered");
}

v1::TweakJobResponse Forecast(const core::State& state, const core::Job& job) {
  const core::Advice advice = core::Advise(state, job);
  v1::TweakJobResponse response;
  if (advice.next.empty()) {
    core::Tweak tweak;
    tweak.finding = advice.finding;
    *response.mutable_tweak() = ToProto(tweak);
  } else {
    Fill(advice.next.front().tweak, advice.next.front().configuration, &response);
  }
  const std::string starts = WhatStarts(advice, job);
  if (starts.empty() && advice.wait) {
    response.set_effect("what still runs decides what comes next");
    return response;
  }
  const std::string why = advice.stop.empty() ? "" : absl::StrCat(": ", advice.stop);
  response.set_effect(
      absl::StrCat(core::Going(state, job).empty() ? "" : "if what runs now ended as it is, ",
                   !job.request.tuning.enabled
                       ? "the job would end: tuning is off. With tuning it would go on so"
                   : starts.empty() ? absl::StrCat("nothing would follow", why)
                                    : starts));
  return response;
}

}  // namespace trainyard::coordinator
