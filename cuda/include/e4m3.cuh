// Numbers of eight bits, in the KV cache and of weights: `float8_e4m3fn` (Micikevicius et al.
// 2022).
//
//   seee emmm    (-1)^s 2^(e - 7) 1.mmm;  e = 0: (-1)^s 2^-6 0.mmm;  0x7f, 0xff: NaN
//
// There is no infinity; the greatest number is 448. Every one of them is a half and a bfloat16 too,
// so that widening is exact. Rounding is to the nearest, even of two, and to 448 beyond it: the
// same as in rust/kernels/src/e4m3.rs.
#pragma once

#include "dtype.cuh"
#include "tensor_core.cuh"
#include "vector.cuh"

namespace streamcore {

struct E4m3 {
    uint8_t bits;
};

// Where exponent and mantissa of a code lie in the wider type, and what its exponent lacks there.
template <typename T>
struct WideE4m3;
template <>
struct WideE4m3<__half> {
    static constexpr int kShift = 7, kFill = 1;
    static constexpr float kFactor = 0x1p8f;
};
template <>
struct WideE4m3<__nv_bfloat16> {
    static constexpr int kShift = 4, kFill = 4;
    static constexpr float kFactor = 0x1p120f;
};

// Two neighbours, in the low half of `codes`, as two of the wider type. This is the definition;
// what a device has its own instruction for must give the same.
template <typename T>
__device__ __forceinline__ uint32_t widen_by_bits(uint32_t codes) {
    using Wide = WideE4m3<T>;
    constexpr uint32_t kBoth = 0x00010001u;
    const uint32_t apart = permute_bytes(codes, 0, 0x1404);
    const uint32_t magnitude = apart >> (8 - Wide::kShift) & (0x7f * kBoth) << Wide::kShift;
    // A step more than the greatest magnitude is one of the next exponent, and only that of NaN
    // takes it.
    const uint32_t none = (magnitude + (kBoth << Wide::kShift)) & (kBoth << (Wide::kShift + 7));
    const uint32_t scaled = scale_pair<T>((apart & 0x8000 * kBoth) | magnitude, Wide::kFactor);
    return scaled | ((none << Wide::kFill) - (none >> 4));
}

// Two halves of a register as numbers.
__device__ __forceinline__ void unpack_halves(float (&numbers)[2], uint32_t pair) {
    __half2 halves;
    memcpy(static_cast<void*>(&halves), &pair, 4);
    numbers[0] = __low2float(halves);
    numbers[1] = __high2float(halves);
}

// Two neighbours in the lower half of `codes`, or in the upper one, as two of the wider type.
template <typename T, int kHalf = 0>
__device__ __forceinline__ uint32_t widen_pair(uint32_t codes) {
#if STREAMCORE_PTX && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
    const uint32_t halves = halves_of_e4m3<kHalf>(codes);
    if constexpr (std::is_same_v<T, __half>) return halves;
    float numbers[2];
    unpack_halves(numbers, halves);
    return pack<T>(numbers[0], numbers[1]);
#else
    return widen_by_bits<T>(codes >> 16 * kHalf);
#endif
}
// Pair `i` of those in a row of registers, where `i` is known to the compiler.
template <typename T, int N>
__device__ __forceinline__ uint32_t widen_pair_of(const Vector<uint32_t, N>& codes, int i) {
    return i % 2 == 0 ? widen_pair<T, 0>(codes.values[i / 2]) : widen_pair<T, 1>(codes.values[i / 2]);
}

template <>
__device__ inline E4m3 narrow<E4m3>(float x) {
    const uint32_t bits = __float_as_uint(x), magnitude = bits & 0x7fffffffu, sign = bits >> 24 & 0x80u;
    if (magnitude > 0x7f800000u) return {static_cast<uint8_t>(sign | 0x7f)};
    // Below 2^-6 it is a multiple of 2^-9, to which adding 2^14 rounds it; above, twenty bits of
    // the mantissa fall away, and a carry out of it raises the exponent.
    const float limited = fminf(__uint_as_float(magnitude), 448.0f);
    const uint32_t kept = __float_as_uint(limited);
    const uint32_t code = limited < 0x1p-6f ? __float_as_uint(limited + 0x1p14f) - __float_as_uint(0x1p14f)
                                            : ((kept + 0x7ffffu + (kept >> 20 & 1)) >> 20) - ((127 - 7) << 3);
    return {static_cast<uint8_t>(sign | code)};
}

// How keys and values that lie in the cache as C become operands of products with T.
template <typename T, typename C>
struct Cached {
    static constexpr bool kIsNarrow = false;
    static constexpr int kPart = 8;  // elements in 16 bytes
    using Values = T;                // what values are multiplied as

    // Neighbours 2 i and 2 i + 1 of what a lane has of a key.
    template <int N>
    static __device__ __forceinline__ uint32_t pair(const Vector<uint32_t, N>& part, int i) {
        return part.values[i];
    }
    // Element 2 i of what a lane has of two values, and element 2 i + 1 of both.
    template <int N>
    static __device__ __forceinline__ void across(uint32_t& even, uint32_t& odd, const Vector<uint32_t, N>& one,
                                                  const Vector<uint32_t, N>& two, int i) {
        even = low_halves(one.values[i], two.values[i]);
        odd = high_halves(one.values[i], two.values[i]);
    }
};

// Values are widened to halves whatever T is: that is one instruction, and their weights, which are
// at most 1, lose less as halves than as bfloat16.
template <typename T>
struct Cached<T, E4m3> {
    static constexpr bool kIsNarrow = true;
    static constexpr int kPart = 16;
    using Values = __half;

    template <int N>
    static __device__ __forceinline__ uint32_t pair(const Vector<uint32_t, N>& part, int i) {
        return widen_pair_of<T>(part, i);
    }
    template <int N>
    static __device__ __forceinline__ void across(uint32_t& even, uint32_t& odd, const Vector<uint32_t, N>& one,
                                                  const Vector<uint32_t, N>& two, int i) {
        const uint32_t both = permute_bytes(one.values[i / 2], two.values[i / 2], i % 2 == 0 ? 0x5140 : 0x7362);
        even = widen_pair<Values, 0>(both);
        odd = widen_pair<Values, 1>(both);
    }
};

}  // namespace streamcore
