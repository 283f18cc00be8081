// For each head of query and key, with h = rotary_dim / 2, c = cos_sin[position, i], and
// s = cos_sin[position, h + i]:
//   x = x * rsqrt(mean(x^2) + eps) * norm                             where the heads have norms
//   (x[i], x[h + i]) = (x[i] * c - x[h + i] * s,  x[h + i] * c + x[i] * s)    for i < h
//   x = x * query_factors[position]                                   for queries with factors
// in place; then key_cache[slot] = rotated key and value_cache[slot] = value, unless slot < 0.
//
// Shapes: query [num_tokens, num_heads, head_dim], key and value [num_tokens, num_kv_heads,
// head_dim], heads adjacent and tokens at any stride (slices of one fused projection); caches
// [num_slots, num_kv_heads, head_dim] contiguous. h and head_dim are multiples of N.
// Layout: one block per token. `lanes` neighbouring threads, a power of two, share a head; a thread
// takes every lanes-th group of N pairs, then of N elements of what is not rotated, and writes a
// key to the tensor and to the cache at once, so that nothing is read back. Values are heads that
// are copied only.
// Block size: as many threads as the token has groups, in warps, at most 512: one round for common
// shapes, and a decode step has one small block per sequence.
#pragma once

#include "dtype.cuh"
#include "launch_order.cuh"
#include "streamcore_kernels.h"
#include "vector.cuh"

namespace streamcore {

// N neighbouring numbers, 16 bytes at a time.
template <int N>
__device__ __forceinline__ void load_floats(float (&numbers)[N], const float* source) {
    constexpr int kEach = N < 4 ? N : 4;
#pragma unroll
    for (int j = 0; j < N; j += kEach) {
        const Vector<float, kEach> part = load<kEach>(source + j);
#pragma unroll
        for (int k = 0; k < kEach; ++k) numbers[j + k] = part.values[k];
    }
}

// One head, and the threads that share it.
template <typename T, int N>
struct Head {
    T* x;
    T* stored;  // where a key goes, or null
    const T* norm;
    float scale, factor;  // by its norm, by its position
    int head_dim, lane, lanes;

    __device__ __forceinline__ void normalise(float eps, unsigned mask) {
        float squares = 0.0f;
        for (int i = lane * N; i < head_dim; i += lanes * N) {
            const Vector<T, N> values = load<N>(x + i);
#pragma unroll
            for (int j = 0; j < N; ++j) squares += widen(values.values[j]) * widen(values.values[j]);
        }
        for (int distance = lanes / 2; distance > 0; distance /= 2) {
            squares += __shfl_xor_sync(mask, squares, distance);
        }
        scale = rsqrtf(squares / static_cast<float>(head_dim) + eps);
    }

    // N elements from i on, normalised and rounded as if they had been stored.
    __device__ __forceinline__ void read(float (&values)[N], int i) const {
        const Vector<T, N> loaded = load<N>(x + i);
#pragma unroll
        for (int j = 0; j < N; ++j) values[j] = widen(loaded.values[j]);
        if (norm == nullptr) return;
        const Vector<T, N> weights = load<N>(norm + i);
#pragma unroll
        for (int j = 0; j < N; ++j) values[j] = widen(narrow<T>(values[j] * scale * widen(weights.values[j])));
    }

    __device__ __forceinline__ void write(const float (&values)[N], int i) const {
        Vector<T, N> rounded;
#pragma unroll
        for (int j = 0; j < N; ++j) rounded.values[j] = narrow<T>(values[j] * factor);
        store<N>(x + i, rounded);
        if (stored != nullptr) store<N>(stored + i, rounded);
    }

    __device__ __forceinline__ void rotate(const float* cos, int half) const {
        for (int i = lane * N; i < half; i += lanes * N) {
            float first[N], second[N], c[N], s[N];
            read(first, i);
            read(second, half + i);
            load_floats<N>(c, cos + i);
            load_floats<N>(s, cos + half + i);
#pragma unroll
            for (int j = 0; j < N; ++j) {
                const float a = first[j], b = second[j];
                first[j] = a * c[j] - b * s[j];
                second[j] = b * c[j] + a * s[j];
            }
            write(first, i);
            write(second, half + i);
        }
    }

    // What is behind the rotated part changes only by a norm or a factor.
    __device__ __forceinline__ void keep_rest(int rotary_dim) const {
        if (norm == nullptr && stored == nullptr && factor == 1.0f) return;
        for (int i = rotary_dim + lane * N; i < head_dim; i += lanes * N) {
            float values[N];
            read(values, i);
            write(values, i);
        }
    }
};

template <typename T, int N>
__global__ void rope_and_store_kernel(const streamcore_rope_and_store args, int log2_lanes) {
    begin_after_launch_before();
    const int64_t token = blockIdx.x, slot = args.slot_mapping[token];
    const int head_dim = static_cast<int>(args.head_dim), rotary_dim = static_cast<int>(args.rotary_dim);
    const int num_heads = static_cast<int>(args.num_heads), num_kv_heads = static_cast<int>(args.num_kv_heads);
    const int position = args.positions[token], lanes = 1 << log2_lanes, lane = threadIdx.x & (lanes - 1);
    const float* cos = args.cos_sin + int64_t{position} * rotary_dim;
    const unsigned mask = (lanes == 32 ? 0xffffffffu : (1u << lanes) - 1) << (threadIdx.x % 32 & ~(lanes - 1));
    const int64_t stored = slot * num_kv_heads * head_dim;

    for (int head = threadIdx.x >> log2_lanes; head < num_heads + 2 * num_kv_heads;
         head += blockDim.x >> log2_lanes) {
        if (head >= num_heads + num_kv_heads) {
            if (slot < 0) continue;
            const int offset = (head - num_heads - num_kv_heads) * head_dim;
            const T* value = static_cast<const T*>(args.value) + token * args.value_stride + offset;
            T* target = static_cast<T*>(args.value_cache) + stored + offset;
            for (int i = lane * N; i < head_dim; i += lanes * N) store<N>(target + i, load<N>(value + i));
            continue;
        }
        Head<T, N> one{nullptr, nullptr, nullptr, 1.0f, 1.0f, head_dim, lane, lanes};
        if (head < num_heads) {
            one.x = static_cast<T*>(args.query) + token * args.query_stride + head * head_dim;
            one.norm = static_cast<const T*>(args.query_norm);
            if (args.query_factors != nullptr) one.factor = args.query_factors[position];
        } else {
            const int offset = (head - num_heads) * head_dim;
            one.x = static_cast<T*>(args.key) + token * args.key_stride + offset;
            one.norm = static_cast<const T*>(args.key_norm);
            if (slot >= 0) one.stored = static_cast<T*>(args.key_cache) + stored + offset;
        }
        if (one.norm != nullptr) {
            one.normalise(args.eps, mask);
            // Lanes read what others have yet to read before any of them writes.
            __syncwarp(mask);
        }
        one.rotate(cos, rotary_dim / 2);
        one.keep_rest(rotary_dim);
    }
}

}  // namespace streamcore
