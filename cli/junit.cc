#include "cli/junit.h"

#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "cli/event_line.h"
#include "cli/job_view.h"
#include "cli/text.h"
#include "cli/tweak_view.h"

namespace trainyard::cli {
namespace {

// Harmless first, so that no character is left that XML forbids.
std::string Escape(const std::string& text) {
  std::string out;
  for (const char c : CleanLine(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

struct Case {
  std::string name;
  double seconds = 0;
  std::string element;  // "failure", "error", "skipped", or empty: passed
  std::string type;
  std::string message;
  std::string output;
};

Case TrialCase(const v1::Trial& trial) {
  Case result;
  result.name = fmt::format("trial {}", trial.number());
  result.seconds = trial.training_ms() / 1000.0;
  result.output =
      fmt::format("{} after {} epochs, {} restarts, best {}", StateCell(trial.state()).text,
                  trial.epochs_size(), trial.restarts(), FormatMetric(trial.best_metric()));
  if (trial.has_tweak())
    result.output +=
        fmt::format("; {}; {}", ChangesText(trial.tweak().changes()), trial.tweak().reason());
  if (const std::string gain = GainText(trial); !gain.empty()) result.output += "; " + gain;
  for (const v1::Adjustment& adjustment : trial.adjustments())
    result.output += "; " + AdjustmentText(trial.number(), adjustment);
  if (!trial.reason().empty()) result.output += "; " + trial.reason();
  // A trial that leads nowhere is part of the search; whether the job is good is the target's case.
  if (trial.state() != v1::TRIAL_STATE_COMPLETED) {
    result.element = "skipped";
    result.message = StateCell(trial.state()).text;
  }
  return result;
}

Case TargetCase(const v1::Job& job, const std::string& problem) {
  Case result;
  const std::string target = TargetText(job.spec().target());
  result.name = target.empty() ? "job" : "target " + target;
  result.output = BestText(job);
  if (job.has_model() && job.model().test_count() > 0) {
    result.output +=
        fmt::format(", test accuracy {} on {} images", FormatMetric(job.model().test_accuracy()),
                    job.model().test_count());
  }
  if (!problem.empty()) {
    result.element = "error";
    result.type = "no result";
    result.message = problem;
  } else if (job.state() == v1::JOB_STATE_BELOW_TARGET) {
    result.element = "failure";
    result.type = "below target";
    result.message = job.reason();
  } else if (job.state() == v1::JOB_STATE_FAILED || job.state() == v1::JOB_STATE_CANCELLED) {
    result.element = "error";
    result.type = StateCell(job.state()).text;
    result.message = job.reason();
  } else if (!IsOver(job.state())) {
    result.element = "skipped";
    result.message = "the job goes on";
  }
  return result;
}

std::string Render(const Case& test, const std::string& suite) {
  std::string out = fmt::format("  <testcase classname=\"{}\" name=\"{}\" time=\"{:.3f}\"",
                                Escape(suite), Escape(test.name), test.seconds);
  out += ">\n";
  if (!test.element.empty()) {
    out += fmt::format("    <{} message=\"{}\"", test.element, Escape(test.message));
    if (!test.type.empty()) out += fmt::format(" type=\"{}\"", Escape(test.type));
    out += "/>\n";
  }
  if (!test.output.empty())
    out += fmt::format("    <system-out>{}</system-out>\n", Escape(test.output));
  return out + "  </testcase>\n";
}

}  // namespace

std::string JunitReport(const v1::Job& job, const std::string& problem) {
  std::vector<Case> cases;
  for (const v1::Trial& trial : job.trials()) cases.push_back(TrialCase(trial));
  cases.push_back(TargetCase(job, problem));
  int failures = 0, errors = 0, skipped = 0;
  double seconds = 0;
  std::string body;
  const std::string suite =
      "trainyard." + (job.name().empty() ? fmt::format("job-{}", job.id()) : job.name());
  for (const Case& test : cases) {
    failures += test.element == "failure";
    errors += test.element == "error";
    skipped += test.element == "skipped";
    seconds += test.seconds;
    body += Render(test, suite);
  }
  return fmt::format(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" "
      "time=\"{:.3f}\">\n{}"
      "</testsuite>\n",
      Escape(suite), cases.size(), failures, errors, skipped, seconds, body);
}

}  // namespace trainyard::cli
