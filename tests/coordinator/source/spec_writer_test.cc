// What WriteSpec writes, ReadSpec reads back as the same spec, for random specs too.
#include "coordinator/source/spec_writer.h"

#include <gmock/gmock.h>

#include <random>

#include "coordinator/source/spec_keys.h"
#include "proto/spec_convert.h"
#include "tests/coordinator/source/spec_sample.h"

namespace trainyard::coordinator {
namespace {

class Generator {
 public:
  explicit Generator(uint64_t seed) : random_(seed) {}

  JobSpec Spec() {
    JobSpec spec;
    spec.name =
        Pick({"a", "null", "yes", "12", "with: colon", "- dash", "\"quoted\"", "Schuhgröße"});
    FillData(&spec);
    spec.configuration.network = {.input = {}, .classes = spec.data.classes(), .layers = Layers(0)};
    spec.configuration.training = Training();
    bool accuracy = Chance();
    spec.target.set_metric(accuracy ? v1::Target::VAL_ACCURACY : v1::Target::VAL_LOSS);
    spec.target.set_bound(Real(0.01, 1));
    if (accuracy && Chance()) spec.target.set_confidence(Real(0.5, 0.999));
    FillTune(spec.configuration, &spec.tune);
    if (Chance()) spec.budget.set_trials(Whole(1, 99));
    if (Chance()) spec.budget.set_time_ms(Whole(1'000, 1'000'000'000));
    if (Chance()) spec.budget.set_epochs(Whole(1, 9'999));
    spec.checkpoint.set_every_steps(Whole(0, 1'000));
    spec.checkpoint.set_every_ms(Whole(0, 1) * Whole(100, 100'000));
    FillResources(&spec.resources);
    return spec;
  }

 private:
  int Whole(int low, int high) { return std::uniform_int_distribution<>(low, high)(random_); }
  double Real(double low, double high) {
    return std::uniform_real_distribution<>(low, high)(random_);
  }
  bool Chance() { return Whole(0, 1) == 1; }
  std::string Pick(std::vector<std::string> words) { return words[Whole(0, words.size() - 1)]; }
  network::Extent Sides(int high) { return {Whole(1, high), Whole(1, high)}; }

  void File(v1::DataFile* file, bool folder) {
    int kind = Whole(0, folder ? 1 : 2);
    if (kind == 0) file->set_path(Pick({"a b/c.gz", "x.bin", "true", "#1"}));
    if (kind == 1) file->set_host_path("/data/x: y");
    if (kind == 2) file->set_url("https://example.org/x?y=1#2");
    if (kind == 2 || Chance()) file->set_sha256(std::string(64, Chance() ? '1' : 'f'));
  }
  void Set(const v1::Data& data, v1::DataSet* set) {
    bool folder = data.format() == v1::DATA_FORMAT_FOLDER;
    int files = data.format() == v1::DATA_FORMAT_CIFAR ? Whole(1, 4) : 1;
    for (int i = 0; i < files; ++i) File(set->add_images(), folder);
    if (data.format() == v1::DATA_FORMAT_IDX) File(set->add_labels(), false);
  }
  void FillData(JobSpec* spec) {
    v1::Data& data = spec->data;
    data.set_format(static_cast<v1::DataFormat>(Whole(1, 3)));
    Set(data, data.mutable_train());
    if (Chance()) {
      Set(data, data.mutable_validation());
    } else {
      spec->validation.set_fraction(Real(0.001, 0.999));
    }
    spec->validation.set_seed(data.has_validation() ? 1 : random_());
    if (Chance()) Set(data, data.mutable_test());
    if (Chance()) {
      data.mutable_image()->set_channels(3);
      data.mutable_image()->set_height(Whole(1, 500));
      data.mutable_image()->set_width(Whole(1, 500));
    }
    if (Chance()) {
      for (const char* name : {"no", "3", "T-shirt/top"}) data.add_class_names(name);
      data.set_classes(3);
    }
  }

  void FillTune(const network::Configuration& first, v1::Tune* tune) {
    tune->set_enabled(Chance());
    tune->set_max_trials(Whole(1, 30));
    tune->set_parallel(Whole(1, 256));
    tune->set_patience(Whole(0, 9));
    tune->set_inherit(Chance());
    tune->set_in_flight(Chance());
    tune->set_seed(random_());
    tune->set_eta(Whole(2, 9));
    tune->set_min_epochs(Whole(1, 9));
    tune->set_algorithm(v1::Tune::DIAGNOSE);
    if (Chance()) return;
    const bool long_enough = tune->eta() * tune->min_epochs() <= first.training.epochs;
    tune->set_algorithm(static_cast<v1::Tune::Algorithm>(Whole(2, long_enough ? 4 : 3)));
    v1::Dimension* rate = tune->add_space();
    rate->set_path("train.lr");
    rate->set_min(Real(1e-6, 0.1));
    rate->set_max(Real(0.1, 10));
    rate->set_log(Chance());
    if (!rate->log() && Chance()) rate->set_step(Real(1e-6, 1e-2));
    v1::Dimension* flip = tune->add_space();
    flip->set_path("train.augmentation.flip");
    for (const char* choice : {"true", "false"}) flip->add_choices(choice);
    if (Chance()) return;
    v1::Dimension* networks = tune->add_space();
    networks->set_path("network");
    for (int units = 1; units <= Whole(1, 3); ++units) {
      network::Network network{.classes = first.network.classes, .layers = Layers(0)};
      network.layers.push_back({network::Dense{.units = units}});
      *networks->add_networks() = trainyard::ToProto(network);
    }
  }

  void FillResources(v1::Resources* resources) {
    if (Chance()) resources->set_pool(Pick({"gpu", "true", "0", "a-b"}));
    resources->set_gpu(static_cast<v1::Resources::Gpu>(Whole(1, 3)));
    const int64_t units[] = {1, 1'000'000, 1 << 20, 1'000'000'000, 1 << 30};
    if (resources->gpu() != v1::Resources::NONE && Chance()) {
      resources->set_gpu_memory_bytes((1 << 20) + Whole(1, 50'000) * units[Whole(0, 4)]);
    }
    if (Chance()) {
      for (const char* name : {"site", "no", "1e3"}) {
        (*resources->mutable_labels())[name] = Pick({"berlin", "null", "0x1f", "-", "v1.2_3"});
      }
    }
    resources->set_priority(Whole(-100, 100));
  }

  network::Padding Zeros(network::Extent kernel) {
    if (Chance()) return {.same = true};
    int all = Whole(0, std::min(kernel.height, kernel.width) - 1);
    if (Chance()) return {false, all, all, all, all};
    return {false, Whole(0, kernel.height - 1), Whole(0, kernel.height - 1),
            Whole(0, kernel.width - 1), Whole(0, kernel.width - 1)};
  }
  std::vector<network::Layer> Layers(int depth) {
    std::vector<network::Layer> layers(Whole(1, 5));
    for (auto& layer : layers) layer = AnyLayer(depth);
    return layers;
  }
  network::Layer AnyLayer(int depth) {
    using namespace network;
    Extent kernel = Sides(5);
    switch (Whole(0, depth > 2 ? 7 : 8)) {
      case 0: {
        int groups = Whole(1, 3);
        return {Conv{groups * Whole(1, 9), kernel, Sides(3), Zeros(kernel), groups, Chance()}};
      }
      case 1:
        return {Chance() ? BatchNorm{} : BatchNorm{Real(0, 0.99), Real(1e-9, 1e-2)}};
      case 2:
        return {Chance() ? Relu{} : Relu{Real(0.001, 0.9)}};
      case 3:
        return {Pool{Chance() ? PoolKind::kMax : PoolKind::kAverage, kernel,
                     Chance() ? kernel : Sides(3), Zeros(kernel)}};
      case 4:
        return {GlobalAvgPool{}};
      case 5:
        return {Dropout{Real(0, 0.99)}};
      case 6:
        return {Flatten{}};
      case 7:
        return {Dense{Whole(1, 1'000), Chance()}};
      default:
        return {Residual{Layers(depth + 1), Chance() ? Layers(depth + 1) : std::vector<Layer>{}}};
    }
  }
  network::Training Training() {
    network::Training t;
    t.epochs = Whole(1, 100);
    t.batch_size = Whole(1, 512);
    t.optimizer = {Chance() ? network::OptimizerKind::kSgd : network::OptimizerKind::kAdamW,
                   Real(1e-6, 1),
                   Real(0, 0.99),
                   Chance(),
                   Real(0, 0.99),
                   Real(0, 0.9999),
                   Real(1e-12, 1e-3),
                   Real(0, 0.1),
                   Real(0, 10)};
    t.schedule = {static_cast<network::ScheduleKind>(Whole(0, 3)),
                  0,
                  Real(0.1, 9),
                  Real(0.01, 1),
                  Real(0, 1),
                  Real(0.01, 0.99)};
    if (t.schedule.kind != network::ScheduleKind::kOneCycle) t.schedule.warmup_epochs = Real(0, 1);
    t.augmentation = {Chance(), Whole(0, 9), Whole(0, 9), Chance()};
    t.label_smoothing = Real(0, 0.5);
    t.initialisation = Chance() ? network::Initialisation::kHe : network::Initialisation::kGlorot;
    t.precision = static_cast<network::Precision>(Whole(0, 2));
    t.seed = random_();
    return t;
  }

  std::mt19937_64 random_;
};

TEST(WriteSpec, RandomSpecsReadBackTheSame) {
  for (int seed = 0; seed < 1'000; ++seed) {
    JobSpec spec = Generator(seed).Spec();
    std::string text = WriteSpec(spec);
    JobSpec again = Accepted(text);
    ASSERT_EQ(ToProto(again).DebugString(), ToProto(spec).DebugString()) << seed << "\n" << text;
  }
}

TEST(WriteSpec, IsReadableForPeople) {
  std::string text = WriteSpec(Accepted(R"(
name: shoes
data: {format: idx, train: {images: a.gz, labels: b.gz}}
network:
  - conv: {filters: 8, padding: same}
  - batch_norm
  - relu
  - max_pool: 2
  - residual: {layers: [conv: {filters: 8, padding: same}]}
  - flatten
  - dense: 10
)"));
  EXPECT_THAT(text, testing::StartsWith(R"(name: shoes
data:
  format: idx
  train:
    images: a.gz
    labels: b.gz
validation: {fraction: 0.1, seed: 1}
network:
  layers:
    - conv: {filters: 8, kernel: 3, padding: same}
    - batch_norm
    - relu
    - max_pool: {kernel: 2}
    - residual:
        layers:
          - conv: {filters: 8, kernel: 3, padding: same}
    - flatten
    - dense: 10
train:
  epochs: 10
)"));
}

// What a tweak does: write, override, read.
TEST(WriteSpec, TakesOverridesOnWhatItWrote) {
  for (int seed = 0; seed < 100; ++seed) {
    JobSpec spec = Generator(seed).Spec();
    spec.configuration.training.optimizer.learning_rate = 0.25;
    JobSpec again = Accepted(WriteSpec(spec), {"train.lr=0.25", "train.schedule.kind=constant"});
    spec.configuration.training.schedule.kind = network::ScheduleKind::kConstant;
    ASSERT_EQ(ToProto(again).DebugString(), ToProto(spec).DebugString()) << seed;
  }
}

}  // namespace
}  // namespace trainyard::coordinator
