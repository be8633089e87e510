#include "coordinator/web/routes.h"

namespace trainyard::coordinator {

std::vector<Route> MakeRoutes(const RouteParts& parts) {
  Hooks* const hooks = parts.hooks;
  return {
      {"/healthz",
       {"GET"},
       [trouble = parts.trouble](const HttpRequest&) {
         // Whoever asks is a stranger: the details are in the log.
         return trouble().empty() ? HttpResponse{200, "ok\n"}
                                  : HttpResponse{503, "records cannot be written just now\n"};
       }},
      {"/hooks/github",
       {"POST"},
       [hooks](const HttpRequest& request) { return hooks->GitHub(request); }},
      {"/hooks/push",
       {"POST"},
       [hooks](const HttpRequest& request) { return hooks->Push(request); }},
      {"/git/notifyCommit",
       {"POST", "GET"},
       [hooks](const HttpRequest& request) { return hooks->NotifyCommit(request); }},
  };
}

}  // namespace trainyard::coordinator
