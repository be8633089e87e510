// The one translation between spec messages and the structs of network/. Total in both directions:
// what a message leaves out becomes the struct's zero, and nothing is checked here (see
// network/shapes.h for that).
#pragma once

#include "network/network.h"
#include "network/training.h"
#include "trainyard/v1/spec.pb.h"

namespace trainyard {

v1::Configuration ToProto(const network::Configuration& configuration);
v1::Network ToProto(const network::Network& network);
v1::Training ToProto(const network::Training& training);
v1::ProgramChanges ToProto(const network::ProgramChanges& changes);

network::Configuration FromProto(const v1::Configuration& message);
network::Network FromProto(const v1::Network& message);
network::Training FromProto(const v1::Training& message);
network::ProgramChanges FromProto(const v1::ProgramChanges& message);

}  // namespace trainyard
