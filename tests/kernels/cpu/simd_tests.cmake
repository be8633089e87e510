# Tests of what is compiled for each SIMD target. They need nothing but that,
# kernels/augment.cc and googletest.
set(kernels_simd_tests batch_norm_test.cc depthwise_test.cc gemm_test.cc load_image_test.cc
    loops_bytes_test.cc loops_optimizer_test.cc loops_pool_test.cc loops_test.cc loss_row_test.cc
    staging_test.cc target_test.cc winograd_test.cc)
list(TRANSFORM kernels_simd_tests PREPEND "${CMAKE_CURRENT_LIST_DIR}/")

# Tests of what is made of those loops and spread over threads by OpenMP alone, and what they test:
# these run as another processor's, too.
set(kernels_core_tests conv_case.cc dense_test.cc depthwise_core_test.cc direct_core_test.cc
    every_core_test.cc first_core_test.cc winograd_batch_test.cc winograd_core_test.cc)
list(TRANSFORM kernels_core_tests PREPEND "${CMAKE_CURRENT_LIST_DIR}/")
set(kernels_core_sources conv_core.cc dense.cc depthwise_core.cc direct_core.cc first_core.cc
    parameter_layout.cc winograd_batch.cc winograd_core.cc winograd_shape.cc)
list(TRANSFORM kernels_core_sources
     PREPEND "${CMAKE_CURRENT_LIST_DIR}/../../../kernels/cpu/")
