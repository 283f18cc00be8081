// output[t, i] = s[t, i] * rsqrt(mean_i(s[t, i]^2) + eps) * weight[i],  s = x, or s = residual + x
// (stored back)
//
// Shapes: output, x and residual [num_tokens, hidden], rows contiguous at any stride; weight
// [hidden]. hidden is a multiple of N. The output may be x itself.
// Layout: one block per token. A thread takes every blockDim.x-th group of N elements, twice: it
// sums their squares, and after the block's sum scales them. The second pass reads what the first
// left in the L1 cache (a row is at most some tens of KB), which costs less than the registers to
// hold it.
// Block size: one group per thread up to 1024 threads; more threads would idle, fewer would
// serialise the loads, and the kernel lives on loads in flight.
#pragma once

#include "dtype.cuh"
#include "launch_order.cuh"
#include "reduce.cuh"
#include "streamcore_kernels.h"
#include "vector.cuh"

namespace streamcore {

template <typename T, int N, bool kResidual>
__global__ void rms_norm_kernel(const streamcore_rms_norm args) {
    begin_after_launch_before();
    const int64_t token = blockIdx.x;
    const int hidden = static_cast<int>(args.hidden), step = blockDim.x * N;
    const T* row = static_cast<const T*>(args.x) + token * args.x_stride;
    T* sum_row = kResidual ? static_cast<T*>(args.residual) + token * args.residual_stride : nullptr;
    T* output = static_cast<T*>(args.output) + token * args.output_stride;

    float squares = 0.0f;
    for (int i = threadIdx.x * N; i < hidden; i += step) {
        Vector<T, N> values = load<N>(row + i);
        if constexpr (kResidual) {
            const Vector<T, N> before = load<N>(sum_row + i);
#pragma unroll
            for (int j = 0; j < N; ++j) {
                values.values[j] = narrow<T>(widen(before.values[j]) + widen(values.values[j]));
            }
            store<N>(sum_row + i, values);
        }
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const float value = widen(values.values[j]);
            squares += value * value;
        }
    }
    const float scale = rsqrtf(block_sum(squares) / static_cast<float>(hidden) + args.eps);

    // Each thread reads back only what it wrote itself.
    const T* source = kResidual ? sum_row : row;
    const T* weight = static_cast<const T*>(args.weight);
    for (int i = threadIdx.x * N; i < hidden; i += step) {
        Vector<T, N> values = load<N>(source + i);
        const Vector<T, N> weights = load<N>(weight + i);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            values.values[j] = narrow<T>(widen(values.values[j]) * scale * widen(weights.values[j]));
        }
        store<N>(output + i, values);
    }
}

}  // namespace streamcore
