#include "coordinator/rpc/door.h"

#include <memory>

namespace trainyard::coordinator {

CallFacts FactsOf(const grpc::ServerContextBase& context) {
  CallFacts facts;
  const auto [first, last] = context.client_metadata().equal_range("authorization");
  for (auto header = first; header != last; ++header) {
    facts.authorization.emplace_back(header->second.data(), header->second.size());
  }
  const std::shared_ptr<const grpc::AuthContext> connection = context.auth_context();
  for (const grpc::string_ref& type :
       connection->FindPropertyValues(GRPC_TRANSPORT_SECURITY_TYPE_PROPERTY_NAME)) {
    facts.tls = facts.tls || type == "ssl";
  }
  facts.client_certificate = facts.tls && connection->IsPeerAuthenticated();
  return facts;
}

}  // namespace trainyard::coordinator
