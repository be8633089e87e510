// The service itself, what it says about itself, and events.
#include "coordinator/rpc/client_service.h"

#include "absl/strings/str_cat.h"
#include "coordinator/rpc/status.h"

namespace trainyard::coordinator {

ClientService::ClientService(ClientOptions options, ClientParts parts)
    : options_(std::move(options)), parts_(parts) {}

grpc::Status ClientService::GetServerInfo(grpc::ServerContext*, const v1::GetServerInfoRequest*,
                                          v1::ServerInfo* response) {
  response->set_version(options_.version);
  response->set_state_dir(options_.state_dir);
  for (const std::string& root : options_.data_roots) response->add_data_roots(root);
  response->set_started_ms(options_.started_wall_ms);
  response->set_last_cursor(parts_.loop->last_cursor());
  response->set_http_address(options_.http_address);
  return grpc::Status::OK;
}

EventStream* ClientService::WatchEvents(grpc::CallbackServerContext*,
                                        const v1::WatchEventsRequest* request) {
  if (++watchers_ > options_.watchers_max) {
    return EventStream::Refuse(
        absl::ResourceExhaustedError(absl::StrCat(options_.watchers_max, " watch already")),
        &watchers_);
  }
  if (request->job() < 0 || request->after_cursor() < 0) {
    return EventStream::Refuse(absl::InvalidArgumentError(absl::StrCat(
                                   "found job ", request->job(), " and after_cursor ",
                                   request->after_cursor(), ", expected none below 0")),
                               &watchers_);
  }
  return EventStream::Start(*request, options_.stream, parts_.loop, &pump_, &watchers_);
}

}  // namespace trainyard::coordinator
