// Data sets in files without a format, which a bare machine reads without any library.
#pragma once

#include <string>

#include "network/network.h"
#include "worker/engine/dataset.h"

namespace trainyard::engine {

// Bytes (NCHW) of images of the network's input, and an int32 for each image, in this machine's
// order. Throws kernels::Error where a file cannot be read, the two disagree, or a label is none.
Dataset ReadRaw(const std::string& pixels_file, const std::string& labels_file,
                const network::Network& network);

}  // namespace trainyard::engine
