// Trains points of SpaceAround() for a searcher in another process, one at a time, a JSON object a
// line:
//
//   out  {"space": [{"path": "train.lr", "min": 0.01, "max": 0.5, "log": true, "step": 0}, ...],
//         "start": {"train.lr": 0.1, ...}}
//   in   {"seed": 1, "point": {"train.lr": 0.05, "network.width": "2", ...}}
//   out  {"epoch": 1, "val_accuracy": 0.871, "train_accuracy": 0.812, "cpu_seconds": 3.2}
//   in   {"go": true}, or {"go": false}: the trial ends here (pruned)
//   ...
//   out  {"done": true, "diverged": false}
#pragma once

#include <iosfwd>

#include "network/training.h"
#include "worker/engine/trainer.h"

namespace trainyard::tuning {

// Until the end of `in`. Throws kernels::Error for a line that is no point.
void Serve(const network::Configuration& start, const engine::TrainingData& data, int threads,
           std::istream& in, std::ostream& out);

}  // namespace trainyard::tuning
