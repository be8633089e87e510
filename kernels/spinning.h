// How long OpenMP's threads spin for the next loop before they sleep.
#pragma once

namespace trainyard::kernels {

// libgomp lets them spin for about a millisecond. That is right where every thread has a core to
// itself, but where cores are shared the one that spins keeps off the one that it waits for, and a
// step takes many times as long. This limits it to some microseconds, which costs nothing that can
// be measured where cores are free.
//
// libgomp reads its limit before main, from GOMP_SPINCOUNT. So this starts the program anew, as the
// same process with the same arguments; it is to be called first of all. It returns where there is
// a limit already, OMP_WAIT_POLICY was set, or the program cannot be started.
void LimitSpinning(char** argv);

}  // namespace trainyard::kernels
