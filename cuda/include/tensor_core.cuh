// Warp-wide matrix instructions and asynchronous copies: PTX on a device, the emulator (cuda/host)
// on a CPU.
//
// Layout of mma m16n8k16 (PTX ISA, "Matrix fragments for mma.m16n8k16"), with g = lane / 4 and t =
// lane % 4; each register holds two neighbours:
//   a[i]: row g + 8 (i % 2), columns 2 t + 8 (i / 2);  b[i]: rows 2 t + 8 i, column g
//   c[2 i + j]: row g + 8 i, column 2 t + j
#pragma once

#include <cstdint>
#include <type_traits>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#if !defined(CUDA_ON_CPU) && defined(__CUDACC__)
#define STREAMCORE_PTX 1
#else
#define STREAMCORE_PTX 0
#endif

namespace streamcore {

// Where the dynamic shared memory of the launch begins, a multiple of 128 bytes. Addresses of
// shared memory have 32 bits: a pointer into it costs 64-bit arithmetic.
__device__ __forceinline__ uint32_t dynamic_shared() {
#if STREAMCORE_PTX
    extern __shared__ __align__(128) unsigned char dynamic_shared_memory[];
    return static_cast<uint32_t>(__cvta_generic_to_shared(dynamic_shared_memory));
#else
    return 0;
#endif
}

// The same address as a pointer.
__device__ __forceinline__ void* shared_pointer(uint32_t address) {
#if STREAMCORE_PTX
    return __cvta_shared_to_generic(address);
#else
    return coc_shared_pointer(address);
#endif
}

// The address of a variable in shared memory.
__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
#if STREAMCORE_PTX
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
#else
    return coc_shared_address(pointer);
#endif
}

// Four 8x8 matrices of 16-bit elements; lane 8 m + r names row r (16 bytes) of matrix m, which goes
// to registers[m].
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&registers)[4], uint32_t row) {
#if STREAMCORE_PTX
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(row)
                 : "memory");
#else
    coc_ldmatrix(registers, shared_pointer(row), 4, 0);
#endif
}

// The same with each matrix transposed.
__device__ __forceinline__ void ldmatrix_x4_transposed(uint32_t (&registers)[4], uint32_t row) {
#if STREAMCORE_PTX
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(registers[0]), "=r"(registers[1]), "=r"(registers[2]), "=r"(registers[3])
                 : "r"(row)
                 : "memory");
#else
    coc_ldmatrix(registers, shared_pointer(row), 4, 1);
#endif
}

// The transpose of an 8x8 matrix of 16-bit elements, each lane two neighbours of row lane / 4.
__device__ __forceinline__ uint32_t transpose_8x8(uint32_t pair) {
#if STREAMCORE_PTX
    uint32_t result;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;\n" : "=r"(result) : "r"(pair));
    return result;
#else
    return coc_movmatrix(pair);
#endif
}

// The low halves of two registers, and the high halves.
__device__ __forceinline__ uint32_t low_halves(uint32_t first, uint32_t second) {
#if STREAMCORE_PTX
    return __byte_perm(first, second, 0x5410);
#else
    return (first & 0xffff) | second << 16;
#endif
}
__device__ __forceinline__ uint32_t high_halves(uint32_t first, uint32_t second) {
#if STREAMCORE_PTX
    return __byte_perm(first, second, 0x7632);
#else
    return first >> 16 | (second & 0xffff0000u);
#endif
}

// d = a b + d.
template <typename T>
__device__ __forceinline__ void mma_16x8x16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);

template <>
__device__ __forceinline__ void mma_16x8x16<__nv_bfloat16>(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                                           uint32_t b1) {
#if STREAMCORE_PTX
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    const uint32_t b[2] = {b0, b1};
    coc_mma(d, a, b, d, COC_BF16);
#endif
}

template <>
__device__ __forceinline__ void mma_16x8x16<__half>(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if STREAMCORE_PTX
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    const uint32_t b[2] = {b0, b1};
    coc_mma(d, a, b, d, COC_F16);
#endif
}

// d = a b + d for m16n8k32 of fp8 (e4m3); as above with four neighbours in a register.
__device__ __forceinline__ void mma_16x8x32_e4m3(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if STREAMCORE_PTX
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
    asm volatile("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
    __trap();
#endif
#else
    const uint32_t b[2] = {b0, b1};
    coc_mma(d, a, b, d, COC_E4M3);
#endif
}

// Copies 16 bytes to shared memory without registers; zeros if not `valid`. Both addresses are
// multiples of 16.
__device__ __forceinline__ void cp_async_16(uint32_t shared, const void* global, bool valid) {
#if STREAMCORE_PTX
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;\n" ::"r"(shared), "l"(global),
                 "r"(valid ? 16 : 0)
                 : "memory");
#else
    coc_cp_async(shared_pointer(shared), global, 16, valid ? 16 : 0);
#endif
}

__device__ __forceinline__ void cp_async_commit() {
#if STREAMCORE_PTX
    asm volatile("cp.async.commit_group;\n" ::: "memory");
#else
    coc_cp_async_commit();
#endif
}

// Waits until at most `kLeft` groups of this thread are under way.
template <int kLeft>
__device__ __forceinline__ void cp_async_wait() {
#if STREAMCORE_PTX
    asm volatile("cp.async.wait_group %0;\n" ::"n"(kLeft) : "memory");
#else
    coc_cp_async_wait(kLeft);
#endif
}

// 2^x, -infinity to 0.
__device__ __forceinline__ float exp2_fast(float x) {
#if STREAMCORE_PTX
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#else
    return exp2f(x);
#endif
}

// Two neighbours in a register, the first in the low half.
template <typename T>
__device__ __forceinline__ uint32_t pack(float first, float second);
template <>
__device__ __forceinline__ uint32_t pack<__nv_bfloat16>(float first, float second) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
    uint32_t bits;
    memcpy(&bits, &pair, 4);
    return bits;
}
template <>
__device__ __forceinline__ uint32_t pack<__half>(float first, float second) {
    const __half2 pair = __floats2half2_rn(first, second);
    uint32_t bits;
    memcpy(&bits, &pair, 4);
    return bits;
}

// Two neighbours, each multiplied by a power of two that the type has.
template <typename T>
__device__ __forceinline__ uint32_t scale_pair(uint32_t pair, float factor);
template <>
__device__ __forceinline__ uint32_t scale_pair<__nv_bfloat16>(uint32_t pair, float factor) {
    __nv_bfloat162 numbers;
    memcpy(static_cast<void*>(&numbers), &pair, 4);
#if STREAMCORE_PTX
    numbers = __hmul2(numbers, __float2bfloat162_rn(factor));
    memcpy(&pair, &numbers, 4);
    return pair;
#else
    return pack<__nv_bfloat16>(__low2float(numbers) * factor, __high2float(numbers) * factor);
#endif
}
template <>
__device__ __forceinline__ uint32_t scale_pair<__half>(uint32_t pair, float factor) {
    __half2 numbers;
    memcpy(static_cast<void*>(&numbers), &pair, 4);
#if STREAMCORE_PTX
    numbers = __hmul2(numbers, __float2half2_rn(factor));
    memcpy(&pair, &numbers, 4);
    return pair;
#else
    return pack<__half>(__low2float(numbers) * factor, __high2float(numbers) * factor);
#endif
}

// Two neighbours less two others.
template <typename T>
__device__ __forceinline__ uint32_t subtract_pair(uint32_t pair, uint32_t less) {
    using Two = std::conditional_t<std::is_same_v<T, __half>, __half2, __nv_bfloat162>;
    Two a, b;
    memcpy(static_cast<void*>(&a), &pair, 4);
    memcpy(static_cast<void*>(&b), &less, 4);
#if STREAMCORE_PTX
    a = __hsub2(a, b);
    memcpy(&pair, &a, 4);
    return pair;
#else
    return pack<T>(__low2float(a) - __low2float(b), __high2float(a) - __high2float(b));
#endif
}

// The bytes of two registers that the four lowest digits of `places` say, of 0 to 7.
__device__ __forceinline__ uint32_t permute_bytes(uint32_t first, uint32_t second, uint32_t places) {
#if STREAMCORE_PTX
    return __byte_perm(first, second, places);
#else
    const uint64_t both = first | static_cast<uint64_t>(second) << 32;
    uint32_t result = 0;
    for (int i = 0; i < 4; ++i) {
        result |= static_cast<uint32_t>(both >> 8 * (places >> 4 * i & 7) & 0xff) << 8 * i;
    }
    return result;
#endif
}

#if STREAMCORE_PTX && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
// Two numbers of eight bits (e4m3) as halves, those in the lower half of a register or in the upper
// one; `widen_by_bits` defines it.
template <int kHalf>
__device__ __forceinline__ uint32_t halves_of_e4m3(uint32_t codes) {
    uint32_t halves;
    if constexpr (kHalf == 0) {
        asm("{\n.reg .b16 low, high;\nmov.b32 {low, high}, %1;\ncvt.rn.f16x2.e4m3x2 %0, low;\n}"
            : "=r"(halves)
            : "r"(codes));
    } else {
        asm("{\n.reg .b16 low, high;\nmov.b32 {low, high}, %1;\ncvt.rn.f16x2.e4m3x2 %0, high;\n}"
            : "=r"(halves)
            : "r"(codes));
    }
    return halves;
}
#endif

}  // namespace streamcore
