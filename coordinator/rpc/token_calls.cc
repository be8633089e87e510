// Tokens: made, listed, revoked. Their secrets are in no log and no record.
#include <spdlog/spdlog.h>

#include "absl/strings/str_cat.h"
#include "coordinator/access/access.h"
#include "coordinator/rpc/client_service.h"
#include "coordinator/rpc/status.h"

namespace trainyard::coordinator {

grpc::Status ClientService::CreateToken(grpc::ServerContext*, const v1::CreateTokenRequest* request,
                                        v1::CreateTokenResponse* response) {
  auto created =
      parts_.access->tokens().Create(request->name(), request->role(), request->lifetime_ms());
  if (!created.ok()) return ToGrpc(created.status());
  spdlog::info("token '{}' of role {} was created", created->token.name(),
               RoleName(created->token.role()));
  *response->mutable_token() = std::move(created->token);
  response->set_secret(std::move(created->secret));
  return grpc::Status::OK;
}

grpc::Status ClientService::ListTokens(grpc::ServerContext*, const v1::ListTokensRequest*,
                                       v1::ListTokensResponse* response) {
  for (v1::Token& token : parts_.access->tokens().List()) {
    *response->add_tokens() = std::move(token);
  }
  return grpc::Status::OK;
}

grpc::Status ClientService::RevokeToken(grpc::ServerContext*, const v1::RevokeTokenRequest* request,
                                        v1::Token* response) {
  auto revoked = parts_.access->tokens().Revoke(request->name());
  if (!revoked.ok()) return ToGrpc(revoked.status());
  spdlog::info("token '{}' was revoked", revoked->name());
  *response = *std::move(revoked);
  return grpc::Status::OK;
}

}  // namespace trainyard::coordinator
