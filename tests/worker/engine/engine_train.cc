// engine_train DESCRIPTION.json [FOLDER]: trains as described and prints a line for each step done
// and each epoch. With a folder it keeps its checkpoint there and continues from the one it finds,
// so that a test can kill it. The description: {"network", "training", "backend", "threads",
// "cache_folder", "data", "checkpoint_every_steps", "until_epoch", "inexact", "pause_at_step"},
// where data is {"patterns": {"train", "validation", "noise"}} or, to train on and to validate on,
// files in {"idx": [images, labels, images, labels]} or {"raw": [pixels, labels, pixels, labels]}
// (raw_dataset.h); with {"cache": FOLDER} besides, what was read is kept there, as a worker does.
// With "inexact" it says "not exact" of a checkpoint with another fingerprint, and continues. Once
// it has done "pause_at_step" steps, or up to a stride more, it prints "paused" and waits to be
// killed.
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>

#include "kernels/spinning.h"
#include "tests/worker/engine/support/description.h"
#include "tests/worker/engine/support/examples.h"
#include "tests/worker/engine/support/raw_dataset.h"
#include "worker/engine/dataset_cache.h"
#include "worker/engine/trainer.h"

namespace trainyard::engine {
namespace {

using nlohmann::json;

class Printer : public TrainingObserver {
 public:
  // `pause_at`: 0: nowhere.
  Printer(std::string path, bool print_steps, int64_t pause_at)
      : path_(std::move(path)), print_steps_(print_steps), pause_at_(pause_at) {}
  void OnStep(int64_t steps_done) override {
    if (!print_steps_) return;
    std::printf("step %ld\n", static_cast<long>(steps_done));
    const bool pauses = pause_at_ > 0 && steps_done >= pause_at_;
    if (pauses) std::printf("paused\n");
    std::fflush(stdout);
    while (pauses) pause();
  }
  void OnEpoch(const EpochMetrics& metrics) override {
    std::printf("%s  %.3f s  %.0f images/s\n", Reproducible(metrics).c_str(), metrics.seconds,
                metrics.images_per_second);
    std::fflush(stdout);
  }
  void OnCheckpoint(Checkpoint checkpoint) override {
    if (!path_.empty()) WriteFileAtomically(path_, SerializeCheckpoint(checkpoint));
  }

 private:
  const std::string path_;
  const bool print_steps_;
  const int64_t pause_at_;
};

struct Sets {
  Dataset train, validation;
};

Sets ReadData(const json& data, const network::Network& network) {
#if defined(TRAINYARD_READERS)
  if (data.contains("idx")) {
    const json& files = data["idx"];
    const auto read = [&](const char* key, int at) {
      const auto decode = [&] { return ReadIdx(files[at], files[at + 1], network.classes); };
      if (!data.contains("cache")) return decode();
      return DatasetCache(data["cache"], int64_t{1} << 30)
          .Get({.key = [&] { return std::string(key); }, .read = decode}, nullptr);
    };
    return {read("train", 0), read("validation", 2)};
  }
#endif
  if (data.contains("raw")) {
    const json& files = data["raw"];
    return {ReadRaw(files[0], files[1], network), ReadRaw(files[2], files[3], network)};
  }
  if (!data.contains("patterns")) {
    throw kernels::Error("data: found " + data.dump() + ", which this build cannot read");
  }
  const json& patterns = data["patterns"];
  const kernels::ValueShape shape{network.input.channels, network.input.height,
                                  network.input.width};
  return {MakePatterns(patterns["train"], shape, network.classes, patterns["noise"], 1),
          MakePatterns(patterns["validation"], shape, network.classes, patterns["noise"], 2)};
}

int Train(const std::string& description_path, const std::string& folder) {
  std::ifstream file(description_path);
  const json description = json::parse(file);
  network::Configuration configuration{ParseNetwork(description["network"]),
                                       ParseTraining(description["training"])};
  const Sets sets = ReadData(description["data"], configuration.network);
  TrainerOptions options;
  options.backend.name = description.value("backend", "cpu");
  options.backend.threads = description.value("threads", 0);
  options.backend.cache_folder = description.value("cache_folder", "");
  options.checkpoint_every_steps = description.value("checkpoint_every_steps", 0);
  options.until_epoch = description.value("until_epoch", 0);
  Trainer trainer(configuration, {&sets.train, &sets.validation, 0, 1}, options);
  std::string path;
  if (!folder.empty()) {
    path = folder + "/checkpoint";
    struct stat status {};
    if (stat(path.c_str(), &status) == 0 && !trainer.Restore(ReadCheckpoint(path))) {
      if (!description.value("inexact", false)) {
        std::cerr << "engine_train: the checkpoint has another fingerprint\n";
        return 1;
      }
      std::printf("not exact\n");
    }
  }
  Printer printer(path, !folder.empty(), description.value("pause_at_step", 0));
  const Outcome outcome = trainer.Run(printer);
  return outcome == Outcome::kCompleted || outcome == Outcome::kHalted ? 0 : 1;
}

}  // namespace
}  // namespace trainyard::engine

int main(int argc, char** argv) {
  trainyard::kernels::LimitSpinning(argv);  // as trainyard-worker does
  if (argc != 2 && argc != 3) {
    std::cerr << "usage: engine_train DESCRIPTION.json [FOLDER]\n";
    return 2;
  }
  try {
    return trainyard::engine::Train(argv[1], argc == 3 ? argv[2] : "");
  } catch (const std::exception& error) {
    std::cerr << "engine_train: " << error.what() << "\n";
    return 1;
  }
}
