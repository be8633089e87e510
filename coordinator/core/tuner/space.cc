#include "coordinator/core/tuner/space.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "coordinator/core/tuner/fields.h"
#include "coordinator/core/tuner/grow.h"

namespace trainyard::core {
namespace {

using network::Configuration;
using network::Dense;
using network::Dropout;
using network::Layer;
using network::Network;

constexpr char kNetwork[] = "network";
constexpr char kWidth[] = "network.width";
constexpr char kDepth[] = "network.depth";
constexpr char kDropout[] = "network.dropout";
// In the order in which they are applied.
constexpr std::array<const char*, 4> kWholes = {kNetwork, kWidth, kDepth, kDropout};

size_t Order(const std::string& path) {
  return std::find(kWholes.begin(), kWholes.end(), path) - kWholes.begin();
}

bool IsKnob(const std::string& path) { return path != kNetwork && Order(path) < kWholes.size(); }

void SetDropout(double rate, Network& network) {
  size_t dense = 0;
  if (Dropout* dropout = LastDropout(network, &dense)) {
    dropout->rate = rate;
  } else if (rate > 0 && dense < network.layers.size()) {
    network.layers.insert(network.layers.begin() + static_cast<int64_t>(dense),
                          Layer{Dropout{rate}});
  }
}

// Filters of the widest conv at any depth, or without convs units of the widest hidden dense layer.
int Widest(const Network& network, int* convs) {
  int filters = 0;
  int units = 0;
  int last = 0;
  *convs = 0;
  const std::function<void(const std::vector<Layer>&)> look = [&](const auto& layers) {
    for (const Layer& layer : layers) {
      if (const auto* conv = std::get_if<network::Conv>(&layer.op)) {
        filters = std::max(filters, conv->filters);
        ++*convs;
      } else if (const auto* dense = std::get_if<Dense>(&layer.op)) {
        units = std::max(units, last);
        last = dense->units;
      } else if (const auto* residual = std::get_if<network::Residual>(&layer.op)) {
        look(residual->body);
        look(residual->shortcut);
      }
    }
  };
  look(network.layers);
  return filters > 0 ? filters : units;
}

}  // namespace

Space::Space(const std::vector<Dimension>& dimensions, const Configuration& first)
    : dimensions_(dimensions), first_(first) {
  Configuration copy = first;
  for (const Dimension& dimension : dimensions) {
    const std::optional<FieldRef> field = FieldAt(copy, dimension.path);
    whole_.push_back(dimension.path == kDepth || (field && IsWhole(*field)));
  }
}

int Space::choices(size_t dimension) const {
  const Dimension& d = dimensions_[dimension];
  return static_cast<int>(std::max(d.choices.size(), d.networks.size()));
}

double Space::StepOf(size_t dimension) const {
  const Dimension& d = dimensions_[dimension];
  return d.step > 0 || d.log || !whole(dimension) ? d.step : 1;
}

double Space::FromUnit(size_t dimension, double unit) const {
  const Dimension& d = dimensions_[dimension];
  const auto share = [unit](double shares) {
    return std::clamp(std::floor(unit * shares), 0.0, shares - 1);
  };
  if (const int n = choices(dimension); n > 0) return share(n);
  if (d.log) {
    const double value = std::exp(std::lerp(std::log(d.min), std::log(d.max), unit));
    return std::clamp(whole(dimension) ? std::round(value) : value, d.min, d.max);
  }
  const double step = StepOf(dimension);
  if (step == 0) return std::lerp(d.min, d.max, std::clamp(unit, 0.0, 1.0));
  return d.min + step * share(std::floor((d.max - d.min) / step + 1e-9) + 1);
}

double Space::ToUnit(size_t dimension, double value) const {
  const Dimension& d = dimensions_[dimension];
  if (const int n = choices(dimension); n > 0) return (value + 0.5) / n;
  if (d.min == d.max) return 0.5;
  value = std::clamp(value, d.min, d.max);
  if (d.log) return std::log(value / d.min) / std::log(d.max / d.min);
  const double step = StepOf(dimension);
  if (step == 0) return (value - d.min) / (d.max - d.min);
  const double steps = std::floor((d.max - d.min) / step + 1e-9) + 1;
  return (std::min(std::round((value - d.min) / step), steps - 1) + 0.5) / steps;
}

void Space::Apply(size_t dimension, double value, Configuration& configuration) const {
  const Dimension& d = dimensions_[dimension];
  Network& network = configuration.network;
  const auto choice = static_cast<size_t>(value);
  if (d.path == kNetwork) {
    network = d.networks.at(choice);
    return;
  }
  if (!IsKnob(d.path)) {
    const std::optional<FieldRef> field = FieldAt(configuration, d.path);
    if (!field) return;
    if (d.choices.empty()) {
      Set(*field, value);
    } else {
      Set(*field, d.choices.at(choice));
    }
    return;
  }
  if (!d.choices.empty()) value = ParseNumber(d.choices.at(choice)).value_or(0);
  if (d.path == kDropout) {
    SetDropout(value, network);
  } else if (d.path == kWidth) {
    if (auto scaled = Widen(network, value, network::kFiltersMax)) network = *std::move(scaled);
  } else {
    for (int i = 0; i < std::lround(value); ++i) {
      if (auto deeper = Deepen(network)) network = *std::move(deeper);
    }
  }
}

Configuration Space::At(const Point& point) const {
  std::vector<size_t> order(size());
  for (size_t i = 0; i < size(); ++i) order[i] = i;
  // Whatever is no change of the whole network comes first, under the indices of trial 1's layers.
  const auto rank = [this](size_t i) { return (Order(dimensions_[i].path) + 1) % 5; };
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return rank(a) < rank(b); });
  Configuration configuration = first_;
  for (const size_t i : order) Apply(i, point[i], configuration);
  return configuration;
}

std::optional<double> Space::Measure(const std::string& path,
                                     const Configuration& configuration) const {
  Configuration copy = configuration;
  if (path == kDropout) {
    size_t dense = 0;
    const Dropout* dropout = LastDropout(copy.network, &dense);
    return dropout == nullptr ? 0 : dropout->rate;
  }
  if (IsKnob(path)) {
    int convs = 0;
    int convs_before = 0;
    const int widest = Widest(configuration.network, &convs);
    const int before = Widest(first_.network, &convs_before);
    if (path == kDepth) return convs - convs_before;
    return before == 0 ? 1 : static_cast<double>(widest) / before;
  }
  const std::optional<FieldRef> field = FieldAt(copy, path);
  if (!field || !IsNumber(*field)) return std::nullopt;
  return Get(*field);
}

std::optional<double> Space::Read(size_t dimension, const Configuration& configuration) const {
  const Dimension& d = dimensions_[dimension];
  if (choices(dimension) == 0) return Measure(d.path, configuration);
  if (IsKnob(d.path)) {
    const double measured = *Measure(d.path, configuration);
    const auto distance = [&](const std::string& text) {
      return std::abs(ParseNumber(text).value_or(0) - measured);
    };
    return std::min_element(
               d.choices.begin(), d.choices.end(),
               [&](const auto& a, const auto& b) { return distance(a) < distance(b); }) -
           d.choices.begin();
  }
  for (int choice = 0; choice < choices(dimension); ++choice) {
    Configuration same = configuration;
    Apply(dimension, choice, same);
    if (same == configuration) return choice;
  }
  return std::nullopt;
}

std::string Space::Text(const Point& point) const {
  std::string text;
  for (size_t i = 0; i < size(); ++i) {
    const Dimension& d = dimensions_[i];
    const auto choice = static_cast<size_t>(point[i]);
    absl::StrAppend(&text, text.empty() ? "" : ", ", d.path, " ");
    if (!d.networks.empty()) {
      absl::StrAppend(&text, choice + 1, " of ", d.networks.size());
    } else if (!d.choices.empty()) {
      absl::StrAppend(&text, d.choices.at(choice));
    } else {
      absl::StrAppend(&text, absl::StrFormat("%.4g", point[i]));
    }
  }
  return text;
}

std::vector<std::string> SpacePaths(const Configuration& first) {
  std::vector<std::string> paths;
  Configuration copy = first;
  for (Field& field : FieldsOf(copy)) paths.push_back(std::move(field.path));
  if (!first.IsProgram()) paths.insert(paths.end(), kWholes.begin(), kWholes.end());
  return paths;
}

}  // namespace trainyard::core
