#include "coordinator/watch/tweak_overrides.h"

#include "absl/strings/str_cat.h"
#include "coordinator/source/job_spec.h"
#include "coordinator/source/spec_override.h"
#include "coordinator/source/spec_reader.h"
#include "coordinator/source/spec_writer.h"

namespace trainyard::coordinator {

absl::StatusOr<network::Configuration> ApplyToConfiguration(
    const v1::JobSpec& spec, const network::Configuration& base,
    const std::vector<std::string>& overrides) {
  const v1::Program& program = spec.program();
  if (base.IsProgram() && !program.takes_changes() && program.framework() != "other") {
    return absl::InvalidArgumentError(
        "the program takes no changes from outside: it neither calls fit of a Keras model nor "
        "reads "
        "TRAINYARD_PARAMS_FILE (docs/programs.md)");
  }
  for (const std::string& text : overrides) {
    const std::string key = OverrideKey(text);
    const std::string part = key.substr(0, key.find_first_of(".["));
    const bool known = base.IsProgram() ? part == "changes" : part == "network" || part == "train";
    if (known) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "--set ", key, ": found '", part, "', expected ",
        base.IsProgram() ? "changes" : "network or train",
        ": nothing else may change between two trials", base.IsProgram() ? " of a program" : ""));
  }
  // Through the written form, so that a tweak is read and checked exactly as a spec is.
  JobSpec tweaked = FromProto(spec);
  tweaked.configuration = base;
  // The space of a search is one of trial 1's.
  tweaked.tune.clear_space();
  tweaked.tune.set_algorithm(v1::Tune::DIAGNOSE);
  auto parsed = ReadSpec({WriteSpec(tweaked), "proposal", overrides});
  if (!parsed.ok()) return parsed.status();
  if (base.IsProgram()) return parsed->spec.configuration;
  if (auto status = CompleteSpec(spec.data(), &*parsed); !status.ok()) return status;
  return parsed->spec.configuration;
}

}  // namespace trainyard::coordinator
