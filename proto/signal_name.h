// Signals as people know them.
#pragma once

#include <string>

namespace trainyard {

// "SIGKILL"; "signal 77" of one that has no name.
std::string SignalName(int signal);

}  // namespace trainyard
