#include "kernels/cuda/emulation/instructions.h"

#include <cstring>
#include <string>

#include "kernels/cuda/emulation/language.h"
#include "kernels/cuda/emulation/tensor_core.h"

namespace trainyard::kernels::cuda::emulation {
namespace {

constexpr uint32_t kAllLanes = 0xffffffffu;

constexpr WarpOperation kMmaBf16 = {"mma (bf16)", true, MultiplyBf16};
constexpr WarpOperation kMmaTf32 = {"mma (tf32)", true, MultiplyTf32};
constexpr WarpOperation kLoadMatrices = {"ldmatrix", true};
constexpr WarpOperation kLoadMatricesTransposed = {"ldmatrix.trans", true};

// Operations on matrices need all 32 lanes.
void NeedFullWarp(const WarpOperation& operation, const Site& site) {
  Machine& machine = Machine::Current();
  if (machine.live_lanes() == kAllLanes) return;
  machine.Fail(std::string(operation.name) + " at " + Text(site) +
               ": lanes of the warp do not exist or have exited, expected all 32");
}

void Mma(const WarpOperation& operation, const Site& site, float (&d)[4], const uint32_t (&a)[4],
         const uint32_t (&b)[2]) {
  NeedFullWarp(operation, site);
  const Fragments mine{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  WarpMeeting& meeting = Machine::Current().Meet(kAllLanes, operation, site, &mine, sizeof mine);
  Product part;
  std::memcpy(&part, meeting.values[Machine::Current().lane()], sizeof part);
  Machine::Current().Depart(meeting);
  for (int i = 0; i < 4; ++i) d[i] += part[i];
}

// `name` is the instruction's, `what` its operand's.
void NeedAligned(const char* name, const Site& site, const char* what, const void* address,
                 int bytes) {
  if (reinterpret_cast<uintptr_t>(address) % static_cast<uintptr_t>(bytes) == 0) return;
  Machine::Current().Fail(std::string(name) + " at " + Text(site) + ": " + what +
                          " is not aligned to " + std::to_string(bytes) + " bytes");
}

void NeedShared(const char* name, const Site& site, const char* what, const void* address,
                size_t bytes) {
  if (Machine::Current().shared().Contains(address, bytes)) return;
  Machine::Current().Fail(std::string(name) + " at " + Text(site) + ": " + what +
                          " does not lie in the block's shared memory");
}

}  // namespace

void MmaBf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const Site& site) {
  Mma(kMmaBf16, site, d, a, b);
}

void MmaTf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const Site& site) {
  Mma(kMmaTf32, site, d, a, b);
}

void LoadMatrices(uint32_t (&out)[4], const void* shared_row, bool transposed, const Site& site) {
  struct Row {
    uint16_t at[8];
  };
  Machine& machine = Machine::Current();
  const WarpOperation& operation = transposed ? kLoadMatricesTransposed : kLoadMatrices;
  NeedFullWarp(operation, site);
  NeedAligned(operation.name, site, "a row", shared_row, sizeof(Row));
  // Each lane reads the row that it names, and gives it to those who need it.
  Row mine;
  std::memcpy(&mine, shared_row, sizeof mine);
  NeedShared(operation.name, site, "a row", shared_row, sizeof mine);
  const Exchange<Row> rows(kAllLanes, operation, site, mine);
  const unsigned g = machine.lane() / 4, t = machine.lane() % 4;
  for (unsigned matrix = 0; matrix < 4; ++matrix) {
    uint32_t pair[2];
    for (unsigned i = 0; i < 2; ++i) {
      pair[i] =
          transposed ? rows[8 * matrix + 2 * t + i].at[g] : rows[8 * matrix + g].at[2 * t + i];
    }
    out[matrix] = pair[0] | pair[1] << 16;
  }
}

void StartCopy(void* shared, const void* global, int bytes, bool valid, const Site& site) {
  NeedAligned("cp.async", site, "the destination", shared, bytes);
  NeedAligned("cp.async", site, "the source", global, bytes);
  Machine::Current().copies().Start(shared, global, bytes, valid, site);
  NeedShared("cp.async", site, "the destination", shared, static_cast<size_t>(bytes));
}

void CommitCopies() { Machine::Current().copies().Commit(); }

void WaitForCopies(int still_in_flight) { Machine::Current().copies().Wait(still_in_flight); }

}  // namespace trainyard::kernels::cuda::emulation
