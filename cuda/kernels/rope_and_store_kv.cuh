// For each head of query and key, with h = rotary_dim / 2, c = cos_sin[position, i], s = cos_sin[position, h + i]:
//   (x[i], x[h + i]) = (x[i] * c - x[h + i] * s,  x[h + i] * c + x[i] * s)    for i < h, in place
// then key_cache[slot] = rotated key and value_cache[slot] = value, unless slot < 0.
//
// Shapes: query [num_tokens, num_heads, head_dim], key and value [num_tokens, num_kv_heads, head_dim], heads adjacent
// and tokens at any stride (slices of one fused projection); caches [num_slots, num_kv_heads, head_dim] contiguous.
// h and head_dim are multiples of N.
// Layout: one block per token. A thread takes every blockDim.x-th group of N pairs over all query and key heads, and
// writes a rotated key group to the tensor and to the cache at once, so that nothing is read back; then groups of the
// unrotated rest of the keys, and of the values, are copied.
// Block size: as many threads as the token has groups, in warps, at most 512: one round for common shapes, and a
// decode step has one small block per sequence.
#pragma once

#include "dtype.cuh"
#include "streamcore_kernels.h"
#include "vector.cuh"

namespace streamcore {

template <typename T, int N>
__device__ inline void rotate_group(T* head, const float* cos, int64_t half, int64_t i, T* stored) {
    Vector<T, N> first = load<N>(head + i), second = load<N>(head + half + i);
#pragma unroll
    for (int j = 0; j < N; ++j) {
        const float a = widen(first.values[j]), b = widen(second.values[j]);
        const float c = __ldg(cos + i + j), s = __ldg(cos + half + i + j);
        first.values[j] = narrow<T>(a * c - b * s);
        second.values[j] = narrow<T>(b * c + a * s);
    }
    store<N>(head + i, first);
    store<N>(head + half + i, second);
    if (stored != nullptr) {
        store<N>(stored + i, first);
        store<N>(stored + half + i, second);
    }
}

template <typename T, int N>
__global__ void rope_and_store_kv_kernel(const streamcore_rope_and_store args) {
    const int64_t token = blockIdx.x;
    const int64_t half = args.rotary_dim / 2, head_dim = args.head_dim;
    const int64_t kv_len = args.num_kv_heads * head_dim;
    const float* cos = args.cos_sin + int64_t{args.positions[token]} * args.rotary_dim;
    const int64_t slot = args.slot_mapping[token];
    T* query = static_cast<T*>(args.query) + token * args.query_stride;
    T* key = static_cast<T*>(args.key) + token * args.key_stride;
    const T* value = static_cast<const T*>(args.value) + token * args.value_stride;
    T* stored_key = slot < 0 ? nullptr : static_cast<T*>(args.key_cache) + slot * kv_len;

    const int64_t groups = half / N;
    for (int64_t g = threadIdx.x; g < (args.num_heads + args.num_kv_heads) * groups; g += blockDim.x) {
        const int64_t head = g / groups, i = g % groups * N;
        if (head < args.num_heads) {
            rotate_group<T, N>(query + head * head_dim, cos, half, i, nullptr);
        } else {
            const int64_t offset = (head - args.num_heads) * head_dim;
            rotate_group<T, N>(key + offset, cos, half, i, slot < 0 ? nullptr : stored_key + offset);
        }
    }
    if (slot < 0) return;

    T* stored_value = static_cast<T*>(args.value_cache) + slot * kv_len;
    for (int64_t i = int64_t{threadIdx.x} * N; i < kv_len; i += int64_t{blockDim.x} * N) {
        store<N>(stored_value + i, load<N>(value + i));
        if (i % head_dim >= args.rotary_dim) store<N>(stored_key + i, load<N>(key + i));
    }
}

}  // namespace streamcore
