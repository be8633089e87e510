// At the door of every call: who is it? Read from the call itself, for a connection may carry the
// calls of many.
#pragma once

#include <grpcpp/grpcpp.h>

#include "absl/status/status.h"
#include "coordinator/access/access.h"

namespace trainyard::coordinator {

// What a call shows: its authorization header, and what its connection proved.
CallFacts FactsOf(const grpc::ServerContextBase& context);

// Answers a call with its refusal and nothing else: `Reactor` is the one its handler returns.
template <typename Reactor>
class Refusal final : public Reactor {
 public:
  explicit Refusal(const grpc::Status& why) { this->Finish(why); }
  void OnDone() override { delete this; }
};

}  // namespace trainyard::coordinator
