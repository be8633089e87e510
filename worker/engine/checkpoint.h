// Everything needed to continue a trial bit for bit, as one safetensors file.
//
// Tensors: every parameter and running statistic by its name ("layers.0.weight"), and the
// optimizer's moments ("optimizer.moment1.layers.0.weight", ...), all F32 in canonical layout.
// Metadata (strings): see the fields below. The file is readable by Python's `safetensors`.
// Wall-clock values never enter it, so two runs of a trial write the same bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/backend.h"
#include "network/shapes.h"

namespace trainyard::engine {

struct Checkpoint {
  std::string spec_hash;
  int64_t step = 0;  // optimizer steps done
  int epoch = 0;     // epochs completed
  bool end_of_epoch = false;
  uint64_t seed = 0;
  std::string fingerprint;
  bool exact = true;  // false once the trial was continued under another fingerprint
  // Sums of the epoch in progress, so that its metrics come out the same: loss in full precision.
  double epoch_loss_sum = 0;
  int64_t epoch_correct = 0;
  int64_t epoch_images = 0;
  double epoch_gradient_norms = 0;
  // Of the epoch's last whole batch, once it was trained on; until then, and in files that were
  // written before they were measured: 0.
  double update_ratio = 0, dead_units = 0;
  // What the trial was changed by in the steps up to here, in order.
  struct Adjusted {
    int64_t step = 0;     // from where on
    uint64_t digest = 0;  // of the settings since
    bool operator==(const Adjusted&) const = default;
  };
  std::vector<Adjusted> adjusted;
  std::vector<float> normalise_mean, normalise_inverse_std;
  std::vector<network::Parameter> parameters;  // names, roles, shapes; span order; parsed: no fans
  kernels::ProgramState state;
};

// The file's bytes; deterministic. They carry a checksum over themselves.
std::string SerializeCheckpoint(const Checkpoint& checkpoint);

// Parses and verifies: checksum, header length, overlaps, shapes against lengths, unknown types,
// trailing bytes. Throws kernels::Error saying where; what it allocates is bounded by the input.
Checkpoint ParseCheckpoint(std::string_view bytes);

// Only weights and statistics, for people and other frameworks.
std::string SerializeModel(const Checkpoint& checkpoint,
                           const std::vector<std::pair<std::string, std::string>>& metadata);

// Writes to a temporary name ("<path>.tmp-..."), fsyncs, renames, fsyncs the folder. Throws
// kernels::Error (disk full, ...), and then neither `path` nor the temporary file was touched or
// left.
void WriteFileAtomically(const std::string& path, std::string_view bytes);

// ParseCheckpoint of a file's bytes; errors name the file.
Checkpoint ReadCheckpoint(const std::string& path);

}  // namespace trainyard::engine
