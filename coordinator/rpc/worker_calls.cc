// Workers: the list, and sending one away.
#include "absl/strings/str_cat.h"
#include "coordinator/convert/api.h"
#include "coordinator/rpc/client_service.h"
#include "coordinator/rpc/request_checks.h"
#include "coordinator/rpc/status.h"

namespace trainyard::coordinator {

grpc::Status ClientService::ListWorkers(grpc::ServerContext*, const v1::ListWorkersRequest*,
                                        v1::ListWorkersResponse* response) {
  parts_.loop->Read([&](const core::State& state) {
    for (const auto& [id, worker] : state.workers)
      *response->add_workers() = ToProto(state, worker);
  });
  return grpc::Status::OK;
}

grpc::Status ClientService::ListPools(grpc::ServerContext*, const v1::ListPoolsRequest*,
                                      v1::ListPoolsResponse* response) {
  const int64_t now_ms = parts_.loop->now_ms();
  parts_.loop->Read([&](const core::State& state) {
    for (const auto& [name, pool] : state.settings.pools) {
      *response->add_pools() = ToProto(state, name, pool, now_ms);
    }
  });
  return grpc::Status::OK;
}

grpc::Status ClientService::DrainWorker(grpc::ServerContext*, const v1::DrainWorkerRequest* request,
                                        v1::Worker* response) {
  if (auto status = CheckId("worker", request->worker()); !status.ok()) return ToGrpc(status);
  const core::WorkerId id{request->worker()};
  const auto answer = parts_.loop->Ask(core::WorkerDrained{{}, id}, options_.answer_limit);
  if (!answer.ok()) return ToGrpc(answer.status());
  parts_.loop->Read([&](const core::State& state) {
    if (const auto found = state.workers.find(id); found != state.workers.end()) {
      *response = ToProto(state, found->second);
    }
  });
  return grpc::Status::OK;
}

}  // namespace trainyard::coordinator
