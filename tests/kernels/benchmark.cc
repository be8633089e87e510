// Images per second of one training step, and where its time goes.
//   kernels_benchmark [net] [batch] [seconds] [threads]      net: keras, resnet
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "kernels/cpu/program.h"
#include "kernels/spinning.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::testing {
namespace {

int Block(GraphMaker& net, int x, int filters, int stride) {
  int body = net.Conv(x, filters, 3, 3, stride, stride, {1, 1, 1, 1}, 1, false);
  body = net.Relu(net.BatchNorm(body));
  body = net.BatchNorm(net.Conv(body, filters, 3, 3, 1, 1, {1, 1, 1, 1}, 1, false));
  const int shortcut =
      stride == 1 ? x : net.BatchNorm(net.Conv(x, filters, 1, 1, 2, 2, {}, 1, false));
  return net.Relu(net.Add(body, shortcut));
}

// ResNet-20 for 32x32 images (He et al., 2015).
Graph ResNet(int batch) {
  GraphMaker net({3, 32, 32}, batch, 10);
  int x = net.Relu(net.BatchNorm(net.Conv(0, 16, 3, 3, 1, 1, {1, 1, 1, 1}, 1, false)));
  for (int stage = 0; stage < 3; ++stage) {
    for (int i = 0; i < 3; ++i) x = Block(net, x, 16 << stage, stage > 0 && i == 0 ? 2 : 1);
  }
  net.Linear(net.GlobalAvgPool(x), 10);
  return net.graph();
}

int Main(int argc, char** argv) {
  const std::string net = argc > 1 ? argv[1] : "keras";
  const int batch = argc > 2 ? std::atoi(argv[2]) : 128;
  const double seconds = argc > 3 ? std::atof(argv[3]) : 5;
  const int threads = argc > 4 ? std::atoi(argv[4]) : 0;
  const Graph graph = net == "resnet" ? ResNet(batch) : KerasCnn(batch);
  const std::unique_ptr<Backend> backend = MakeBackend({"cpu", threads});
  const std::unique_ptr<Program> program = backend->Lower(graph);
  auto& cpu = static_cast<cpu::CpuProgram&>(*program);
  program->WriteState(RandomState(graph, 1));
  // An epoch, over and over, announced as a trainer announces it.
  constexpr int kSteps = 64;
  const Images images(graph, kSteps * batch, 2);
  const std::vector<int32_t> epoch = FirstIndices(kSteps * batch);
  const auto indices = std::span(epoch).first(static_cast<size_t>(batch));
  const std::vector<float> rates = {0.25f, 0.5f};
  StepScalars scalars = StillScalars(rates);
  scalars.learning_rate = 0.01f;
  scalars.momentum = 0.9f;
  scalars.flip = true;
  scalars.shift = 2;

  using Clock = std::chrono::steady_clock;
  auto since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  const auto train = [&](int i) {
    if (i % kSteps == 0) program->Expect(images.set, epoch);
    const auto begin = static_cast<size_t>(i % kSteps * batch);
    program->TrainStep(images.set, std::span(epoch).subspan(begin, indices.size()), scalars);
    ++scalars.step;
  };
  int steps = 0;
  while (steps < 3) train(steps++);
  cpu.SetProfiling(true);
  std::vector<double> times;
  double steps_sum = 0;
  for (const Clock::time_point start = Clock::now(); since(start) < seconds;) {
    const Clock::time_point step = Clock::now();
    train(steps++);
    times.push_back(since(step));
    steps_sum += times.back();
  }
  std::vector<cpu::StepTime> profile = cpu.Profile();
  double listed = 0;
  for (const cpu::StepTime& step : profile) {
    std::printf("%9.3f ms  %s\n", step.seconds / times.size() * 1e3, step.name.c_str());
    listed += step.seconds;
  }
  std::printf("%9.3f ms  optimizer and norm\n", (steps_sum - listed) / times.size() * 1e3);
  const cpu::BatchLoader::Waits waits = cpu.waits();
  std::printf("batches: %lld taken, %lld of them made ahead, %lld of those awaited\n",
              static_cast<long long>(waits.taken), static_cast<long long>(waits.ahead),
              static_cast<long long>(waits.awaited));
  std::sort(times.begin(), times.end());
  std::vector<double> evaluations;
  for (int i = 0; i < 10; ++i) {
    const Clock::time_point start = Clock::now();
    program->Evaluate(images.set, indices, {});
    evaluations.push_back(since(start));
  }
  std::sort(evaluations.begin(), evaluations.end());
  std::printf(
      "%s\n%lld MiB; batch %d: training median %.0f best %.0f images/s; evaluation best %.0f\n",
      program->Fingerprint().c_str(), static_cast<long long>(program->MemoryBytes() >> 20), batch,
      batch / times[times.size() / 2], batch / times[0], batch / evaluations[0]);
  return 0;
}

}  // namespace
}  // namespace trainyard::kernels::testing

int main(int argc, char** argv) {
  trainyard::kernels::LimitSpinning(argv);
  return trainyard::kernels::testing::Main(argc, argv);
}
