// What tests tell the driver that they are linked with.
#pragma once

// Whether it takes the kernels that cuDNN compiles.
extern "C" bool trainyard_test_driver_loads;
