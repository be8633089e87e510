// images_per_second [BACKEND] [THREADS] [STEPS]: how fast one backend trains and evaluates the
// classic Keras CNN (conv 3x3 x32, conv 3x3 x64, pool, dropout, dense 128, dropout, dense 10; 28x28
// pictures, batches of 128, fp32). Prints "training N" and "inference N", images per second by the
// median step. bench/torch_images_per_second.py says the same of PyTorch; ci/bench_engine.sh runs
// both by turns.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "kernels/philox.h"
#include "worker/engine/dataset.h"
#include "worker/engine/initialise.h"
#include "worker/engine/planner.h"

namespace trainyard::engine {
namespace {

constexpr int kBatch = 128;
constexpr int kImages = 32 * kBatch;
constexpr int kWarmUpSteps = 8;

network::Network ClassicNetwork() {
  network::Conv first, second;
  first.filters = 32;
  second.filters = 64;
  return {{1, 28, 28},
          10,
          {{first},
           {network::Relu{}},
           {second},
           {network::Relu{}},
           {network::Pool{}},
           {network::Dropout{0.25}},
           {network::Flatten{}},
           {network::Dense{128}},
           {network::Relu{}},
           {network::Dropout{0.5}},
           {network::Dense{10}}}};
}

Dataset RandomImages() {
  std::vector<uint8_t> pixels(size_t{kImages} * 28 * 28);
  for (size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<uint8_t>(kernels::RandomWord({1, 0, 0, {}}, i));
  }
  std::vector<int32_t> labels(kImages);
  for (int i = 0; i < kImages; ++i) labels[i] = i % 10;
  return Dataset({1, 28, 28}, std::move(pixels), std::move(labels));
}

// Images per second of the median of `steps` calls, after some that don't count.
double Measure(int steps, const std::function<void(int)>& step) {
  using Clock = std::chrono::steady_clock;
  for (int i = 0; i < kWarmUpSteps; ++i) step(i);
  std::vector<double> seconds;
  for (int i = 0; i < steps; ++i) {
    const Clock::time_point start = Clock::now();
    step(i);
    seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + steps / 2, seconds.end());
  return kBatch / seconds[steps / 2];
}

void Run(const std::string& backend_name, int threads, int steps) {
  const Dataset dataset = RandomImages();
  const Plan plan = MakePlan(ClassicNetwork(), kBatch);
  const std::unique_ptr<kernels::Backend> backend = kernels::MakeBackend({backend_name, threads});
  const std::unique_ptr<kernels::Program> program = backend->Lower(plan.graph);
  program->SetNormalisation(std::vector<float>{0.5f}, std::vector<float>{2.0f});
  program->WriteState(
      InitialState(plan.parameters, network::Initialisation::kHe, network::OptimizerKind::kSgd, 1));
  std::vector<int32_t> all(kImages);
  std::iota(all.begin(), all.end(), 0);
  const auto batch = [&](int step) {
    return std::span<const int32_t>(all).subspan(size_t{kBatch} * (step % (kImages / kBatch)),
                                                 kBatch);
  };
  kernels::StepScalars scalars;
  scalars.learning_rate = 0.02f;
  scalars.momentum = 0.9f;
  scalars.dropout_rates = plan.dropout_rates;
  const double training = Measure(steps, [&](int step) {
    ++scalars.step;
    program->TrainStep(dataset.images(), batch(step), scalars);
  });
  std::vector<float> logits(size_t{kBatch} * 10);
  const double inference =
      Measure(steps, [&](int step) { program->Evaluate(dataset.images(), batch(step), logits); });
  std::printf("training %.1f\ninference %.1f\n", training, inference);
}

}  // namespace
}  // namespace trainyard::engine

int main(int argc, char** argv) {
  const std::string backend = argc > 1 ? argv[1] : "cpu";
  const int threads = argc > 2 ? std::atoi(argv[2]) : 0;
  const int steps = argc > 3 ? std::atoi(argv[3]) : 40;
  if (argc > 4 || steps < 1) {
    std::fprintf(stderr, "usage: images_per_second [BACKEND] [THREADS] [STEPS]\n");
    return 2;
  }
  try {
    trainyard::engine::Run(backend, threads, steps);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "images_per_second: %s\n", error.what());
    return 1;
  }
}
