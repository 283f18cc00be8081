// What the other kernels are made of, piece by piece: inline PTX, and the intrinsics that a compiler
// turns into instructions. A device must do with them what their twins on a CPU do, and
// tests/gpu/primitives.py says for each of them what that is.
//
// Shapes: input [num_rows, words in], output [num_rows, words out], words of 32 bits, a row for each
// thread; how many words, the calls of `each` say. `memory` has num_rows + 1 words, zero before.
// Layout: a block has the next 128 rows, so that rows meet across lanes, warps and blocks.
// Block size: 128 threads, some warps; time does not matter.
#pragma once

#include "e4m3.cuh"
#include "launch_order.cuh"
#include "select.cuh"
#include "streamcore_kernels.h"

namespace streamcore {

constexpr int kPrimitiveThreads = 128;
// Launches of a chain, an even number, and how long each block of them computes.
constexpr int kChainedLaunches = 32, kChainedTurns = 64;

__device__ __forceinline__ int64_t primitive_row() {
    return int64_t{blockIdx.x} * kPrimitiveThreads + threadIdx.x;
}

template <int kIn, int kOut, typename Compute>
__device__ __forceinline__ void each(const streamcore_primitives& args, const Compute& compute) {
    uint32_t in[kIn], out[kOut];
#pragma unroll
    for (int i = 0; i < kIn; ++i) in[i] = args.input[primitive_row() * kIn + i];
    compute(in, out);
#pragma unroll
    for (int i = 0; i < kOut; ++i) args.output[primitive_row() * kOut + i] = out[i];
}

// In: a row of 16 bytes. Out: registers of `ldmatrix`, of the transposed one, and a transposed first
// word.
__device__ __forceinline__ void matrices(const streamcore_primitives& args) {
    each<4, 9>(args, [](const uint32_t(&in)[4], uint32_t(&out)[9]) {
        const uint32_t place = dynamic_shared() + threadIdx.x * 16;
        store<4>(static_cast<uint32_t*>(shared_pointer(place)), Vector<uint32_t, 4>{{in[0], in[1], in[2], in[3]}});
        __syncwarp();
        uint32_t rows[4], columns[4];
        ldmatrix_x4(rows, place);
        ldmatrix_x4_transposed(columns, place);
#pragma unroll
        for (int i = 0; i < 4; ++i) out[i] = rows[i], out[4 + i] = columns[i];
        out[8] = transpose_8x8(in[0]);
    });
}

// In: fragments of a, b and d. Out: that of a b + d.
template <typename Multiply>
__device__ __forceinline__ void products(const streamcore_primitives& args, const Multiply& multiply) {
    each<10, 4>(args, [&](const uint32_t(&in)[10], uint32_t(&out)[4]) {
        const uint32_t a[4] = {in[0], in[1], in[2], in[3]};
        float d[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) d[i] = __uint_as_float(in[6 + i]);
        multiply(d, a, in[4], in[5]);
#pragma unroll
        for (int i = 0; i < 4; ++i) out[i] = __float_as_uint(d[i]);
    });
}

// In: two times 16 bytes, the second a copy that every third thread fills with zeros instead. Out:
// those of the opposite thread of the block.
__device__ __forceinline__ void copies(const streamcore_primitives& args) {
    __shared__ __align__(16) uint32_t copied[2][kPrimitiveThreads][4];
    const uint32_t* source = args.input + primitive_row() * 8;
    const int opposite = kPrimitiveThreads - 1 - threadIdx.x;
    cp_async_16(shared_address(copied[0][opposite]), source, true);
    cp_async_commit();
    cp_async_16(shared_address(copied[1][opposite]), source + 4, threadIdx.x % 3 != 0);
    cp_async_commit();
    cp_async_wait<1>();
    __syncthreads();
    store<4>(args.output + primitive_row() * 8, load<4>(copied[0][threadIdx.x]));
    cp_async_wait<0>();
    __syncthreads();
    store<4>(args.output + primitive_row() * 8 + 4, load<4>(copied[1][threadIdx.x]));
}

// In: 16 bytes. Out: the same, read as what is read once, as a vector, and its first word.
__device__ __forceinline__ void loads(const streamcore_primitives& args) {
    each<4, 9>(args, [&](const uint32_t(&)[4], uint32_t(&out)[9]) {
        const uint32_t* source = args.input + primitive_row() * 4;
        const Vector<uint32_t, 4> once = load_once(source), again = load<4>(source);
#pragma unroll
        for (int i = 0; i < 4; ++i) out[i] = once.values[i], out[4 + i] = again.values[i];
        out[8] = __ldg(source);
    });
}

// In: numbers x and y. Out: functions of them, which are approximations.
__device__ __forceinline__ void functions(const streamcore_primitives& args) {
    each<2, 7>(args, [](const uint32_t(&in)[2], uint32_t(&out)[7]) {
        const float x = __uint_as_float(in[0]), y = __uint_as_float(in[1]);
        const float results[7] = {exp2_fast(x), exp2f(x), __expf(x),         logf(y),
                                  __logf(y),    rsqrtf(y), __fdividef(x, y)};
#pragma unroll
        for (int i = 0; i < 7; ++i) out[i] = __float_as_uint(results[i]);
    });
}

// In: numbers x, y and z. Out: what is rounded once, and what is not rounded.
__device__ __forceinline__ void arithmetic(const streamcore_primitives& args) {
    each<3, 5>(args, [](const uint32_t(&in)[3], uint32_t(&out)[5]) {
        const float x = __uint_as_float(in[0]), y = __uint_as_float(in[1]), z = __uint_as_float(in[2]);
        const float results[5] = {fmaf(x, y, z), __fmul_rn(x, y), __fadd_rn(x, z), fmaxf(x, y), fminf(x, y)};
#pragma unroll
        for (int i = 0; i < 5; ++i) out[i] = __float_as_uint(results[i]);
    });
}

template <typename T>
__device__ __forceinline__ uint32_t bits_of(T x) {
    uint16_t bits;
    memcpy(&bits, &x, 2);
    return bits;
}

template <typename T>
__device__ __forceinline__ float low_half_widened(uint32_t pair) {
    const uint16_t bits = static_cast<uint16_t>(pair);
    T x;
    memcpy(static_cast<void*>(&x), &bits, 2);
    return widen(x);
}

// In: two numbers. Out: both, and the first, as narrower ones.
__device__ __forceinline__ void narrowings(const streamcore_primitives& args) {
    each<2, 5>(args, [](const uint32_t(&in)[2], uint32_t(&out)[5]) {
        const float x = __uint_as_float(in[0]), y = __uint_as_float(in[1]);
        out[0] = pack<__nv_bfloat16>(x, y);
        out[1] = pack<__half>(x, y);
        out[2] = bits_of(narrow<__nv_bfloat16>(x));
        out[3] = bits_of(narrow<__half>(x));
        out[4] = narrow<E4m3>(x).bits;
    });
}

// In: two pairs of 16-bit numbers. Out: the first number of the first as float, that pair scaled by
// the powers of two that the codes of eight bits need, and less the other pair; of both types.
__device__ __forceinline__ void pairs(const streamcore_primitives& args) {
    each<2, 6>(args, [](const uint32_t(&in)[2], uint32_t(&out)[6]) {
        out[0] = __float_as_uint(low_half_widened<__nv_bfloat16>(in[0]));
        out[1] = __float_as_uint(low_half_widened<__half>(in[0]));
        out[2] = scale_pair<__nv_bfloat16>(in[0], WideE4m3<__nv_bfloat16>::kFactor);
        out[3] = scale_pair<__half>(in[0], WideE4m3<__half>::kFactor);
        out[4] = subtract_pair<__nv_bfloat16>(in[0], in[1]);
        out[5] = subtract_pair<__half>(in[0], in[1]);
    });
}

// In: two codes of eight bits. Out: the wider numbers, by the device's instruction where it has one,
// and by their definition.
__device__ __forceinline__ void codes(const streamcore_primitives& args) {
    each<1, 4>(args, [](const uint32_t(&in)[1], uint32_t(&out)[4]) {
        out[0] = widen_pair<__half>(in[0]);
        out[1] = widen_pair<__nv_bfloat16>(in[0]);
        out[2] = widen_by_bits<__half>(in[0]);
        out[3] = widen_by_bits<__nv_bfloat16>(in[0]);
    });
}

// In: two words, and four places of their bytes. Out: their halves, those bytes, and bits counted.
__device__ __forceinline__ void bytes(const streamcore_primitives& args) {
    each<3, 6>(args, [](const uint32_t(&in)[3], uint32_t(&out)[6]) {
        out[0] = low_halves(in[0], in[1]);
        out[1] = high_halves(in[0], in[1]);
        out[2] = permute_bytes(in[0], in[1], in[2]);
        out[3] = static_cast<uint32_t>(__popc(in[0]));
        out[4] = static_cast<uint32_t>(__ffs(static_cast<int>(in[0])));
        out[5] = static_cast<uint32_t>(__clz(static_cast<int>(in[0])));
    });
}

// In: a word and a lane. Out: the words of lanes with other bits, of lanes below, of that lane; both
// words of the lane below, as one.
__device__ __forceinline__ void lanes(const streamcore_primitives& args) {
    each<2, 13>(args, [](const uint32_t(&in)[2], uint32_t(&out)[13]) {
#pragma unroll
        for (int i = 0; i < 5; ++i) {
            out[i] = __shfl_xor_sync(0xffffffffu, in[0], 1 << i);
            out[5 + i] = __shfl_up_sync(0xffffffffu, in[0], 1 << i);
        }
        out[10] = __shfl_sync(0xffffffffu, in[0], static_cast<int>(in[1] % 32));
        const Mass both = __shfl_up_sync(0xffffffffu, Mass{in[1]} << 32 | in[0], 1);
        out[11] = static_cast<uint32_t>(both);
        out[12] = static_cast<uint32_t>(both >> 32);
    });
}

// In: a word. Out: lanes that have an odd one, whether one is 0, the greatest, the least.
__device__ __forceinline__ void votes(const streamcore_primitives& args) {
    each<1, 4>(args, [](const uint32_t(&in)[1], uint32_t(&out)[4]) {
        out[0] = __ballot_sync(0xffffffffu, static_cast<int>(in[0] & 1));
        out[1] = __any_sync(0xffffffffu, in[0] == 0) != 0;
        out[2] = __reduce_max_sync(0xffffffffu, in[0]);
        out[3] = __reduce_min_sync(0xffffffffu, in[0]);
    });
}

// In: a place and a word. Out: of the place that the thread's number in the block says, the sum, the
// greatest and all bits of the words that the block has for it; which of 128 turns were had.
__device__ __forceinline__ void atomics(const streamcore_primitives& args) {
    constexpr int kPlaces = 32;
    __shared__ uint32_t sums[kPlaces], greatest[kPlaces], all[kPlaces], turns[kPrimitiveThreads / 32], next;
    const int own = threadIdx.x % kPlaces;
    if (threadIdx.x < kPlaces) sums[own] = greatest[own] = all[own] = 0;
    if (threadIdx.x < kPrimitiveThreads / 32) turns[threadIdx.x] = 0;
    if (threadIdx.x == 0) next = 0;
    __syncthreads();
    each<2, 4>(args, [&](const uint32_t(&in)[2], uint32_t(&out)[4]) {
        atomicAdd(&sums[in[0] % kPlaces], in[1]);
        atomicMax(&greatest[in[0] % kPlaces], in[1]);
        atomicOr(&all[in[0] % kPlaces], in[1]);
        const uint32_t turn = atomicAdd(&next, 1u);
        if (turn < kPrimitiveThreads) atomicOr(&turns[turn / 32], 1u << turn % 32);
        __syncthreads();
        out[0] = sums[own];
        out[1] = greatest[own];
        out[2] = all[own];
        out[3] = turns[threadIdx.x / 32];
    });
}

// In: a word. Out: the word of the opposite row, by way of `memory`, from the block that comes last.
__device__ __forceinline__ void last_block(const streamcore_primitives& args) {
    __shared__ bool is_last;
    auto* ticket = reinterpret_cast<int*>(args.memory);
    uint32_t* parts = args.memory + 1;
    parts[primitive_row()] = args.input[primitive_row()];
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) is_last = atomicAdd(ticket, 1) == static_cast<int>(gridDim.x) - 1;
    __syncthreads();
    if (!is_last) return;
    __threadfence();
    for (int64_t row = threadIdx.x; row < args.num_rows; row += kPrimitiveThreads) {
        args.output[row] = parts[args.num_rows - 1 - row];
    }
}

// In: a word. Out: a number made of the word of the next block's row. Many such launches follow one
// another, each reading what the one in front of it wrote at the end of its work.
__device__ __forceinline__ void chained(const streamcore_primitives& args) {
    const int64_t next = primitive_row() + kPrimitiveThreads;
    uint32_t number = args.input[next < args.num_rows ? next : next - args.num_rows];
#pragma unroll 1
    for (int i = 0; i < kChainedTurns; ++i) number = (number ^ number >> 15) * 2654435761u + 1;
    args.output[primitive_row()] = number;
}

__global__ void __launch_bounds__(kPrimitiveThreads) primitives_kernel(const streamcore_primitives args) {
    begin_after_launch_before();
    switch (args.primitive) {
        case STREAMCORE_MATRICES:
            return matrices(args);
        case STREAMCORE_PRODUCTS_BF16:
            return products(args, [](auto& d, const auto& a, uint32_t b0, uint32_t b1) {
                mma_16x8x16<__nv_bfloat16>(d, a, b0, b1);
            });
        case STREAMCORE_PRODUCTS_F16:
            return products(
                args, [](auto& d, const auto& a, uint32_t b0, uint32_t b1) { mma_16x8x16<__half>(d, a, b0, b1); });
        case STREAMCORE_PRODUCTS_E4M3:
            return products(
                args, [](auto& d, const auto& a, uint32_t b0, uint32_t b1) { mma_16x8x32_e4m3(d, a, b0, b1); });
        case STREAMCORE_COPIES:
            return copies(args);
        case STREAMCORE_LOADS:
            return loads(args);
        case STREAMCORE_FUNCTIONS:
            return functions(args);
        case STREAMCORE_ARITHMETIC:
            return arithmetic(args);
        case STREAMCORE_NARROWINGS:
            return narrowings(args);
        case STREAMCORE_PAIRS:
            return pairs(args);
        case STREAMCORE_CODES:
            return codes(args);
        case STREAMCORE_BYTES:
            return bytes(args);
        case STREAMCORE_LANES:
            return lanes(args);
        case STREAMCORE_VOTES:
            return votes(args);
        case STREAMCORE_ATOMICS:
            return atomics(args);
        case STREAMCORE_LAST_BLOCK:
            return last_block(args);
        case STREAMCORE_CHAINED:
            return chained(args);
    }
}

}  // namespace streamcore
