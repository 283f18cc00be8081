// Shared by decode and prefill attention: the place of a token in the cache, and the weight of a
// score.
#pragma once

#include "divisor.cuh"
#include "dtype.cuh"
#include "launch_order.cuh"
#include "streamcore_kernels.h"
#include "tensor_core.cuh"
#include "vector.cuh"

namespace streamcore {

constexpr float kLog2E = 1.4426950408889634f;
// A running maximum before the first score: finite, so that the difference of two is a number.
constexpr float kLowest = -1e30f;

// The block table of a sequence.
struct Slots {
    const int32_t* table;
    Divisor block_size;

    __device__ __forceinline__ int of(int token) const {
        const int block = block_size.quotient(token), size = static_cast<int>(block_size.divisor);
        return __ldg(table + block) * size + (token - block * size);
    }
};

// The weight of the product of a query and a key is 2^(factor * score), with a cap that of soft_cap
// tanh(scale * product / soft_cap).
struct ScoreRule {
    float factor;  // positive
    float inner;   // within the tangent; 0 for no cap

    explicit ScoreRule(const streamcore_paged_attention& args)
        : factor((args.soft_cap > 0.0f ? args.soft_cap : args.scale) * kLog2E),
          inner(args.soft_cap > 0.0f ? 2.0f * kLog2E * args.scale / args.soft_cap : 0.0f) {}

    __device__ __forceinline__ bool has_cap() const { return inner != 0.0f; }
    // tanh(y) = 1 - 2 / (1 + e^2y)
    __device__ __forceinline__ float bent(float product) const {
        return 1.0f - __fdividef(2.0f, 1.0f + exp2_fast(product * inner));
    }
    // The weight beside one of a score whose product with the factor is `most`.
    __device__ __forceinline__ float weight(float score, float most) const {
        return exp2_fast(fmaf(score, factor, -most));
    }
};

// The sink of a head: as a score of base 2 that has no value.
template <typename T>
__device__ __forceinline__ float sink_of(const streamcore_paged_attention& args, int head) {
    return args.sinks == nullptr ? -INFINITY : widen(static_cast<const T*>(args.sinks)[head]) * kLog2E;
}

// The divisor of a sum of weighted values: the sum of the weights, to which a sink adds its own.
__device__ __forceinline__ float share_of(float total, float most, float sink) {
    const float all = total + exp2_fast(sink - most);
    return all > 0.0f ? 1.0f / all : 0.0f;
}

}  // namespace streamcore
