# Finds CUDA's runtime, cuBLASLt and cuDNN 9: in a CUDA toolkit, or below TRAINYARD_CUDA_ROOT in what
# pip unpacks NVIDIA's wheels to (FindCUDAToolkit asks for a compiler, which they don't bring, and
# their libraries have full names only: libcudnn.so.9).
#
# Sets NvidiaLibraries_FOUND, NvidiaLibraries_LIBRARIES and NvidiaLibraries_INCLUDE_DIRS.
set(TRAINYARD_CUDA_ROOT "" CACHE PATH "Folder with NVIDIA's wheels, instead of a CUDA toolkit")
if(TRAINYARD_CUDA_ROOT)
  file(GLOB roots "${TRAINYARD_CUDA_ROOT}/*")
  set(search PATHS ${roots} PATH_SUFFIXES include lib NO_DEFAULT_PATH)
else()
  find_package(CUDAToolkit QUIET)
  set(search HINTS ${CUDAToolkit_INCLUDE_DIRS} ${CUDAToolkit_LIBRARY_DIR})
endif()

set(NvidiaLibraries_LIBRARIES "")
set(NvidiaLibraries_INCLUDE_DIRS "")
set(needed "")
set(old_suffixes ${CMAKE_FIND_LIBRARY_SUFFIXES})
list(APPEND CMAKE_FIND_LIBRARY_SUFFIXES .so.13 .so.9)
foreach(part "cudart cuda_runtime_api.h" "cublasLt cublasLt.h" "cudnn cudnn.h")
  separate_arguments(part)
  list(GET part 0 name)
  list(GET part 1 header)
  find_library(NvidiaLibraries_${name}_LIBRARY ${name} ${search})
  find_path(NvidiaLibraries_${name}_INCLUDE ${header} ${search})
  mark_as_advanced(NvidiaLibraries_${name}_LIBRARY NvidiaLibraries_${name}_INCLUDE)
  list(APPEND needed NvidiaLibraries_${name}_LIBRARY NvidiaLibraries_${name}_INCLUDE)
  list(APPEND NvidiaLibraries_LIBRARIES "${NvidiaLibraries_${name}_LIBRARY}")
  list(APPEND NvidiaLibraries_INCLUDE_DIRS "${NvidiaLibraries_${name}_INCLUDE}")
endforeach()
set(CMAKE_FIND_LIBRARY_SUFFIXES ${old_suffixes})
list(REMOVE_DUPLICATES NvidiaLibraries_INCLUDE_DIRS)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(NvidiaLibraries REQUIRED_VARS ${needed})
