# cmake -DSTUB=libcuda.so -DNM=nm -DOURS=driver.cc -DTO=FILE -P driver_symbols.cmake
#
# Writes a function for everything that NVIDIA's stub of the driver exports and OURS does not define:
# it fails with CUDA_ERROR_STUB_LIBRARY, as the stub does.
execute_process(COMMAND "${NM}" -D --defined-only "${STUB}" OUTPUT_VARIABLE exported
                COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCHALL " T cu[A-Za-z0-9_]+" names "${exported}")
list(LENGTH names count)
if(count LESS 100)
  message(FATAL_ERROR "${STUB}: exports ${count} functions of the driver, expected hundreds")
endif()
file(READ "${OURS}" ours)
set(text "extern \"C\" {\n")
foreach(name IN LISTS names)
  string(REPLACE " T " "" name "${name}")
  if(NOT ours MATCHES "int ${name}\\(")
    string(APPEND text "int ${name}() { return 34; }\n")
  endif()
endforeach()
file(WRITE "${TO}" "${text}}\n")
