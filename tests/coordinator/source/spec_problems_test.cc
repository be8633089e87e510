// Everything wrong is named with line, column, path, what was found and what was expected.
#include <gmock/gmock.h>

#include <algorithm>

#include "tests/coordinator/source/spec_sample.h"

namespace trainyard::coordinator {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// The refusal of the small spec with one more line at its end (line 8).
std::string RefusalOf(const std::string& line) { return Refusal(kSmallSpec + line + "\n"); }

// The refusal of the small spec with this layer first (line 6).
std::string RefusalOfLayer(const std::string& layer) {
  return Refusal(Replaced(kSmallSpec, "    - flatten\n", "    - " + layer + "\n    - flatten\n"));
}

TEST(SpecProblems, UnknownKeysNameTheNearest) {
  EXPECT_EQ(RefusalOf("train: {learning_rate: 0.1}"),
            "trainyard.yaml:8:9: train: found the unknown key \"learning_rate\", did you mean lr?");
  EXPECT_EQ(RefusalOf("trian: {}"),
            "trainyard.yaml:8:1: found the unknown key \"trian\", did you mean train?");
  EXPECT_EQ(RefusalOf("budget: {zzzzzz: 1}"),
            "trainyard.yaml:8:10: budget: found the unknown key \"zzzzzz\", expected trials, time "
            "or epochs");
  EXPECT_EQ(RefusalOfLayer("convolution: {filters: 2}"),
            "trainyard.yaml:6:7: network.layers[0]: found the unknown layer \"convolution\", "
            "expected conv, batch_norm, relu, leaky_relu, max_pool, avg_pool, global_avg_pool, "
            "dropout, flatten, dense or residual");
  EXPECT_THAT(RefusalOfLayer("maxpol: 2"), HasSubstr("did you mean max_pool?"));
  EXPECT_THAT(RefusalOfLayer("softmax"), HasSubstr("leave it out"));
  EXPECT_THAT(RefusalOfLayer("conv: {filters: 2, kernl: 3}"),
              HasSubstr("6:26: network.layers[0].conv: found the unknown key \"kernl\", did you "
                        "mean kernel?"));
  EXPECT_THAT(RefusalOfLayer("relu: {slope: 1}"), HasSubstr("expected nothing"));
}

TEST(SpecProblems, DuplicateKeys) {
  EXPECT_EQ(RefusalOf("name: a\nname: b"),
            "trainyard.yaml:9:1: found \"name\" a second time (first in line 8), expected it once");
}

TEST(SpecProblems, WrongTypesAndRanges) {
  struct Case {
    const char* line;
    const char* message;
  };
  const Case cases[] = {
      {"train: {epochs: ten}", "8:17: train.epochs: found \"ten\", expected a whole number"},
      {"train: {epochs: 1.5}", "train.epochs: found 1.5, expected a whole number"},
      {"train: {epochs: \"3\"}",
       "found \"3\", expected a whole number from 1 to 2147483647 "
       "(without quotes)"},
      {"train: {epochs: 010}", "(octal is not supported"},
      {"train: {epochs: 0x10}", "(hexadecimal is not supported)"},
      {"train: {epochs: 1_000}", "(without _)"},
      {"train: {epochs: 99999999999}", "found 99999999999, expected a whole number"},
      {"train: {batch_size: 0}", "train.batch_size: found 0"},
      {"train: {lr: .nan}", "train.lr: found \".nan\", expected a finite number"},
      {"train: {lr: inf}", "train.lr: found \"inf\", expected a finite number"},
      {"train: {lr: 1e999}", "train.lr: found 1e999, expected a finite number"},
      {"train: {lr: 0}", "train.lr: found 0, expected a number greater than 0"},
      {"train: {lr: \"0,1\"}", "train.lr: found"},
      {"train: {lr: [0.1]}", "train.lr: found a list, expected a finite number"},
      {"train: {lr: }", "train.lr: found nothing, expected a finite number"},
      {"train: {nesterov: yes}", "train.nesterov: found \"yes\", expected true or false"},
      {"train: {nesterov: 1}", "train.nesterov: found 1, expected true or false"},
      {"train: {optimizer: adam}", "found \"adam\", expected sgd or adamw"},
      {"train: {precision: fp16}",
       "8:20: train.precision: found \"fp16\", expected fp32, tf32 or bf16"},
      {"train: {precision: 32}", "train.precision: found 32, expected fp32, tf32 or bf16"},
      {"train: {seed: -1}", "train.seed: found -1, expected a whole number from 0 to 18446"},
      {"train: 5", "8:8: train: found 5, expected a map with epochs"},
      {"train: {schedule: linear}", "expected constant, step, cosine or one_cycle"},
      {"train: {schedule: {kind: cosine, warmup_epochs: 20}}",
       "8:49: train.schedule.warmup_epochs"},
      {"validation: {fraction: 1}", "validation.fraction: found 1, expected a number between"},
      {"validation: 1/0", "found \"1/0\", expected a finite number"},
      {"target: val_accuracy <= 0.9", "8:9: target: found \"val_accuracy <= 0.9\", expected"},
      {"target: accuracy >= 0.9", "target: found \"accuracy >= 0.9\""},
      {"target: 91",
       "target: found 91, expected a number greater than 0, at most 1 (91 % is 0.91)"},
      {"target: val_accuracy >= nan", "target: found"},
      {"target: {metric: val_loss, at_least: 1}", "target.at_least: found a bound for val_loss"},
      {"target: {metric: val_loss}", "8:9: target: found no at_most, expected the bound"},
      {"budget: {time: 90}", "budget.time: found 90, expected a duration"},
      {"budget: {time: 1:30}", "expected a duration"},
      {"budget: {time: 99999999999999999999d}", "expected a duration"},
      {"budget: {trials: 0}", "budget.trials: found 0"},
      {"tune: {max_trials: -1}", "tune.max_trials: found -1"},
      {"checkpoint: {every_seconds: -1}", "checkpoint.every_seconds: found -1"},
      {"name: [a]", "8:7: name: found a list, expected text"},
      {"name: \"a\\x1b[31m\"", "name: found \"a\\x1b[31m\", expected text in one line"},
      {"train: !!python/object x", "found the tag"},
  };
  for (const Case& c : cases) EXPECT_THAT(RefusalOf(c.line), HasSubstr(c.message)) << c.line;
}

TEST(SpecProblems, Resources) {
  const std::string size =
      ", expected a size with its unit (MiB, GiB, MB or GB) such as 12GiB, from 1MiB to 65536GiB";
  const std::string memory = "8:25: resources.gpu_memory: ";
  const std::pair<std::string, std::string> cases[] = {
      {"gpu_memory: 12", memory + "found 12" + size},
      {"gpu_memory: 12gib", memory + "found \"12gib\"" + size},
      {"gpu_memory: 12 GiB", memory + "found \"12 GiB\"" + size},
      {"gpu_memory: -1GiB", memory + "found \"-1GiB\"" + size},
      {"gpu_memory: +1GiB", memory + "found \"+1GiB\"" + size},
      {"gpu_memory: 0GiB", memory + "found \"0GiB\"" + size},
      {"gpu_memory: 1e3GiB", memory + "found \"1e3GiB\"" + size},
      {"gpu_memory: infGiB", memory + "found \"infGiB\"" + size},
      {"gpu_memory: nanGiB", memory + "found \"nanGiB\"" + size},
      {"gpu_memory: GiB", memory + "found \"GiB\"" + size},
      {"gpu_memory: 65537GiB", memory + "found \"65537GiB\"" + size},
      {"gpu_memory: 99999999999999999999GiB", memory + "found \"99999999999999999999GiB\"" + size},
      {"gpu_memory: [12GiB]", memory + "found a list" + size},
      {"gpu_memory: ", "8:25: resources.gpu_memory: found nothing" + size},
      {"gpu_memory: 1GiB, gpu: none",
       memory + "found \"1GiB\" beside gpu: none, expected gpu: any or required, or no gpu_memory"},
      {"gpu: yes", "8:18: resources.gpu: found \"yes\", expected any, none or required"},
      {"gpu: 1", "8:18: resources.gpu: found 1, expected any, none or required"},
      {"pool: GPU",
       "8:19: resources.pool: found \"GPU\", expected a pool's name: 1 to 63 small letters, "
       "digits or -"},
      {"pool: []",
       "8:19: resources.pool: found a list, expected a pool's name: 1 to 63 small letters, digits "
       "or -"},
      {"priority: 101",
       "8:23: resources.priority: found 101, expected a whole number from -100 to 100"},
      {"priority: 1.5",
       "8:23: resources.priority: found 1.5, expected a whole number from -100 to 100"},
      {"labels: berlin",
       "8:21: resources.labels: found \"berlin\", expected a map of at most 32 labels such as "
       "{site: berlin}"},
      {"labels: {a.b: 1}",
       "8:22: resources.labels: found \"a.b\", expected a label's name: 1 to 63 letters, digits, - "
       "or _, a letter or digit first"},
      {"labels: {\"\\e[31m\": 1}",
       "8:22: resources.labels: found \"\\x1b[31m\", expected a label's name: 1 to 63 letters, "
       "digits, - or _, a letter or digit first"},
      {"labels: {site: [a]}",
       "8:28: resources.labels.site: found a list, expected a label's value: 1 to 63 letters, "
       "digits, ., - or _"},
      {"labels: {site: \"a b\"}",
       "8:28: resources.labels.site: found \"a b\", expected a label's value: 1 to 63 letters, "
       "digits, ., - or _"},
      {"gpus: 1", "8:13: resources: found the unknown key \"gpus\", did you mean gpu?"},
      {"cluster: x",
       "8:13: resources: found the unknown key \"cluster\", expected pool, gpu, gpu_memory, labels "
       "or priority"},
  };
  for (const auto& [line, message] : cases) {
    EXPECT_EQ(RefusalOf("resources: {" + line + "}"), "trainyard.yaml:" + message) << line;
  }
  EXPECT_THAT(RefusalOf("resources: required"),
              HasSubstr("8:12: resources: found \"required\", expected a map with pool, gpu"));
}

TEST(SpecProblems, LabelsAreFewAndShort) {
  std::string many, most;
  for (int i = 0; i < 33; ++i) {
    if (i < 32) most += "l" + std::to_string(i) + ": x, ";
    many += "l" + std::to_string(i) + ": x, ";
  }
  EXPECT_THAT(RefusalOf("resources: {labels: {" + many + "}}"),
              HasSubstr("resources.labels: found 33 labels, expected a map of at most 32 labels"));
  EXPECT_TRUE(Read(kSmallSpec + ("resources: {labels: {" + most + "}}\n")).ok());
  std::string longest(63, 'x');
  EXPECT_TRUE(
      Read(kSmallSpec + ("resources: {labels: {" + longest + ": " + longest + "}}\n")).ok());
  EXPECT_THAT(RefusalOf("resources: {labels: {" + longest + "x: a}}"),
              HasSubstr("expected a label's name"));
  EXPECT_THAT(RefusalOf("resources: {labels: {a: " + longest + "x}}"),
              HasSubstr("expected a label's value"));
}

TEST(SpecProblems, Layers) {
  struct Case {
    const char* layer;
    const char* message;
  };
  const Case cases[] = {
      {"conv", "6:7: network.layers[0].conv: found no filters"},
      {"conv: {kernel: 3}", "6:13: network.layers[0].conv: found no filters"},
      {"conv: {filters: 1000000000}",
       "conv.filters: found 1000000000, expected a whole number from"},
      {"conv: {filters: 4, kernel: [3]}", "conv.kernel: found a list of 1, expected one number or"},
      {"conv: {filters: 4, padding: some}", "conv.padding: found \"some\", expected same, valid"},
      {"conv: {filters: 4, padding: 3}",
       "6:35: network.layers[0].conv.padding: found 3, expected 0 "},
      {"conv: {filters: 4, groups: 3}",
       "conv.groups: found 3, expected a divisor of the 4 filters"},
      {"dropout: 1.5", "6:16: network.layers[0].dropout.rate: found 1.5"},
      {"dropout: much", "network.layers[0].dropout.rate: found \"much\""},
      {"dense", "network.layers[0].dense: found no units"},
      {"dense: {bias: true}", "network.layers[0].dense: found no units"},
      {"dense: -1", "network.layers[0].dense.units: found -1"},
      {"max_pool: 0", "6:17: network.layers[0].max_pool.kernel: found 0"},
      {"residual: {layers: []}", "network.layers[0].residual.layers: found no layers"},
      {"residual: {shortcut: [relu]}", "residual: found no layers, expected a list"},
      {"residual: {layers: [relu], projection: true}",
       "residual.projection: found true, but no conv"},
      {"residual: [relu, {dense: x}]",
       "6:32: network.layers[0].residual.layers[1].dense.units: found \"x\""},
      {"{conv: {filters: 4}, relu: }", "6:7: network.layers[0]: found a map with 2 keys"},
      {"5", "found the unknown layer \"5\""},
      {"[relu]", "network.layers[0]: found a list, expected one layer"},
  };
  for (const Case& c : cases) EXPECT_THAT(RefusalOfLayer(c.layer), HasSubstr(c.message)) << c.layer;
}

TEST(SpecProblems, Data) {
  struct Case {
    const char* data;
    const char* message;
  };
  const Case cases[] = {
      {"{train: {images: a, labels: b}}",
       "1:7: data: found no format, expected idx, cifar or folder"},
      {"{format: csv, train: a}", "data.format: found \"csv\", expected idx, cifar or folder"},
      {"{format: idx}", "data: found no train"},
      {"{format: idx, train: a}", "data.train: found \"a\", expected a map with images or labels"},
      {"{format: idx, train: {images: a}}", "data.train: found no labels"},
      {"{format: idx, train: {images: [a, b], labels: c}}", "found 2 files, expected one"},
      {"{format: idx, train: {images: ../a, labels: b}}",
       "data.train.images: found \"../a\", expected a path inside the repository, without .."},
      {"{format: idx, train: {images: \"http://x/a\", labels: b}}",
       "expected a path, or an https://"},
      {"{format: idx, train: {images: \"file:///a\", labels: b}}",
       "expected a path, or an https://"},
      {"{format: idx, train: {images: \"https://x/a\", labels: b}}",
       "found a URL without its hash"},
      {"{format: idx, train: {images: {url: \"https://x\", sha256: A}, labels: b}}",
       "data.train.images.sha256: found \"A\", expected 64 hexadecimal digits"},
      {"{format: idx, train: {images: {url: b, path: a}, labels: b}}", "found both path and url"},
      {"{format: folder, train: [a, b]}", "data.train: found 2 folders, expected one"},
      {"{format: folder, train: {url: \"https://x\"}}", "expected a folder"},
      {"{format: cifar, train: {images: a, labels: b}}", "only format idx has them apart"},
      {"{format: cifar, train: []}", "found a list of 0 files"},
      {"{format: cifar, train: a, classes: 1}", "data.classes: found 1"},
      {"{format: cifar, train: a, class_names: [a, a]}", "found \"a\" a second time"},
      {"{format: cifar, train: a, class_names: [a, b], classes: 3}",
       "found 2 names, expected the 3"},
      {"{format: cifar, train: a, image: [1, 2]}",
       "data.image: found a list of 2, expected [channels"},
  };
  for (const Case& c : cases) {
    std::string text = "data: " + std::string(c.data) + "\nnetwork: [flatten, dense: 10]\n";
    EXPECT_THAT(Refusal(text), HasSubstr(c.message)) << c.data;
  }
  EXPECT_THAT(Refusal("data: {format: cifar, train: a, validation: b}\nvalidation: 0.1\n"
                      "network: [dense: 10]\n"),
              HasSubstr("2:13: validation: found a split beside data.validation"));
}

TEST(SpecProblems, AllAreListedByLine) {
  std::string refusal = Refusal(
      "nam: x\ndata: {format: idx, train: {images: a, labels: b}}\n"
      "network: [dense: 0, conv: {filters: 3, groups: 2}]\ntrain: {lr: -1, epochs: 0}\n");
  EXPECT_EQ(
      refusal,
      "trainyard.yaml:1:1: found the unknown key \"nam\", did you mean name?\n"
      "trainyard.yaml:3:18: network.layers[0].dense.units: found 0, expected a whole number "
      "from 1 to 1048576\n"
      "trainyard.yaml:3:48: network.layers[1].conv.groups: found 2, expected a divisor of the "
      "3 filters\n"
      "trainyard.yaml:4:13: train.lr: found -1, expected a number greater than 0, at most "
      "100\n"
      "trainyard.yaml:4:25: train.epochs: found 0, expected a whole number from 1 to "
      "2147483647");
}

TEST(SpecProblems, AtMostTwentyAreListed) {
  std::string text = kSmallSpec;
  for (int i = 0; i < 50; ++i) text += "unknown" + std::to_string(i) + ": 1\n";
  std::string refusal = Refusal(text);
  EXPECT_EQ(std::count(refusal.begin(), refusal.end(), '\n'), 20);
  EXPECT_THAT(refusal, HasSubstr("... and 30 more"));
}

TEST(SpecProblems, TheFileIsNamedAsTheCallerNamesIt) {
  auto parsed = ReadSpec({.text = "data: 1\n", .file_name = "shoes/trainyard.yaml"});
  EXPECT_THAT(std::string(parsed.status().message()), StartsWith("shoes/trainyard.yaml:1:"));
}

}  // namespace
}  // namespace trainyard::coordinator
