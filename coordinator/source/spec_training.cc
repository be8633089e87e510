// `train`: the hyperparameters. Ranges are those of network::CheckTraining, which runs afterwards.
#include <limits>

#include "coordinator/source/spec_parts.h"

namespace trainyard::coordinator {
namespace {

constexpr int64_t kIntMax = std::numeric_limits<int32_t>::max();

void ReadOptimizer(const Section& section, network::Optimizer* optimizer) {
  section.Word<network::OptimizerKind>(
      "optimizer",
      {{"sgd", network::OptimizerKind::kSgd}, {"adamw", network::OptimizerKind::kAdamW}},
      &optimizer->kind);
  if (optimizer->kind == network::OptimizerKind::kAdamW) {
    optimizer->learning_rate = kAdamWLearningRate;
    optimizer->weight_decay = kAdamWWeightDecay;
  }
  section.Real("lr", &optimizer->learning_rate);
  section.Real("momentum", &optimizer->momentum);
  section.Boolean("nesterov", &optimizer->nesterov);
  section.Real("beta1", &optimizer->beta1);
  section.Real("beta2", &optimizer->beta2);
  section.Real("epsilon", &optimizer->epsilon);
  section.Real("weight_decay", &optimizer->weight_decay);
  section.Real("clip_norm", &optimizer->clip_norm);
}

void ReadSchedule(const YamlNode* node, network::Schedule* schedule, SpecProblems* problems) {
  if (node == nullptr) return;
  const std::vector<Choice<network::ScheduleKind>> kinds = {
      {"constant", network::ScheduleKind::kConstant},
      {"step", network::ScheduleKind::kStep},
      {"cosine", network::ScheduleKind::kCosine},
      {"one_cycle", network::ScheduleKind::kOneCycle}};
  if (node->kind == YamlNode::Kind::kScalar) {  // `schedule: cosine`
    std::vector<std::string_view> words;
    for (const auto& kind : kinds) words.push_back(kind.word);
    int index = ReadWord(*node, "train.schedule", words, problems);
    if (index >= 0) schedule->kind = kinds[index].value;
    return;
  }
  Section section(node, "train.schedule", "schedule", problems);
  section.Word("kind", kinds, &schedule->kind);
  section.Real("warmup_epochs", &schedule->warmup_epochs);
  section.Real("step_epochs", &schedule->step_epochs);
  section.Real("step_factor", &schedule->step_factor);
  section.Real("final_factor", &schedule->final_factor);
  section.Real("peak_at", &schedule->peak_at);
}

void ReadAugmentation(const YamlNode* node, network::Augmentation* augmentation,
                      SpecProblems* problems) {
  Section section(node, "train.augmentation", "augmentation", problems);
  section.Boolean("flip", &augmentation->flip);
  section.Integer("shift", 0, kIntMax, &augmentation->shift);
  section.Integer("cutout", 0, kIntMax, &augmentation->cutout);
  section.Boolean("normalise", &augmentation->normalise);
}

}  // namespace

void ReadTraining(const Section& root, network::Training* training, SpecProblems* problems) {
  Section section(root.Find("train"), "train", "train", problems);
  section.Integer("epochs", 1, kIntMax, &training->epochs);
  section.Integer("batch_size", 1, kIntMax, &training->batch_size);
  ReadOptimizer(section, &training->optimizer);
  ReadSchedule(section.Find("schedule"), &training->schedule, problems);
  section.Real("label_smoothing", &training->label_smoothing);
  ReadAugmentation(section.Find("augmentation"), &training->augmentation, problems);
  section.Word<network::Initialisation>(
      "initialisation",
      {{"he", network::Initialisation::kHe}, {"glorot", network::Initialisation::kGlorot}},
      &training->initialisation);
  section.Word<network::Precision>("precision",
                                   {{"fp32", network::Precision::kFp32},
                                    {"tf32", network::Precision::kTf32},
                                    {"bf16", network::Precision::kBf16}},
                                   &training->precision);
  section.Seed("seed", &training->seed);
}

}  // namespace trainyard::coordinator
