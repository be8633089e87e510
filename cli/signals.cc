#include "cli/signals.h"

#include <atomic>
#include <utility>

namespace trainyard::cli {
namespace {

std::atomic<int> g_caught{0};
static_assert(std::atomic<int>::is_always_lock_free,
              "a signal handler may only store into it then");

int g_alive = 0;  // of the main thread

void Note(int signal) { g_caught.store(signal); }

}  // namespace

SignalWatch::SignalWatch() {
  if (g_alive++ > 0) return;
  g_caught.store(0);
  struct sigaction action {};
  action.sa_handler = Note;
  action.sa_flags = SA_RESETHAND;
  for (const auto& [signal, old] :
       {std::pair{SIGINT, &old_interrupt_}, std::pair{SIGTERM, &old_terminate_}}) {
    sigaction(signal, &action, old);
    if (old->sa_handler == SIG_IGN)
      sigaction(signal, old, nullptr);  // as nohup and a shell's "&" want it
  }
}

SignalWatch::~SignalWatch() {
  if (--g_alive > 0) return;
  sigaction(SIGINT, &old_interrupt_, nullptr);
  sigaction(SIGTERM, &old_terminate_, nullptr);
}

int SignalWatch::caught() const { return g_caught.load(); }

}  // namespace trainyard::cli
