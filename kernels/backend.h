// The one interface that lowers a graph and runs it. Backends: `reference` (plain loops in double,
// the definition of right), `cpu` (Winograd and matrix products in SIMD) and, from a module loaded
// at run time, `cuda`.
//
// A Program is planned once and run many times: ways of computing, layouts, workspace and memory
// are decided in Lower(); a step allocates nothing. State crosses this interface only as canonical,
// unpadded fp32 spans (conv weights OIHW, linear weights (out, in)), so that checkpoints and other
// backends agree; packed copies belong to the backend.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/graph.h"
#include "kernels/precision.h"

namespace trainyard::kernels {

// The one exception of kernels and engine. `what()` is a sentence for people.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// What it computes on has not enough memory. Trying the same again cannot help.
class OutOfMemory : public Error {
 public:
  using Error::Error;
};

// What it computes on cannot do it as things are, whatever the program is: others use its memory,
// or a library does not start. It may at another time, or on another machine.
class Unavailable : public Error {
 public:
  using Error::Error;
};

// What it computes on is gone or broken, whatever it was told to do. Nothing can be done with it by
// this process any more.
class DeviceLost : public Error {
 public:
  using Error::Error;
};

// It is well, but a kernel failed on it, as it may do again. This process cannot use it any more,
// as with DeviceLost; another one can.
class KernelFailed : public DeviceLost {
 public:
  using DeviceLost::DeviceLost;
};

// Images kept decoded in memory: bytes (count, channels, height, width) and a label each.
// Not owned; must outlive the programs that read it.
struct ImageSet {
  std::span<const uint8_t> pixels;
  std::span<const int32_t> labels;
  ValueShape shape;
  int64_t count() const { return static_cast<int64_t>(labels.size()); }
};

enum class OptimizerKind { kSgd, kAdamW };

// Everything that may change between two steps without planning again.
struct StepScalars {
  uint64_t seed = 0;
  int64_t step = 0;  // counted from 0 over the whole trial; position in every random stream
  OptimizerKind optimizer = OptimizerKind::kSgd;
  float learning_rate = 0, momentum = 0;
  bool nesterov = false;
  float beta1 = 0, beta2 = 0, epsilon = 0;
  float weight_decay = 0;
  float clip_norm = 0;  // 0: none
  float label_smoothing = 0;
  bool flip = false;
  int shift = 0, cutout = 0;
  std::span<const float> dropout_rates;  // by Op::dropout
};

struct StepResult {
  double loss = 0;           // mean over the batch, label smoothing included
  int64_t correct = 0;       // argmax == label
  double gradient_norm = 0;  // L2, before clipping
};

struct EvaluationResult {
  double loss_sum = 0;  // without label smoothing
  int64_t correct = 0;
};

// The trainable state. Sizes: parameters, gradients, moment1 and moment2 parameter_count (moment2
// is used by AdamW only), statistics statistic_count.
struct ProgramState {
  std::vector<float> parameters, moment1, moment2, statistics;
};

class Program {
 public:
  virtual ~Program() = default;

  // x = (pixel / 255 - mean[c]) * inverse_std[c]. Call before the first step.
  virtual void SetNormalisation(std::span<const float> mean,
                                std::span<const float> inverse_std) = 0;

  // Copies the state in or out, in canonical layout. The optimizer's step count is
  // StepScalars::step.
  // Moments that are empty going in mean zeros; a new program's state is all zeros.
  virtual void WriteState(const ProgramState& state) = 0;
  virtual void ReadState(ProgramState& state) const = 0;

  // One optimizer step on images[indices] (at most batch_size of them): augment, forward, loss,
  // backward, update. The same state, images, indices and scalars give the same bytes.
  // Labels must be in [0, classes).
  virtual StepResult TrainStep(const ImageSet& images, std::span<const int32_t> indices,
                               const StepScalars& scalars) = 0;

  // Several steps in a row, as many as there are scalars: each on the next of as many batches of
  // the same size. Gives and leaves the same bytes as TrainStep for each would, in less time where
  // a device need not wait for the host between two steps.
  virtual void TrainSteps(const ImageSet& images, std::span<const int32_t> indices,
                          std::span<const StepScalars> scalars, std::span<StepResult> results);
  // How many steps are worth giving at once: so many that they take about a tenth of a second.
  virtual int StepsAtOnce() const { return 1; }

  // What the next calls will ask for, in order and in whole batches but for the last, in place of
  // what was expected before: a program that has to fetch images begins to. A hint only. `indices`
  // is copied where it is of use.
  virtual void Expect(const ImageSet& /*images*/, std::span<const int32_t> /*indices*/) {}

  // Forward with running statistics, no dropout, no augmentation. `logits` is empty or has
  // indices.size() * classes floats.
  virtual EvaluationResult Evaluate(const ImageSet& images, std::span<const int32_t> indices,
                                    std::span<float> logits) = 0;

  // Gradients of the last TrainStep, before clipping and decay, canonical layout. For tests and
  // diagnosis.
  virtual void ReadGradients(std::span<float> gradients) const = 0;

  // Bytes of the one allocation, and what the results depend on besides the inputs
  // ("cpu x86-fma plan=..."): part of a checkpoint's fingerprint.
  virtual int64_t MemoryBytes() const = 0;
  virtual std::string Fingerprint() const = 0;

  // For people: a line for each op that has a pass of its own, what computes it, and what is done
  // on the way: "layers.0 (conv) 1x28x28 -> 32x26x26: winograd 4x4, layers.1 (relu) on the way".
  virtual std::vector<std::string> Explain() const { return {}; }
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;
  // Throws Error, naming the op, where it cannot be computed or memory is not to be had.
  virtual std::unique_ptr<Program> Lower(const Graph& graph) = 0;
};

struct BackendOptions {
  std::string name = "cpu";  // or "reference" or "cuda"
  int threads = 0;           // of the CPU; <= 0: one per core
  // Of the GPU; the CPU's backends need none of it.
  Precision precision = Precision::kFp32;
  std::string cache_folder = {};  // for what takes long to find out again; empty: nothing is kept
  std::string gpu = {};           // its UUID, as ProbeCuda gives it; empty: the first usable one
};

// Throws Error for an unknown name, and where what it names cannot be had.
std::unique_ptr<Backend> MakeBackend(const BackendOptions& options);

}  // namespace trainyard::kernels
