// Operations on rows that look at each element once:
//   embed     output[r, i] = table[token_ids[r], i] * factor
//   take      output[r, i] = x[rows[r], i]
//   add_into  sum[r, i] += x[r, i]
//   scale     x[r, i] *= factor
//
// Shapes: [num_rows, width], contiguous; width is a multiple of N.
// Layout: blockIdx.x is the row, blockIdx.y a stretch of it; a thread has one group of N elements.
// Block size: 128 threads, so that a row of a few thousand elements is some blocks: at decode there
// are few rows, and each block waits for memory once.
#pragma once

#include "dtype.cuh"
#include "launch_order.cuh"
#include "streamcore_kernels.h"
#include "vector.cuh"

namespace streamcore {

constexpr int kRowThreads = 128;

template <int N>
__device__ __forceinline__ int row_offset() {
    return (blockIdx.y * kRowThreads + threadIdx.x) * N;
}

template <typename T, int N>
__device__ __forceinline__ void scale_group(T* target, const T* source, float factor) {
    Vector<T, N> values = load<N>(source);
#pragma unroll
    for (int j = 0; j < N; ++j) values.values[j] = narrow<T>(widen(values.values[j]) * factor);
    store<N>(target, values);
}

template <typename T, int N>
__global__ void embed_kernel(const streamcore_embed args) {
    begin_after_launch_before();
    const int i = row_offset<N>(), row = blockIdx.x;
    if (i >= args.width) return;
    const T* source = static_cast<const T*>(args.table) + args.token_ids[row] * args.width;
    scale_group<T, N>(static_cast<T*>(args.output) + row * args.width + i, source + i, args.factor);
}

template <typename T, int N>
__global__ void take_kernel(const streamcore_take args) {
    begin_after_launch_before();
    const int i = row_offset<N>(), row = blockIdx.x;
    if (i >= args.width) return;
    const T* source = static_cast<const T*>(args.x) + args.rows[row] * args.width;
    store<N>(static_cast<T*>(args.output) + row * args.width + i, load<N>(source + i));
}

template <typename T, int N>
__global__ void add_into_kernel(const streamcore_add_into args) {
    begin_after_launch_before();
    const int i = row_offset<N>();
    if (i >= args.width) return;
    const int64_t place = blockIdx.x * args.width + i;
    T* sum = static_cast<T*>(args.sum) + place;
    Vector<T, N> total = load<N>(sum);
    const Vector<T, N> added = load<N>(static_cast<const T*>(args.x) + place);
#pragma unroll
    for (int j = 0; j < N; ++j) total.values[j] = narrow<T>(widen(total.values[j]) + widen(added.values[j]));
    store<N>(sum, total);
}

template <typename T, int N>
__global__ void scale_kernel(const streamcore_scale args) {
    begin_after_launch_before();
    const int i = row_offset<N>();
    if (i >= args.width) return;
    T* x = static_cast<T*>(args.x) + blockIdx.x * args.width + i;
    scale_group<T, N>(x, x, args.factor);
}

}  // namespace streamcore
