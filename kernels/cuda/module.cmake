# trainyard_cuda_module(NAME): a module that carries the CUDA backend, without what it runs on: the
# kernels and a runtime, NVIDIA's or the emulated machine's.
include("${CMAKE_CURRENT_LIST_DIR}/../sources.cmake")

function(trainyard_cuda_module name)
  set(folder "${CMAKE_CURRENT_FUNCTION_LIST_DIR}")
  include("${folder}/../sources.cmake")
  add_library(${name} MODULE "${folder}/device_backend.cc" "${folder}/module.cc" "${folder}/nvml.cc"
              ${kernels_shared_sources})
  target_include_directories(${name} PRIVATE "${folder}/../..")
  target_compile_options(${name} PRIVATE ${TRAINYARD_WARNINGS})
  trainyard_knows_module_interface(${name})
  target_link_libraries(${name} PRIVATE ${CMAKE_DL_LIBS})
  # All but its entry is its own: what it has in common with the program that loads it stays twice.
  target_link_options(${name} PRIVATE -Wl,--exclude-libs,ALL -Wl,-z,defs)
  set_target_properties(${name} PROPERTIES
    CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON OUTPUT_NAME trainyard_cuda)
endfunction()
