// The inner loops for x86-64-v4.
#define TRAINYARD_LOOPS v4
#define TRAINYARD_LOOPS_NAME "x86-64-v4"
#include "kernels/cpu/loops.inc"
