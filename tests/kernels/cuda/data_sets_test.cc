// Data sets that do not fit beside the network: what steps and evaluations give is the same, byte
// for byte, however the images come.
#include "kernels/cuda/data_sets.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/gatherer.h"
#include "tests/kernels/agreement.h"
#include "tests/kernels/cuda/support/kernel_case.h"
#include "tests/kernels/cuda/support/schedules.h"
#include "tests/kernels/graphs.h"

namespace trainyard::kernels::testing {
namespace {

using cuda::Gatherer;
using cuda::ImageStream;
using cuda::MakeCudaBackend;
using cuda::testing::kSmallShapes;
using cuda::testing::WithLateStreams;

std::unique_ptr<Program> Lowered(const Graph& graph, int64_t data_bytes_max) {
  auto program =
      MakeCudaBackend({.libraries = false, .data_bytes_max = data_bytes_max})->Lower(graph);
  program->WriteState(RandomState(graph, 23));
  return program;
}

Graph SmallNet(int batch) {
  GraphMaker maker({2, 3, 3}, batch, 3);
  maker.Linear(0, 3);
  return maker.graph();
}

// A program's life: strides, evaluations and expectations, right, wrong and none, on two sets.
class Script {
 public:
  Script(const Graph& graph, uint64_t seed)
      : graph_(graph), one_(graph, 37, seed), other_(graph, 19, seed + 1), seed_(seed) {}

  std::vector<double> Run(Program& program) {
    random_.seed(seed_);
    given_.clear();
    for (int act = kSmallShapes ? 4 : 20; act > 0; --act) {
      const ImageSet& set = Below(4) == 0 ? other_.set : one_.set;
      const int batch = Below(3) == 0 ? 1 + Below(graph_.batch_size) : graph_.batch_size;
      const int batches = 1 + Below(kSmallShapes ? 3 : 9);
      const std::vector<int32_t> indices = RandomIndices(set, batch * batches);
      switch (Below(4)) {
        case 0:  // right
          program.Expect(set, indices);
          break;
        case 1:  // of the other set, or of other images
          program.Expect(Below(2) == 0 ? other_.set : one_.set, RandomIndices(other_.set, 13));
          break;
        case 2: {  // right at its beginning only
          std::vector<int32_t> others = indices;
          std::reverse(others.begin() + static_cast<int>(others.size()) / 2, others.end());
          program.Expect(set, others);
          break;
        }
      }
      Below(3) == 0 ? Evaluate(program, set, indices, batch) : Train(program, set, indices, batch);
    }
    ProgramState state;
    program.ReadState(state);
    given_.insert(given_.end(), state.parameters.begin(), state.parameters.end());
    return given_;
  }

 private:
  int Below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  std::vector<int32_t> RandomIndices(const ImageSet& set, int count) {
    std::vector<int32_t> indices(count);
    for (int32_t& index : indices) index = Below(static_cast<int>(set.count()));
    return indices;
  }
  // In a stride, or in several.
  void Train(Program& program, const ImageSet& set, std::span<const int32_t> indices, int batch) {
    const int steps = static_cast<int>(indices.size()) / batch, stride = 1 + Below(steps);
    for (int done = 0; done < steps; done += stride) {
      const int count = std::min(stride, steps - done);
      StepScalars step = LivelyScalars({}, false);
      step.step = step_++;
      const std::vector<StepScalars> scalars(count, step);
      std::vector<StepResult> results(count);
      program.TrainSteps(set, indices.subspan(done * batch, count * batch), scalars, results);
      for (const StepResult& result : results) given_.push_back(result.loss);
    }
  }
  void Evaluate(Program& program, const ImageSet& set, std::span<const int32_t> indices,
                int batch) {
    std::vector<float> logits(batch * graph_.classes);
    for (size_t at = 0; at < indices.size(); at += batch) {
      given_.push_back(program.Evaluate(set, indices.subspan(at, batch), logits).loss_sum);
      given_.insert(given_.end(), logits.begin(), logits.end());
    }
  }

  const Graph graph_;
  const Images one_, other_;
  const uint64_t seed_;
  std::mt19937 random_;
  int64_t step_ = 0;
  std::vector<double> given_;
};

TEST(DataSets, StreamedGiveTheBytesOfResident) {
  for (int batch : kSmallShapes ? std::vector<int>{2} : std::vector<int>{1, 4, 5}) {
    const Graph graph = SmallNet(batch);
    const int64_t least = ImageStream::LeastBytes(graph.values[0], batch);
    for (uint64_t seed = 0; seed < (kSmallShapes ? 1 : 5); ++seed) {
      SCOPED_TRACE("batches of " + std::to_string(batch) + ", seed " + std::to_string(seed));
      const std::vector<double> expected = Script(graph, seed).Run(*Lowered(graph, 0));
      // Halves of one batch and of three; and one set of the two in memory.
      for (int64_t bytes : {int64_t{1}, 3 * least, 19 * (graph.values[0].size() + 4) + least}) {
        EXPECT_EQ(Script(graph, seed).Run(*Lowered(graph, bytes)), expected);
        const WithLateStreams late;
        EXPECT_EQ(Script(graph, seed).Run(*Lowered(graph, bytes)), expected) << "late";
      }
    }
  }
}

TEST(DataSets, TakeNoMoreMemoryThanTheyMay) {
  const Graph graph = SmallNet(4);
  const Images one(graph, 40, 1), other(graph, 6, 2), large(graph, 500, 3);
  const int64_t image = graph.values[0].size() + 4;
  const int64_t allowed = 50 * image;
  const std::unique_ptr<Program> program = Lowered(graph, allowed);
  const int64_t before = program->MemoryBytes();
  const auto evaluate = [&](const Images& images) {
    program->Evaluate(images.set, FirstIndices(4), {});
    return program->MemoryBytes() - before;
  };
  EXPECT_EQ(evaluate(large), evaluate(large));
  EXPECT_LE(evaluate(large), std::max(allowed, ImageStream::LeastBytes(graph.values[0], 4)));
  const std::unique_ptr<Program> roomy = Lowered(graph, 0);
  const int64_t empty = roomy->MemoryBytes();
  roomy->Evaluate(one.set, FirstIndices(4), {});
  roomy->Evaluate(other.set, FirstIndices(4), {});
  EXPECT_EQ(roomy->MemoryBytes() - empty, 46 * image);
}

TEST(DataSets, ExpectedInVainOrWrongAreNoFault) {
  const Graph graph = SmallNet(4);
  const Images images(graph, 40, 1);
  const std::vector<int32_t> wrong = {0, 1, 2, 3, 99, -1, 7};
  const std::unique_ptr<Program> resident = Lowered(graph, 0), streams = Lowered(graph, 1);
  for (Program* program : {resident.get(), streams.get()}) {
    program->Expect(images.set, wrong);
    program->Expect(images.set, {});
  }
  streams->Expect(images.set, wrong);
  EXPECT_EQ(streams->Evaluate(images.set, FirstIndices(4), {}).loss_sum,
            resident->Evaluate(images.set, FirstIndices(4), {}).loss_sum);
}

TEST(DataSets, ProgramsEndWhileImagesAreOnTheirWay) {
  const Graph graph = SmallNet(4);
  const Images images(graph, 4000, 1);
  std::vector<int32_t> all = FirstIndices(4000);
  for (int i = 0; i < 10; ++i) {
    const std::unique_ptr<Program> program = Lowered(graph, 3000 * graph.values[0].size());
    program->Expect(images.set, all);
    if (i % 2 == 0) program->Evaluate(images.set, std::span(all).first(4), {});
    program->Expect(images.set, std::span(all).subspan(4));
  }
}

TEST(Gatherer, LaysImagesSideBySide) {
  const Graph graph = SmallNet(1);
  const Images images(graph, 9, 4);
  const std::vector<int32_t> indices = {8, 0, 3, 3};
  const size_t size = graph.values[0].size();
  std::vector<char> pixels(indices.size() * size);
  std::vector<int32_t> labels(indices.size());
  Gatherer gatherer;
  gatherer.Wait();  // for nothing
  for (int i = 0; i < 3; ++i) {
    std::fill(labels.begin(), labels.end(), -1);
    gatherer.Start({images.set, indices, pixels.data(), labels.data()});
    gatherer.Wait();
    EXPECT_TRUE(gatherer.Done());
    for (size_t k = 0; k < indices.size(); ++k) {
      EXPECT_EQ(labels[k], images.labels[indices[k]]);
      const auto* image = reinterpret_cast<const uint8_t*>(pixels.data()) + k * size;
      EXPECT_TRUE(std::equal(image, image + size, images.pixels.data() + indices[k] * size));
    }
    gatherer.Start({images.set, indices, pixels.data(), labels.data()});
    gatherer.Cancel();
    EXPECT_TRUE(gatherer.Done());
  }
}

}  // namespace
}  // namespace trainyard::kernels::testing
