// CUDA's vector types, those that kernels use, laid out and aligned as on a GPU.
#pragma once

struct alignas(8) float2 {
  float x, y;
};
constexpr float2 make_float2(float x, float y) { return {x, y}; }

struct alignas(16) float4 {
  float x, y, z, w;
};
constexpr float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

struct alignas(8) uint2 {
  unsigned x, y;
};
constexpr uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
