#include "coordinator/web/http.h"

#include <httplib.h>

namespace trainyard::coordinator {

std::string ParamOf(const HttpParams& params, const std::string& name) {
  const auto found = params.find(name);
  return found == params.end() ? "" : found->second;
}

HttpParams ParseForm(const std::string& body) {
  httplib::Params params;
  httplib::detail::parse_query_text(body, params);
  return params;
}

HttpResponse Unreadable(const absl::Status& status) {
  const int code = absl::IsResourceExhausted(status)  ? 413
                   : absl::IsDeadlineExceeded(status) ? 408
                                                      : 400;
  return {code, std::string(status.message()) + "\n"};
}

}  // namespace trainyard::coordinator
