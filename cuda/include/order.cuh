// Floats by their order, and places in ascending lists.
#pragma once

#include <cstdint>

namespace streamcore {

// A number that orders as the float does.
__device__ __forceinline__ uint32_t ordered_bits(float x) {
    const uint32_t bits = __float_as_uint(x);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float from_ordered_bits(uint32_t bits) {
    return __uint_as_float(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}

// The place of the first of `count` ascending numbers that is `wanted` or greater; `count` if none
// is.
template <typename X>
__device__ __forceinline__ int first_from(const X* ascending, int count, X wanted) {
    int place = 0;
#pragma unroll 1
    while (count > 0) {
        const int half = count / 2;
        const bool is_beyond = ascending[place + half] < wanted;
        place = is_beyond ? place + half + 1 : place;
        count = is_beyond ? count - half - 1 : half;
    }
    return place;
}

// The sum over a warp, in every lane.
template <typename X>
__device__ __forceinline__ X warp_total(X x) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) x += __shfl_xor_sync(0xffffffffu, x, distance);
    return x;
}

// The sum over a block of as many warps as `parts` has places, the same in every thread; the array
// is free again after it.
template <typename X, int kWarps>
__device__ __forceinline__ X block_total(X (&parts)[kWarps], X x) {
    x = warp_total(x);
    if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
    __syncthreads();
    X total = 0;
    for (int w = 0; w < kWarps; ++w) total += parts[w];
    __syncthreads();
    return total;
}

}  // namespace streamcore
