// Every path of a space sets what it names and reads it back; every space that cannot work is
// refused with the place and the reason.
#include "coordinator/core/tuner/space.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "coordinator/core/tuner/changes.h"
#include "coordinator/core/tuner/fields.h"
#include "tests/coordinator/core/search_job.h"

namespace trainyard::core {
namespace {

using network::Configuration;
using testing::ElementsAre;
using testing::HasSubstr;

// With one of everything that a path can lead to.
Configuration Rich() {
  using namespace network;  // NOLINT: a list of layers reads best without
  Conv conv{.filters = 8};
  conv.padding.same = true;
  Configuration rich;
  rich.network = {.input = {1, 28, 28},
                  .classes = 10,
                  .layers = {{conv},
                             {Relu{}},
                             {Residual{.body = {{conv}, {Relu{}}}}},
                             {Pool{}},
                             {Flatten{}},
                             {Dense{.units = 32}},
                             {Dropout{.rate = 0.5}},
                             {Dense{.units = 10}}}};
  EXPECT_TRUE(CheckNetwork(rich.network).empty());
  return rich;
}

Configuration At(const Configuration& first, const std::vector<Dimension>& dimensions,
                 const Point& point) {
  return Space(dimensions, first).At(point);
}

// What is wrong, as "path: message".
std::vector<std::string> Wrong(const std::vector<Dimension>& dimensions,
                               const Configuration& first = Rich()) {
  std::vector<std::string> lines;
  for (const network::Problem& problem : CheckSpace(dimensions, first)) {
    lines.push_back(problem.path + ": " + problem.message);
  }
  return lines;
}

TEST(Space, EveryNumberIsSetUnderItsPathAndReadBack) {
  int numbers = 0;
  const Configuration first = Rich();
  for (const std::string& path : SpacePaths(first)) {
    Configuration copy = first;
    const auto field = FieldAt(copy, path);
    if (!field || !IsNumber(*field)) continue;
    ++numbers;
    const double value = IsWhole(*field) ? 5 : 0.375;
    const std::vector<Dimension> space = {Range(path, 0, 10)};
    const Configuration set = At(first, space, {value});
    const std::vector<Change> changes = Difference(first, set);
    ASSERT_EQ(changes.size(), 1) << path;
    EXPECT_EQ(changes[0].path, path);
    EXPECT_EQ(Space(space, first).Read(0, set), value) << path;
  }
  EXPECT_GE(numbers, 20);
}

TEST(Space, WordsAreSetUnderTheirPathsAndReadBack) {
  const Configuration first = Rich();
  const std::map<std::string, std::vector<std::string>> words = {
      {"train.optimizer", {"sgd", "adamw"}},
      {"train.schedule.kind", {"constant", "step", "cosine", "one_cycle"}},
      {"train.initialisation", {"he", "glorot"}},
      {"train.nesterov", {"false", "true"}},
      {"train.augmentation.flip", {"true", "false"}},
      {"train.batch_size", {"32", "64"}}};
  for (const auto& [path, choices] : words) {
    const std::vector<Dimension> dimensions = {Choices(path, choices)};
    const Space space(dimensions, first);
    for (int i = 0; i < space.choices(0); ++i) {
      const Configuration set = space.At({static_cast<double>(i)});
      EXPECT_EQ(space.Read(0, set), i) << path;
      const std::vector<Change> changes = Difference(first, set);
      for (const Change& change : changes) {
        EXPECT_EQ(change.to, choices[static_cast<size_t>(i)]) << path;
      }
    }
  }
  const std::vector<Dimension> other = {Choices("train.batch_size", {"32", "64"})};
  EXPECT_FALSE(Space(other, first).Read(0, first)) << "128 is none of them";
}

TEST(Space, ALogarithmIsEvenOverItsDecades) {
  const std::vector<Dimension> dimensions = {LogRange("train.lr", 1e-4, 1),
                                             LogRange("train.batch_size", 8, 512)};
  const Configuration first = Rich();
  const Space space(dimensions, first);
  EXPECT_NEAR(space.FromUnit(0, 0), 1e-4, 1e-12);
  EXPECT_NEAR(space.FromUnit(0, 0.5), 1e-2, 1e-12);
  EXPECT_NEAR(space.FromUnit(0, 1), 1, 1e-12);
  EXPECT_EQ(space.FromUnit(1, 0.5), 64);
  EXPECT_EQ(space.FromUnit(1, 0.49), 61) << "whole numbers only";
}

TEST(Space, StepsAndWholeNumbersHaveEqualSharesAndBothEnds) {
  const std::vector<Dimension> dimensions = {Range("network.width", 0.5, 4, 0.5),
                                             Range("train.epochs", 3, 6),
                                             Range("train.momentum", 0.1, 0.4, 0.1)};
  const Configuration first = Rich();
  const Space space(dimensions, first);
  const std::vector<size_t> values = {8, 4, 4};
  for (size_t d = 0; d < space.size(); ++d) {
    std::map<double, int> seen;
    for (int i = 0; i < 800; ++i) ++seen[space.FromUnit(d, (i + 0.5) / 800)];
    EXPECT_EQ(seen.size(), values[d]);
    for (const auto& [value, count] : seen) EXPECT_EQ(count, 800 / values[d]) << value;
    EXPECT_EQ(seen.begin()->first, dimensions[d].min);
    EXPECT_NEAR(seen.rbegin()->first, dimensions[d].max, 1e-12);
    EXPECT_EQ(space.FromUnit(d, 1), seen.rbegin()->first);
  }
}

TEST(Space, UnitsGoBackAndForth) {
  const std::vector<Dimension> dimensions = {
      Range("network.width", 0.5, 4, 0.5), Range("train.epochs", 3, 6),
      LogRange("train.lr", 1e-4, 1), Range("train.momentum", 0.1, 0.9),
      Choices("train.optimizer", {"sgd", "adamw"})};
  const Configuration first = Rich();
  const Space space(dimensions, first);
  for (size_t d = 0; d < space.size(); ++d) {
    for (const double unit : {0.0, 0.1, 0.33, 0.5, 0.77, 1.0}) {
      const double value = space.FromUnit(d, unit);
      EXPECT_NEAR(space.FromUnit(d, space.ToUnit(d, value)), value, 1e-9) << d;
    }
  }
}

TEST(Space, WidthChangesAllFiltersAndHiddenUnits) {
  const std::vector<Dimension> width = {Range("network.width", 0.5, 4)};
  const Configuration first = Rich();
  const auto widths = [&](double factor) {
    const Configuration set = At(first, width, {factor});
    EXPECT_TRUE(CheckNetwork(set.network).empty()) << factor;
    EXPECT_NEAR(*Space(width, first).Read(0, set), factor, 1e-9);
    return std::vector<int>{
        std::get<network::Conv>(set.network.layers[0].op).filters,
        std::get<network::Conv>(std::get<network::Residual>(set.network.layers[2].op).body[0].op)
            .filters,
        std::get<network::Dense>(set.network.layers[5].op).units,
        std::get<network::Dense>(set.network.layers[7].op).units};
  };
  EXPECT_THAT(widths(0.5), ElementsAre(4, 4, 16, 10));
  EXPECT_THAT(widths(1), ElementsAre(8, 8, 32, 10));
  EXPECT_THAT(widths(4), ElementsAre(32, 32, 128, 10));
}

TEST(Space, DepthAddsBlocksAsWideAsWhatTheyArePutInto) {
  const std::vector<Dimension> dimensions = {Range("network.depth", 0, 3),
                                             Range("network.width", 1, 4)};
  const Configuration first = Rich();
  const Configuration set = At(first, dimensions, {2, 4});
  EXPECT_TRUE(CheckNetwork(set.network).empty());
  EXPECT_EQ(set.network.layers.size(), first.network.layers.size() + 2 * 3);
  EXPECT_EQ(std::get<network::Conv>(set.network.layers[3].op).filters, 32);
  EXPECT_EQ(Space(dimensions, first).Read(0, set), 2);
  EXPECT_EQ(Space(dimensions, first).Read(1, set), 4);
}

TEST(Space, DropoutIsSetPutInOrLeftOut) {
  const std::vector<Dimension> dropout = {Range("network.dropout", 0, 0.6)};
  const Configuration first = Rich();
  EXPECT_EQ(Difference(first, At(first, dropout, {0.1}))[0].path, "network.layers[6].dropout.rate");
  EXPECT_EQ(Space(dropout, first).Read(0, At(first, dropout, {0.1})), 0.1);
  Configuration without = first;
  without.network.layers.erase(without.network.layers.begin() + 6);
  EXPECT_EQ(At(without, dropout, {0}), without);
  EXPECT_EQ(At(without, dropout, {0.5}).network, first.network);
}

TEST(Space, ChoosesAmongWholeNetworks) {
  const Configuration first = Rich();
  const std::vector<Dimension> dimensions = {
      {.path = "network", .networks = {SampleRequest().configuration.network, first.network}}};
  const Space space(dimensions, first);
  EXPECT_EQ(space.At({0}).network, SampleRequest().configuration.network);
  EXPECT_EQ(space.Read(0, first), 1);
  EXPECT_EQ(space.Text({0}), "network 1 of 2");
  EXPECT_TRUE(Wrong(dimensions).empty());
}

TEST(Space, ReadsLayersUnderTheirOwnPaths) {
  const Configuration first = Rich();
  const std::vector<Dimension> dimensions = {
      Choices("network.layers[2].residual.layers[0].conv.kernel", {"1", "3", "5"}),
      Range("network.layers[5].dense.units", 16, 64)};
  const Configuration set = At(first, dimensions, {2, 48});
  EXPECT_THAT(Space(dimensions, first).Text({2, 48}),
              HasSubstr("conv.kernel 5, network.layers[5].dense.units 48"));
  EXPECT_EQ(Space(dimensions, first).Read(0, set), 2);
  EXPECT_EQ(Space(dimensions, first).Read(1, set), 48);
  EXPECT_TRUE(Wrong(dimensions).empty());
}

TEST(CheckSpace, AcceptsWhatCanBeSearched) {
  EXPECT_THAT(Wrong(HillSpace()), ElementsAre());
  EXPECT_THAT(Wrong({Range("network.width", 0.5, 4, 0.5), Choices("network.depth", {"0", "2"}),
                     Range("network.dropout", 0, 0.5)}),
              ElementsAre());
  Configuration program;
  EXPECT_THAT(Wrong({Range("changes.width", 0.5, 2), Choices("changes.optimizer", {"sgd", "adam"})},
                    program),
              ElementsAre());
}

TEST(CheckSpace, NamesWhatIsWrongWithOneDimension) {
  const std::pair<Dimension, const char*> cases[] = {
      {Range("train.lr", 0.1, 0.01),
       "tune.space.train.lr: found a min of 0.1 above the max of 0.01, expected min to be at most"},
      {LogRange("train.weight_decay", 0, 1),
       "weight_decay.min: found 0 beside log: true, expected a number greater than 0"},
      {{.path = "train.lr", .min = 1, .max = 2, .log = true, .step = 0.5},
       "train.lr.step: found 0.5 beside log: true, expected one of them"},
      {Range("train.lr", 0.1, 0.2, 0.5), "train.lr.step: found 0.5, expected at most 0.1"},
      {Range("train.lr", 0, 0.2), "train.lr.min: found 0, expected a number greater than 0"},
      {Range("train.momentum", 0, 1), "train.momentum.max: found 1, expected a number from 0"},
      {Range("train.epochs", 1.5, 3), "train.epochs.min: found 1.5, expected a whole number"},
      {Range("train.nesterov", 0, 1),
       "train.nesterov: found a range, expected a list of choices (false or true)"},
      {Choices("train.nesterov", {"true", "maybe"}),
       "train.nesterov[1]: found \"maybe\", expected false or true"},
      {Choices("train.optimizer", {"adam"}),
       "train.optimizer[0]: found \"adam\", expected sgd or adamw"},
      {Choices("train.batch_size", {"32", "3.5"}),
       "train.batch_size[1]: found \"3.5\", expected a whole number"},
      {Choices("train.batch_size", {"32", "0"}), "train.batch_size[1]: found 0, expected"},
      {Choices("train.batch_size", {"32", "32"}),
       "train.batch_size[1]: found 32 a second time, expected each choice once"},
      {Range("network.width", 0, 2), "width.min: found 0, expected a factor from 0.1 to 16"},
      {Choices("network.width", {"wide"}), "width[0]: found \"wide\", expected a factor"},
      {Range("network.depth", 0, 9), "depth.max: found 9, expected a whole number of blocks"},
      {Choices("network.depth", {"0.5"}), "depth[0]: found 0.5, expected a whole number of blocks"},
      {Range("network.dropout", 0, 1), "dropout.max: found 1, expected a rate from 0 to less"},
      {Range("network.layers[0].conv.filters", 0, 8), "conv.filters.min: found 0, expected"},
      {Range("network.width", 1, 1.01), "found values that all make the same of this network"},
  };
  for (const auto& [dimension, message] : cases) {
    EXPECT_THAT(Wrong({dimension}), ElementsAre(HasSubstr(message))) << dimension.path;
  }
}

TEST(CheckSpace, NamesDimensionsThatContradict) {
  const Dimension networks{.path = "network", .networks = {Rich().network}};
  EXPECT_THAT(Wrong({networks, Range("network.width", 1, 2)}),
              ElementsAre(HasSubstr("tune.space.network.width: found beside network, expected")));
  EXPECT_THAT(Wrong({Range("network.layers[0].conv.filters", 4, 8), Range("network.depth", 0, 2)}),
              ElementsAre(HasSubstr("filters: found beside network.depth, expected either")));
}

TEST(CheckSpace, NamesANetworkThatCannotBe) {
  Configuration first = Rich();
  network::Network broken = first.network;
  broken.layers.pop_back();
  EXPECT_THAT(Wrong({{.path = "network", .networks = {first.network, broken}}}),
              ElementsAre(HasSubstr("tune.space.network[1]")));
  EXPECT_THAT(Wrong({{.path = "network", .networks = {broken, broken}}}),
              testing::Contains(HasSubstr("network[1]: found a network a second time")));
}

TEST(CheckSpace, RefusesASpaceWithoutAValidPoint) {
  // Each for itself is possible; together the residual's sides never agree.
  const std::vector<Dimension> space = {Range("network.layers[0].conv.filters", 16, 32, 16)};
  EXPECT_THAT(Wrong(space), ElementsAre(HasSubstr("tune.space: found no valid network at any of")));
}

TEST(CheckSpace, LeavesOutWhatNeedsShapesWhileThereAreNone) {
  Configuration first = Rich();
  first.network.input = {};
  first.network.classes = 0;
  EXPECT_TRUE(Wrong({Range("network.depth", 0, 2)}, first).empty());
  EXPECT_EQ(Wrong({Range("network.depth", 0, 20)}, first).size(), 1);
}

}  // namespace
}  // namespace trainyard::core
