// output[t, i] = g / (1 + exp(-g)) * u,  g = gate_up[t, i],  u = gate_up[t, inter + i]
//
// Shapes: output [num_tokens, inter] contiguous; gate_up [num_tokens, 2 * inter], rows contiguous at any stride.
// inter is a multiple of N.
// Layout: blockIdx.x is the token, blockIdx.y a stretch of its row; one thread computes one group of N elements:
// two loads, one store.
// Block size: 256 threads are eight warps, enough to fill a multiprocessor with a few blocks, and small enough that
// the stretch at the end of a row wastes little.
#pragma once

#include "dtype.cuh"
#include "vector.cuh"

namespace streamcore {

constexpr int kSiluThreads = 256;

template <typename T, int N>
__global__ void silu_mul_kernel(T* output, const T* gate_up, int64_t inter, int64_t gate_up_stride) {
    const int64_t token = blockIdx.x;
    const int64_t i = (int64_t{blockIdx.y} * kSiluThreads + threadIdx.x) * N;
    if (i >= inter) return;
    const T* row = gate_up + token * gate_up_stride;
    Vector<T, N> gate = load<N>(row + i);
    const Vector<T, N> up = load<N>(row + inter + i);
#pragma unroll
    for (int j = 0; j < N; ++j) {
        const float g = widen(gate.values[j]);
        // The exponential of a great negative gate is infinite, and the quotient 0, as it should be.
        gate.values[j] = narrow<T>(g / (1.0f + __expf(-g)) * widen(up.values[j]));
    }
    store<N>(output + token * inter + i, gate);
}

}  // namespace streamcore
