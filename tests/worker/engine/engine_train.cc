// engine_train DESCRIPTION.json [FOLDER]: trains as described and prints a line for each step done
// and each epoch. With a folder it keeps its checkpoint there and continues from the one it finds,
// so that a test can kill it. The description: {"network", "training", "backend", "threads",
// "data", "checkpoint_every_steps"}, where data is {"patterns": {"train", "validation", "noise"}}
// or {"idx": [images, labels, images, labels]}, to train on and to validate with.
#include <sys/stat.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>

#include "tests/worker/engine/support/description.h"
#include "tests/worker/engine/support/examples.h"
#include "worker/engine/trainer.h"

namespace trainyard::engine {
namespace {

using nlohmann::json;

class Printer : public TrainingObserver {
 public:
  Printer(std::string path, bool print_steps) : path_(std::move(path)), print_steps_(print_steps) {}
  void OnStep(int64_t steps_done) override {
    if (!print_steps_) return;
    std::printf("step %ld\n", static_cast<long>(steps_done));
    std::fflush(stdout);
  }
  void OnEpoch(const EpochMetrics& metrics) override {
    std::printf("%s  %.1f s  %.0f images/s\n", Reproducible(metrics).c_str(), metrics.seconds,
                metrics.images_per_second);
    std::fflush(stdout);
  }
  void OnCheckpoint(Checkpoint checkpoint) override {
    if (!path_.empty()) WriteFileAtomically(path_, SerializeCheckpoint(checkpoint));
  }

 private:
  const std::string path_;
  const bool print_steps_;
};

struct Sets {
  Dataset train, validation;
};

Sets ReadData(const json& data, const network::Network& network) {
  if (data.contains("idx")) {
    const json& files = data["idx"];
    return {ReadIdx(files[0], files[1], network.classes),
            ReadIdx(files[2], files[3], network.classes)};
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
  options.backend = description.value("backend", "cpu");
  options.threads = description.value("threads", 0);
  options.checkpoint_every_steps = description.value("checkpoint_every_steps", 0);
  Trainer trainer(configuration, {&sets.train, &sets.validation, 0, 1}, options);
  std::string path;
  if (!folder.empty()) {
    path = folder + "/checkpoint";
    struct stat status {};
    if (stat(path.c_str(), &status) == 0 && !trainer.Restore(ReadCheckpoint(path))) {
      std::cerr << "engine_train: the checkpoint has another fingerprint\n";
      return 1;
    }
  }
  Printer printer(path, !folder.empty());
  return trainer.Run(printer) == Outcome::kCompleted ? 0 : 1;
}

}  // namespace
}  // namespace trainyard::engine

int main(int argc, char** argv) {
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
