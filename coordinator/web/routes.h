// Everything that is served over HTTP, in one place.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "coordinator/web/hooks.h"
#include "coordinator/web/http.h"

namespace trainyard::coordinator {

struct RouteParts {
  Hooks* hooks = nullptr;                // outlives the routes
  std::function<std::string()> trouble;  // why nothing can be recorded just now; empty: all is well
};

std::vector<Route> MakeRoutes(const RouteParts& parts);

}  // namespace trainyard::coordinator
