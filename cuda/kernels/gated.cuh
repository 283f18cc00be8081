// output[t, i] = activation(gate_up[t, i]) * gate_up[t, inter + i], the middle of a gated MLP:
//   0  SiLU        x / (1 + e^-x)
//   1  GELU, tanh  x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))
//   2  clamped     g = min(gate, 7), u = clamp(up, -7, 7): (u + 1) · g / (1 + e^-1.702g)
//
// Shapes: output [num_tokens, inter] contiguous; gate_up [num_tokens, 2 * inter], rows contiguous
// at any stride. inter is a multiple of N.
// Layout: blockIdx.x is the token, blockIdx.y a stretch of its row; a thread has two groups of N
// elements, kGatedThreads apart, and loads all of them first: four loads under way for each thread.
// Block size: 128 threads are enough to fill a multiprocessor with some blocks, and small enough
// that the stretch at the end of a row wastes little.
#pragma once

#include "dtype.cuh"
#include "launch_order.cuh"
#include "streamcore_kernels.h"
#include "vector.cuh"

namespace streamcore {

constexpr int kGatedThreads = 128, kGatedGroups = 2;

// x / (1 + e^-kx). The exponential of a great negative x is infinite, and the quotient 0, as it
// should be; the quick division has no slow path for it.
__device__ __forceinline__ float swish(float x, float k) { return __fdividef(x, 1.0f + __expf(-k * x)); }

template <int kActivation>
__device__ __forceinline__ float gate_times_up(float gate, float up) {
    if constexpr (kActivation == 0) return swish(gate, 1.0f) * up;
    if constexpr (kActivation == 1) {
        // tanh(y) = 1 - 2 / (1 + e^2y), so that (1 + tanh(y)) / 2 is a swish without its factor.
        const float y = 0.7978845608f * (gate + 0.044715f * gate * gate * gate);
        return gate * up * __fdividef(1.0f, 1.0f + __expf(-2.0f * y));
    }
    const float g = fminf(gate, 7.0f), u = fminf(fmaxf(up, -7.0f), 7.0f);
    return (u + 1.0f) * swish(g, 1.702f);
}

// The same by a number that is known at run time.
__device__ __forceinline__ float gate_times_up(int activation, float gate, float up) {
    if (activation == 0) return gate_times_up<0>(gate, up);
    return activation == 1 ? gate_times_up<1>(gate, up) : gate_times_up<2>(gate, up);
}

template <typename T, int N, int kActivation>
__global__ void __launch_bounds__(kGatedThreads) gated_kernel(const streamcore_gated args) {
    begin_after_launch_before();
    const int inter = static_cast<int>(args.inter);
    const int first = (blockIdx.y * kGatedThreads * kGatedGroups + threadIdx.x) * N;
    const T* row = static_cast<const T*>(args.gate_up) + blockIdx.x * args.gate_up_stride;
    T* output = static_cast<T*>(args.output) + blockIdx.x * args.inter;
    Vector<T, N> gate[kGatedGroups], up[kGatedGroups];
#pragma unroll
    for (int k = 0; k < kGatedGroups; ++k) {
        const int i = first + k * kGatedThreads * N;
        if (i >= inter) break;
        gate[k] = load<N>(row + i);
        up[k] = load<N>(row + inter + i);
    }
#pragma unroll
    for (int k = 0; k < kGatedGroups; ++k) {
        const int i = first + k * kGatedThreads * N;
        if (i >= inter) break;
#pragma unroll
        for (int j = 0; j < N; ++j) {
            gate[k].values[j] =
                narrow<T>(gate_times_up<kActivation>(widen(gate[k].values[j]), widen(up[k].values[j])));
        }
        store<N>(output + i, gate[k]);
    }
}

}  // namespace streamcore
