// Sums over the threads of a block.
#pragma once

namespace streamcore {

constexpr int kWarp = 32;

__device__ inline float warp_sum(float x) {
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
        x += __shfl_xor_sync(0xffffffffu, x, distance);
    }
    return x;
}

// The sum over the block, in every thread. The block is a whole number of warps, at most 1024
// threads; call it once per kernel, since nothing guards the shared memory against a second use.
__device__ inline float block_sum(float x) {
    __shared__ float sums[kWarp];
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    x = warp_sum(x);
    if (lane == 0) sums[warp] = x;
    __syncthreads();
    return warp_sum(lane < blockDim.x / kWarp ? sums[lane] : 0.0f);
}

}  // namespace streamcore
