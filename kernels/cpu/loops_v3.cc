// The inner loops for x86-64-v3.
#define TRAINYARD_LOOPS v3
#define TRAINYARD_LOOPS_NAME "x86-64-v3"
#include "kernels/cpu/loops.inc"
