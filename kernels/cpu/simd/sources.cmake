# What is compiled once for each SIMD target, and how: for the cpu backend, and for the tests that
# run it as another processor's. HWY_INCLUDE is where Highway's headers are.
set(kernels_simd_sources batch_norm.cc depthwise.cc gemm.cc load_image.cc loops.cc loops_bytes.cc
    loops_optimizer.cc loops_pool.cc loss_row.cc staging.cc target.cc winograd.cc)
list(TRANSFORM kernels_simd_sources PREPEND "${CMAKE_CURRENT_LIST_DIR}/")

# What is fused is what says so, alike on every processor.
set(kernels_cpu_options -ffp-contract=off)
# Nobody reads floating-point traps or errno here, and keeping them right forbids most vectors.
set(kernels_simd_options -O3 -fno-trapping-math -fno-math-errno -Wno-psabi ${kernels_cpu_options})
# An x86 processor gets AVX3 (AVX-512), AVX2 or, where it is old, SSE4: the others between and above
# add nothing for floats, nor does SSE2, which only later releases of Highway have. SVE's vectors
# have no size that is known when we compile, so there can be no arrays of them: NEON it is. Named
# are those of every release, and given to the compiler those that this one knows.
set(disabled_targets "")
file(READ "${HWY_INCLUDE}/hwy/detect_targets.h" known_targets)
foreach(target HWY_SSE2 HWY_SSSE3 HWY_AVX3_DL HWY_AVX3_ZEN4 HWY_AVX3_SPR HWY_AVX10_2
        HWY_AVX10_2_512 HWY_SVE HWY_SVE2 HWY_SVE_256 HWY_SVE2_128 HWY_NEON_BF16)
  if(known_targets MATCHES "#define ${target} ")
    list(APPEND disabled_targets ${target})
  endif()
endforeach()
string(JOIN "|" disabled_targets ${disabled_targets})
# The last resort is one float at a time, whatever the compiler.
set(kernels_simd_definitions "HWY_DISABLED_TARGETS=(${disabled_targets})" HWY_BROKEN_EMU128=1)
