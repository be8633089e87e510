// The inner loops for baseline.
#define TRAINYARD_LOOPS base
#define TRAINYARD_LOOPS_NAME "baseline"
#include "kernels/cpu/loops.inc"
