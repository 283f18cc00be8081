// output[t, i] = s[t, i] * rsqrt(mean_i(s[t, i]^2) + eps) * weight[i],  s = x, or s = residual + x (stored back)
//
// Shapes: output [num_tokens, hidden] contiguous; x and residual [num_tokens, hidden], rows contiguous at any
// stride; weight [hidden]. hidden is a multiple of N.
// Layout: one block per token. A thread takes every blockDim.x-th group of N elements, twice: it sums their squares,
// and after the block's sum scales them. The second pass reads what the first left in the L1 cache (a row is at most
// some tens of KB), which costs less than the registers to hold it.
// Block size: one group per thread up to 1024 threads; more threads would idle, fewer would serialise the loads, and
// the kernel lives on loads in flight.
#pragma once

#include "dtype.cuh"
#include "reduce.cuh"
#include "vector.cuh"

namespace streamcore {

template <typename T, int N, bool kResidual>
__global__ void rms_norm_kernel(T* output, const T* x, T* residual, const T* weight, int64_t hidden, int64_t x_stride,
                                int64_t residual_stride, float eps) {
    const int64_t token = blockIdx.x;
    const T* row = x + token * x_stride;
    T* sum_row = kResidual ? residual + token * residual_stride : nullptr;
    const int64_t step = int64_t{blockDim.x} * N;

    float squares = 0.0f;
    for (int64_t i = int64_t{threadIdx.x} * N; i < hidden; i += step) {
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
    const float scale = rsqrtf(block_sum(squares) / static_cast<float>(hidden) + eps);

    // Each thread reads back only what it wrote itself.
    const T* source = kResidual ? sum_row : row;
    for (int64_t i = int64_t{threadIdx.x} * N; i < hidden; i += step) {
        Vector<T, N> values = load<N>(source + i);
        const Vector<T, N> weights = load<N>(weight + i);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            values.values[j] = narrow<T>(widen(values.values[j]) * scale * widen(weights.values[j]));
        }
        store<N>(output + token * hidden + i, values);
    }
}

}  // namespace streamcore
