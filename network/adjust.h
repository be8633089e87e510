// Which changes of a configuration a running trial can take, and when.
//
// What the kernels read in every step changes at any step: learning rate, momentum, betas, decay,
// clipping, label smoothing, augmentation strengths, dropout rates. The length and the shape of the
// schedule change at the end of an epoch. Everything else (layers, batch size, optimizer,
// initialisation, precision, seed, normalisation, programs of users) makes another trial.
#pragma once

#include "network/training.h"

namespace trainyard::network {

enum class Boundary { kStep, kEpoch, kTrial };  // the later one, the more has to be planned again

// The earliest boundary at which `from` can become `to`. Equal ones: kStep.
Boundary BoundaryOf(const Configuration& from, const Configuration& to);

}  // namespace trainyard::network
