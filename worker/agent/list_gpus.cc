#include "worker/agent/list_gpus.h"

#include <google/protobuf/util/json_util.h>

#include <cstdio>
#include <string>

#include "worker/agent/choose_backend.h"

namespace trainyard::agent {

int ListGpus(const kernels::CudaProbe& probe) {
  if (probe.devices.empty()) std::fprintf(stderr, "no GPU: %s\n", probe.problem.c_str());
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  for (const kernels::CudaDevice& device : probe.devices) {
    std::string json;
    // Fails for text that is not UTF-8 alone.
    if (!google::protobuf::util::MessageToJsonString(Describe(device, probe), &json, options).ok())
      continue;
    std::printf("%s\n", json.c_str());
  }
  return std::fflush(stdout) == 0 ? 0 : 1;
}

}  // namespace trainyard::agent
