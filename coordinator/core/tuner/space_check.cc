// What is wrong with a space: each dimension by itself, then what contradicts, then whether any of
// its points can be trained.
#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "coordinator/core/tuner/allowed.h"
#include "coordinator/core/tuner/draw.h"
#include "coordinator/core/tuner/fields.h"
#include "coordinator/core/tuner/space.h"

namespace trainyard::core {
namespace {

using network::Configuration;
using network::Problem;

// Of the paths that are no fields: what they may be.
struct Knob {
  const char* path;
  double min;
  double max;  // not included where `below`
  bool below;
  const char* expected;
};

constexpr Knob kKnobs[] = {
    {"network.width", 0.1, 16, false, "a factor from 0.1 to 16"},
    {"network.depth", 0, 8, false, "a whole number of blocks from 0 to 8"},
    {"network.dropout", 0, 1, true, "a rate from 0 to less than 1"},
};

const Knob* KnobAt(const std::string& path) {
  for (const Knob& knob : kKnobs) {
    if (path == knob.path) return &knob;
  }
  return nullptr;
}

bool IsWholeNumber(double value) { return value == std::floor(value); }

class SpaceCheck {
 public:
  SpaceCheck(const std::vector<Dimension>& dimensions, const Configuration& first)
      : dimensions_(dimensions),
        first_(first),
        known_(first.IsProgram() ||
               (first.network.input != network::Shape{} && first.network.classes != 0)) {}

  std::vector<Problem> Run() {
    for (const Dimension& dimension : dimensions_) Check(dimension);
    CheckContradictions();
    if (problems_.empty() && known_ && !dimensions_.empty()) CheckPoints();
    return std::move(problems_);
  }

 private:
  static std::string PathOf(const Dimension& d) { return absl::StrCat("tune.space.", d.path); }

  void Add(std::string path, std::string message) {
    problems_.push_back({std::move(path), std::move(message)});
  }

  void Check(const Dimension& d) {
    const size_t before = problems_.size();
    if (!d.networks.empty()) {
      CheckNetworks(d);
    } else if (!d.choices.empty()) {
      CheckChoices(d);
    } else {
      CheckRange(d);
    }
    if (problems_.size() == before && known_ && KnobAt(d.path) != nullptr) CheckEffect(d);
  }

  void CheckRange(const Dimension& d) {
    const size_t before = problems_.size();
    const std::string path = PathOf(d);
    Configuration copy = first_;
    const std::optional<FieldRef> field = FieldAt(copy, d.path);
    if (field && !IsNumber(*field)) {
      Add(path, absl::StrCat("found a range, expected a list of choices (", Expected(*field), ")"));
      return;
    }
    if (Space({d}, first_).whole(0)) {
      for (const auto& [key, value] : {std::pair("min", d.min), {"max", d.max}, {"step", d.step}}) {
        if (IsWholeNumber(value)) continue;
        Add(absl::StrCat(path, ".", key),
            absl::StrCat("found ", value, ", expected a whole number"));
      }
    }
    if (d.min > d.max) {
      Add(path, absl::StrCat("found a min of ", d.min, " above the max of ", d.max,
                             ", expected min to be at most max"));
    } else if (d.step > d.max - d.min) {
      Add(path + ".step", absl::StrCat("found ", d.step, ", expected at most ", d.max - d.min,
                                       ", which is max less min"));
    }
    if (d.log && d.min <= 0) {
      Add(path + ".min",
          absl::StrCat("found ", d.min, " beside log: true, expected a number greater than 0"));
    }
    if (d.log && d.step > 0) {
      Add(path + ".step",
          absl::StrCat("found ", d.step, " beside log: true, expected one of them"));
    }
    if (problems_.size() > before) return;
    CheckValue(d, d.min, path + ".min");
    if (d.max != d.min) CheckValue(d, d.max, path + ".max");
  }

  void CheckChoices(const Dimension& d) {
    const Knob* knob = KnobAt(d.path);
    for (size_t i = 0; i < d.choices.size(); ++i) {
      const std::string& text = d.choices[i];
      const std::string path = absl::StrCat(PathOf(d), "[", i, "]");
      Configuration copy = first_;
      const std::optional<FieldRef> field = FieldAt(copy, d.path);
      const auto earlier = d.choices.begin() + static_cast<int64_t>(i);
      if (std::find(d.choices.begin(), earlier, text) != earlier) {
        Add(path, absl::StrCat("found ", text, " a second time, expected each choice once"));
      } else if (knob != nullptr && !ParseNumber(text)) {
        Add(path, absl::StrCat("found \"", text, "\", expected ", knob->expected));
      } else if (field && !Set(*field, text)) {
        Add(path, absl::StrCat("found \"", text, "\", expected ", Expected(*field)));
      } else {
        // By its index, as Space has it, but for the knobs, which are looked at as numbers.
        CheckValue(d, knob != nullptr ? *ParseNumber(text) : static_cast<double>(i), path);
      }
    }
  }

  // Whether the dimension may have this value at all, whatever the others have.
  void CheckValue(const Dimension& d, double value, const std::string& path) {
    if (const Knob* knob = KnobAt(d.path)) {
      const bool whole = d.path != "network.depth" || IsWholeNumber(value);
      const bool within =
          value >= knob->min && (knob->below ? value < knob->max : value <= knob->max);
      if (!whole || !within) {
        Add(path, absl::StrCat("found ", value, ", expected ", knob->expected));
      }
      return;
    }
    const std::vector<Dimension> one = {d};
    const Configuration configuration = Space(one, first_).At({value});
    std::vector<Problem> found =
        first_.IsProgram() ? CheckChanges(configuration.changes)
        : absl::StartsWith(d.path, "network.layers")
            ? CheckLayers(configuration.network)
            : CheckTraining(configuration.training, {.input = first_.network.input});
    for (Problem& problem : found) {
      if (problem.path == d.path) Add(path, std::move(problem.message));
    }
  }

  void CheckNetworks(const Dimension& d) {
    for (size_t i = 0; i < d.networks.size(); ++i) {
      const std::string path = absl::StrCat(PathOf(d), "[", i, "]");
      const network::Network& network = d.networks[i];
      const auto earlier = d.networks.begin() + static_cast<int64_t>(i);
      if (std::find(d.networks.begin(), earlier, network) != earlier) {
        Add(path, "found a network a second time, expected each choice once");
      }
      for (const Problem& problem : known_ ? CheckNetwork(network) : CheckLayers(network)) {
        Add(path + problem.path.substr(d.path.size()), problem.message);
      }
    }
  }

  // A knob that changes nothing of this network would be searched in vain.
  void CheckEffect(const Dimension& d) {
    const std::vector<Dimension> one = {d};
    const Space space(one, first_);
    const int n = space.choices(0);
    if (n == 1 || (n == 0 && d.min == d.max)) return;
    const Configuration low = space.At({n > 0 ? 0 : d.min});
    for (int i = 1; i < std::max(n, 2); ++i) {
      if (!(space.At({n > 0 ? i : d.max}) == low)) return;
    }
    Add(PathOf(d),
        "found values that all make the same of this network, expected some that differ");
  }

  void CheckContradictions() {
    const auto has = [this](std::string_view path) {
      return std::any_of(dimensions_.begin(), dimensions_.end(),
                         [path](const Dimension& d) { return d.path == path; });
    };
    for (const Dimension& d : dimensions_) {
      if (!absl::StartsWith(d.path, "network.")) continue;
      if (has("network")) {
        Add(PathOf(d),
            "found beside network, expected either whole networks to choose from or "
            "changes of the one as written");
        continue;
      }
      if (!absl::StartsWith(d.path, "network.layers")) continue;
      for (const Knob& knob : kKnobs) {
        if (!has(knob.path)) continue;
        Add(PathOf(d), absl::StrCat("found beside ", knob.path,
                                    ", expected either single layers or all of them to change"));
        break;
      }
    }
  }

  void CheckPoints() {
    constexpr int kSamples = 64;
    const Space space(dimensions_, first_);
    std::string reason;
    for (int sample = 0; sample < kSamples + 2; ++sample) {
      Point point;
      for (size_t i = 0; i < space.size(); ++i) {
        Draws draws(/*seed=*/1, sample, 0, i);
        point.push_back(space.FromUnit(i, sample < 2 ? sample : draws.Unit()));
      }
      const Configuration configuration = space.At(point);
      if (Allowed({}, configuration)) return;
      if (sample > 0) continue;
      std::vector<Problem> found = CheckNetwork(configuration.network);
      if (found.empty()) found = CheckTraining(configuration.training, configuration.network);
      if (!found.empty()) reason = absl::StrCat(found[0].path, ": ", found[0].message);
    }
    Add("tune.space", absl::StrCat("found no valid network at any of ", kSamples + 2,
                                   " points, expected some (at the lowest: ", reason, ")"));
  }

  const std::vector<Dimension>& dimensions_;
  const Configuration& first_;
  const bool known_;
  std::vector<Problem> problems_;
};

}  // namespace

std::vector<Problem> CheckSpace(const std::vector<Dimension>& dimensions,
                                const Configuration& first) {
  return SpaceCheck(dimensions, first).Run();
}

}  // namespace trainyard::core
