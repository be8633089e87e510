# What every backend computes with, also the one that is in a module.
set(kernels_shared_sources augment.cc check.cc explain.cc memory_plan.cc program.cc value_uses.cc)
list(TRANSFORM kernels_shared_sources PREPEND "${CMAKE_CURRENT_LIST_DIR}/")

# Tells a target the hash of what crosses between a program and its CUDA module.
function(trainyard_knows_module_interface target)
  set(hashes "")
  foreach(header backend.h graph.h precision.h cuda/module.h)
    set(header "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/${header}")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${header}")
    file(SHA256 "${header}" hash)
    string(APPEND hashes "${hash}")
  endforeach()
  string(SHA256 interface "${hashes}")
  string(SUBSTRING "${interface}" 0 12 interface)
  target_compile_definitions(${target} PRIVATE TRAINYARD_MODULE_INTERFACE="${interface}")
endfunction()
