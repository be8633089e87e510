#include "coordinator/rpc/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/support/server_interceptor.h>

#include <algorithm>
#include <cctype>

#include "absl/strings/str_cat.h"
#include "proto/channel_settings.h"

namespace trainyard::coordinator {
namespace {

constexpr int kThreadsMax = 512;
constexpr int kMessageBytesMax = 4 << 20;

// gRPC answers a request that cannot be parsed (torn, nested too deeply, text that is not UTF-8)
// with INTERNAL. It is the caller's mistake, and says so here.
class ParseErrors final : public grpc::experimental::Interceptor {
 public:
  void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
    using Point = grpc::experimental::InterceptionHookPoints;
    if (methods->QueryInterceptionHookPoint(Point::POST_RECV_MESSAGE)) {
      received_ = received_ || methods->GetRecvMessage() != nullptr;
    }
    if (methods->QueryInterceptionHookPoint(Point::PRE_SEND_STATUS)) {
      const grpc::Status status = methods->GetSendStatus();
      // Ours are never INTERNAL without a text.
      if (status.error_code() == grpc::StatusCode::INTERNAL && status.error_message().empty()) {
        methods->ModifySendStatus(
            {grpc::StatusCode::INVALID_ARGUMENT,
             "the request is no valid message: torn, nested too deeply, or with text that is not "
             "UTF-8"});
      }
    }
    methods->Proceed();
  }

 private:
  bool received_ = false;
};

class ParseErrorsFactory final : public grpc::experimental::ServerInterceptorFactoryInterface {
 public:
  grpc::experimental::Interceptor* CreateServerInterceptor(
      grpc::experimental::ServerRpcInfo*) override {
    return new ParseErrors;
  }
};

void SetArguments(grpc::ServerBuilder& builder) {
  // A port in use has to be an error, not a second listener.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kServerPingIntervalMinMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.SetMaxReceiveMessageSize(kMessageBytesMax);
  grpc::ResourceQuota quota("trainyard");
  quota.SetMaxThreads(kThreadsMax);
  builder.SetResourceQuota(quota);
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> factories;
  factories.push_back(std::make_unique<ParseErrorsFactory>());
  builder.experimental().SetInterceptorCreators(std::move(factories));
}

absl::Status CheckAddress(const std::string& listen) {
  if (listen.starts_with("unix:")) return absl::OkStatus();
  const size_t colon = listen.rfind(':');
  if (colon != std::string::npos && colon > 0) {
    const std::string port = listen.substr(colon + 1);
    const bool digits =
        std::all_of(port.begin(), port.end(), [](unsigned char c) { return std::isdigit(c); });
    if (!port.empty() && port.size() <= 5 && digits && std::stoi(port) <= 65535) {
      return absl::OkStatus();
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--listen: found '", listen, "', expected host:port, such as 127.0.0.1:7700"));
}

std::shared_ptr<grpc::ServerCredentials> Credentials(const TlsFiles& tls) {
  grpc::SslServerCredentialsOptions options(
      tls.client_ca_pem.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                // People have none; of workers it is asked for call by call.
                                : GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = tls.client_ca_pem;
  options.pem_key_cert_pairs.push_back({tls.pair.key_pem, tls.pair.cert_pem});
  return grpc::SslServerCredentials(options);
}

}  // namespace

absl::StatusOr<RunningServer> StartServer(const std::vector<Listener>& listeners,
                                          const TlsFiles& tls,
                                          const std::vector<grpc::Service*>& services) {
  for (const Listener& listener : listeners) {
    if (auto status = CheckAddress(listener.address); !status.ok()) return status;
  }
  grpc::EnableDefaultHealthCheckService(true);
  static const bool reflection = [] {
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    return true;
  }();
  (void)reflection;
  grpc::ServerBuilder builder;
  SetArguments(builder);
  std::vector<int> ports(listeners.size(), 0);
  for (size_t i = 0; i < listeners.size(); ++i) {
    builder.AddListeningPort(
        listeners[i].address,
        listeners[i].tls ? Credentials(tls) : grpc::InsecureServerCredentials(), &ports[i]);
  }
  for (grpc::Service* service : services) builder.RegisterService(service);
  RunningServer running;
  running.server = builder.BuildAndStart();
  // They are opened in order, up to the first that fails.
  if (const auto failed = std::ranges::find(ports, 0);
      running.server == nullptr || failed != ports.end()) {
    const size_t which = std::min<size_t>(failed - ports.begin(), listeners.size() - 1);
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", listeners[which].address,
                     ": the address is in use by another program or by another --listen, or is "
                     "none of this machine's"));
  }
  for (size_t i = 0; i < listeners.size(); ++i) {
    const std::string& asked = listeners[i].address;
    const bool unix_socket = asked.starts_with("unix:");
    running.listeners.push_back(
        {unix_socket ? asked : absl::StrCat(asked.substr(0, asked.rfind(':')), ":", ports[i]),
         listeners[i].tls});
  }
  running.address = running.listeners.front().address;
  running.server->GetHealthCheckService()->SetServingStatus(true);
  return running;
}

absl::StatusOr<RunningServer> StartServer(const std::string& listen,
                                          const std::vector<grpc::Service*>& services) {
  return StartServer({Listener{listen, false}}, TlsFiles{}, services);
}

}  // namespace trainyard::coordinator
