// SPDX-License-Identifier: MIT
#pragma once

// device.h on CUDA hardware, from sm_80 on.

#include <cuda_runtime.h>

#define RQ_DEVICE static __device__ __forceinline__
#define RQ_KERNEL static __global__ void __launch_bounds__(256)
#define RQ_DEVICE_MEMBER __device__ __forceinline__
#define RQ_UNROLL _Pragma("unroll")

namespace rotorquant::gpu {

RQ_DEVICE unsigned thread_id() {
  return threadIdx.x;
}
RQ_DEVICE unsigned threads() {
  return blockDim.x;
}
RQ_DEVICE unsigned block_x() {
  return blockIdx.x;
}
RQ_DEVICE unsigned block_y() {
  return blockIdx.y;
}
RQ_DEVICE unsigned blocks_x() {
  return gridDim.x;
}

RQ_DEVICE uint8_t* shared_memory() {
  extern __shared__ Words4 dynamic_shared[];
  return reinterpret_cast<uint8_t*>(dynamic_shared);
}

RQ_DEVICE void block_barrier() {
  __syncthreads();
}
RQ_DEVICE void warp_barrier() {
  __syncwarp();
}

constexpr unsigned every_lane = 0xFFFFFFFFU;

template <class T>
RQ_DEVICE T shuffle(T value, unsigned lane) {
  return __shfl_sync(every_lane, value, static_cast<int>(lane));
}
template <class T>
RQ_DEVICE T shuffle_xor(T value, unsigned mask) {
  return __shfl_xor_sync(every_lane, value, static_cast<int>(mask));
}
RQ_DEVICE uint32_t ballot(bool predicate) {
  return __ballot_sync(every_lane, predicate);
}

RQ_DEVICE uint32_t atomic_add(uint32_t* p, uint32_t value) {
  return atomicAdd(p, value);
}
RQ_DEVICE uint32_t atomic_min(uint32_t* p, uint32_t value) {
  return atomicMin(p, value);
}

RQ_DEVICE Words4 load_streaming(const Words4* p) {
  Words4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.w[0]), "=r"(v.w[1]), "=r"(v.w[2]), "=r"(v.w[3])
               : "l"(p));
  return v;
}
RQ_DEVICE uint32_t load_streaming(const uint32_t* p) {
  uint32_t v;
  asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(v) : "l"(p));
  return v;
}

RQ_DEVICE void mma_bytes(int32_t* c, const uint32_t* a, const uint32_t* b) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

RQ_DEVICE float fused(float a, float b, float c) {
  return __fmaf_rn(a, b, c);
}
RQ_DEVICE float root(float x) {
  return __fsqrt_rn(x);
}
RQ_DEVICE double root(double x) {
  return __dsqrt_rn(x);
}
RQ_DEVICE int nearest_int(float x) {
  return __float2int_rn(x);
}
RQ_DEVICE unsigned count_bits(uint32_t x) {
  return static_cast<unsigned>(__popc(x));
}
/// x is not 0.
RQ_DEVICE unsigned first_bit(uint32_t x) {
  return static_cast<unsigned>(__ffs(static_cast<int>(x))) - 1;
}
RQ_DEVICE uint32_t float_bits(float x) {
  return __float_as_uint(x);
}
RQ_DEVICE float bits_float(uint32_t u) {
  return __uint_as_float(u);
}

/// Throws Error with the runtime's own words.
void check_cuda(cudaError_t status, const char* what);

template <class Args>
void launch(void (*kernel)(Args), const LaunchShape& shape, Device& device, const Args& args) {
  constexpr size_t without_asking = 48 << 10;
  if (shape.shared_bytes > without_asking) {
    check_cuda(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                    cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shape.shared_bytes)),
               "shared memory of a kernel");
  }
  kernel<<<dim3(shape.blocks_x, shape.blocks_y), shape.threads, shape.shared_bytes,
           static_cast<cudaStream_t>(device.stream())>>>(args);
  check_cuda(cudaGetLastError(), "launch of a kernel");
}

}  // namespace rotorquant::gpu
