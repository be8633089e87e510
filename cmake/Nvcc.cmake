# nvcc for our kernels, where there is one: TRAINYARD_NVCC says whether it is used. Include it from
# the CMakeLists.txt of the project, whose targets then all know CUDA's runtime.
#
# Code for A100 and H100, and for the newest chip that this nvcc knows. Chips between and after
# them start from the PTX of compute_90 and of the newest.
include(CheckLanguage)
check_language(CUDA)
if(CMAKE_CUDA_COMPILER AND NOT TRAINYARD_SANITIZE)
  set(nvcc_found ON)
else()
  set(nvcc_found OFF)
endif()
option(TRAINYARD_NVCC "Compile the CUDA kernels with nvcc (needs no GPU)" ${nvcc_found})
if(NOT TRAINYARD_NVCC)
  message(STATUS "nvcc: not used; the CUDA kernels run on the emulated machine only")
  return()
endif()
if(NOT CMAKE_CUDA_COMPILER)
  message(FATAL_ERROR "TRAINYARD_NVCC is on, but no nvcc was found: put it on the PATH, or name it "
          "in CMAKE_CUDA_COMPILER, or turn TRAINYARD_NVCC off.")
endif()

if(NOT CMAKE_CUDA_ARCHITECTURES)
  execute_process(COMMAND "${CMAKE_CUDA_COMPILER}" --list-gpu-arch
                  OUTPUT_VARIABLE known COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "[0-9]+" known "${known}")
  list(SORT known COMPARE NATURAL)
  list(GET known -1 newest)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90 ${newest} CACHE STRING "GPUs that nvcc compiles for")
endif()
set(CMAKE_CUDA_FLAGS_RELEASE "-O3")
enable_language(CUDA)
# CMake 3.25 does not know that nvcc has C++20.
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
  list(APPEND CMAKE_CUDA_COMPILE_FEATURES cuda_std_20)
endif()
set(CMAKE_CUDA_STANDARD ${CMAKE_CXX_STANDARD})
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
message(STATUS "nvcc: ${CMAKE_CUDA_COMPILER} ${CMAKE_CUDA_COMPILER_VERSION} for "
               "${CMAKE_CUDA_ARCHITECTURES}")

# What ptxas says of each kernel is kept beside its object.
set(TRAINYARD_NVCC_OPTIONS --expt-relaxed-constexpr "SHELL:-Xptxas -v,--warn-on-spills"
    -Xcompiler=-Wall,-Wextra)
if(TRAINYARD_WERROR)
  set(report strict)
  list(APPEND TRAINYARD_NVCC_OPTIONS "SHELL:-Werror all-warnings"
       "SHELL:-Xptxas --warning-as-error" -Xcompiler=-Werror)
else()
  set(report lenient)
endif()
set(CMAKE_CUDA_COMPILER_LAUNCHER
    sh "${CMAKE_CURRENT_LIST_DIR}/nvcc_report.sh" ${report} ${CMAKE_CXX_COMPILER_LAUNCHER})
# TRAINYARD_WARNINGS for the C++ files of a target, TRAINYARD_NVCC_OPTIONS for its kernels.
function(trainyard_nvcc_options target)
  target_compile_options(${target} PRIVATE
    "$<$<COMPILE_LANGUAGE:CUDA>:${TRAINYARD_NVCC_OPTIONS}>"
    "$<$<COMPILE_LANGUAGE:CXX>:${TRAINYARD_WARNINGS}>")
endfunction()
