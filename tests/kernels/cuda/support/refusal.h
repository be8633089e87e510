// What a launcher says to what it cannot do.
#pragma once

#include <string>

#include "kernels/backend.h"

namespace trainyard::kernels::cuda::testing {

// The words of the Error that `call` throws; empty where it throws none.
template <typename Call>
std::string Refusal(Call call) {
  try {
    call();
  } catch (const kernels::Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace trainyard::kernels::cuda::testing
