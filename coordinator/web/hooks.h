// Pushes that others announce: GitHub and its like, anything that can send JSON or a form, and
// Jenkins' notifyCommit. Each is a hint: the projects it names are looked at now, and what is
// fetched is what the repository itself says. So one that comes twice, late or out of order does no
// harm, and one that is lost is made up for by polling.
//
// Nobody is believed before a secret of the file of hooks has vouched for them, and each secret
// only opens the projects that it is for.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "coordinator/core/ids.h"
#include "coordinator/web/hooks_file.h"
#include "coordinator/web/http.h"
#include "coordinator/web/push_payload.h"

namespace trainyard::coordinator {

struct WatchedProject {
  core::ProjectId id;
  std::string name, url, branch;
};

// What hooks need of the rest. Both return at once.
struct HookTargets {
  std::function<std::vector<WatchedProject>()> projects;
  // `by` is such as "hook github", for people.
  std::function<void(const std::vector<core::ProjectId>& projects, const std::string& by)> poke;
};

// Deliveries that were taken up, the newest of them: what is sent again is known by its id. In
// memory only, for a hint that comes twice does no harm.
class Deliveries {
 public:
  static constexpr size_t kMax = 4096;
  bool Has(const std::string& id) const;
  void Add(const std::string& id);

 private:
  mutable std::mutex mutex_;
  std::set<std::string> known_;
  std::deque<std::string> in_order_;
};

class Hooks {
 public:
  // Without hooks everybody is believed.
  Hooks(std::vector<Hook> hooks, HookTargets targets);

  HttpResponse GitHub(const HttpRequest& request);
  HttpResponse Push(const HttpRequest& request);
  HttpResponse NotifyCommit(const HttpRequest& request);

 private:
  // Projects that the hooks are for.
  std::vector<WatchedProject> ProjectsOf(const std::vector<const Hook*>& hooks) const;
  std::vector<const Hook*> SignedBy(const std::string& body, const std::string& signature) const;
  std::vector<const Hook*> WithToken(const std::string& token) const;
  // Tells what became of it; `taken`: whether any project was poked.
  HttpResponse TakeUp(const PushPayload& push, const std::vector<WatchedProject>& open_to_it,
                      const std::string& by, bool* taken);
  void Poke(const std::vector<WatchedProject>& projects, const std::string& by);

  const std::vector<Hook> hooks_;
  const HookTargets targets_;
  Deliveries deliveries_;
};

}  // namespace trainyard::coordinator
