# The sources of our kernels: for nvcc, and for g++ on the emulated machine.
set(cuda_kernel_sources
  augment_batch.cu
  batch_norm.cu
  conv_backward_data.cu
  conv_backward_filter.cu
  conv_forward.cu
  depthwise_conv.cu
  dropout.cu
  elementwise.cu
  first_conv.cu
  global_pool.cu
  loss.cu
  optimizer.cu
  pool.cu
  step_ends.cu)
# What calls them, compiled as C++ against either runtime.
set(cuda_host_sources
  backend.cc
  builder.cc
  builder_backward.cc
  builder_forward.cc
  check.cc
  conv_plan.cc
  conv_shape.cc
  conv_steps.cc
  data_sets.cc
  gatherer.cc
  image_stream.cc
  plan.cc
  program.cc
  program_state.cc
  program_steps.cc
  resources.cc
  spans.cc
  step_table.cc)
# Convolutions and dense layers by NVIDIA's libraries, and what stands in for these files where
# their headers are not found.
set(cuda_library_sources
  cudnn_steps.cc
  libraries.cc
  matmul_steps.cc)
set(cuda_no_library_sources no_libraries.cc)
# What includes <cublasLt.h> or <cudnn.h>, which bring NVIDIA's runtime along: compiled once, for a
# GPU and for the emulated machine alike.
set(cuda_cublaslt_sources
  cublaslt/cublaslt.cc
  cublaslt/descriptors.cc)
set(cuda_cudnn_sources
  cudnn/conv_graph.cc
  cudnn/descriptor.cc
  cudnn/engine.cc
  cudnn/library.cc
  cudnn/operation_graph.cc
  cudnn/plan_files.cc
  cudnn/sublibraries.cc)
