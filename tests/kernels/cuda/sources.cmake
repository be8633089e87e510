# What the tests of kernels/cuda are made of, on the emulated machine and on a GPU.
set(families augment_batch batch_norm conv depthwise_conv dropout elementwise first_conv loss
    optimizer pool step_ends)
set(kernel_case_sources
  "${CMAKE_CURRENT_LIST_DIR}/support/kernel_case.cc"
  "${CMAKE_CURRENT_LIST_DIR}/support/schedules.cc")
set(kernel_test_sources
  "${CMAKE_CURRENT_LIST_DIR}/conv_shape_test.cc"
  "${CMAKE_CURRENT_LIST_DIR}/kernel_case_test.cc")
foreach(family IN LISTS families)
  list(APPEND kernel_case_sources "${CMAKE_CURRENT_LIST_DIR}/cases/${family}.cc")
  list(APPEND kernel_test_sources "${CMAKE_CURRENT_LIST_DIR}/${family}_test.cc")
endforeach()
# Steps by NVIDIA's libraries: themselves on a GPU, what stands in for them on the emulated machine.
if(TRAINYARD_CUDA)
  list(APPEND kernel_test_sources
    "${CMAKE_CURRENT_LIST_DIR}/cudnn_steps_test.cc"
    "${CMAKE_CURRENT_LIST_DIR}/matmul_steps_test.cc")
endif()
set(device_table_sources
  "${CMAKE_CURRENT_LIST_DIR}/device_table.cc"
  "${CMAKE_CURRENT_LIST_DIR}/support/peaks.cu"
  "${CMAKE_CURRENT_LIST_DIR}/support/timing.cc")
# The step program over these kernels: small networks and data sets, for sanitizers, and the rest.
set(whole_step_sources
  "${CMAKE_CURRENT_LIST_DIR}/../agreement.cc"
  "${CMAKE_CURRENT_LIST_DIR}/data_sets_test.cc"
  "${CMAKE_CURRENT_LIST_DIR}/networks.cc"
  "${CMAKE_CURRENT_LIST_DIR}/support/schedules.cc"
  "${CMAKE_CURRENT_LIST_DIR}/whole_step_test.cc")
set(program_sources
  ${whole_step_sources}
  "${CMAKE_CURRENT_LIST_DIR}/../agreement_suite.cc"
  "${CMAKE_CURRENT_LIST_DIR}/../backend_suite.cc"
  "${CMAKE_CURRENT_LIST_DIR}/libraries_step_test.cc"
  "${CMAKE_CURRENT_LIST_DIR}/program_test.cc"
  "${CMAKE_CURRENT_LIST_DIR}/program_steps_test.cc"
  "${CMAKE_CURRENT_LIST_DIR}/spans_test.cc"
  "${CMAKE_CURRENT_LIST_DIR}/strides_test.cc")
