// Lets an ordinary C++ compiler compile CUDA kernels for the host: `g++ -x c++ -include
// cuda_on_cpu.h kernel.cu`.
//
// A thread of a block is a fiber. A block barrier, a warp barrier and every warp-wide instruction
// (shuffles, votes, ldmatrix, mma) is a rendezvous of fibers (fibers.cpp); between two of them
// fibers run in an order that a seed decides. Blocks run one after the other. The types and
// conversions are those of NVIDIA's own headers, which an ordinary compiler takes; what they
// declare for the device only is defined here.
//
// Memory is checked in a second build of the same sources: `-fsanitize=thread` makes the compiler
// call a function before every access, and checker.cpp implements those functions (no sanitizer
// library is linked).
#pragma once
#define CUDA_ON_CPU 1

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#include <cuda_runtime_api.h>
#include <vector_functions.h>
#include <vector_types.h>

#undef __device__
#undef __global__
#undef __host__
#undef __shared__
#undef __constant__
#undef __launch_bounds__
#undef __forceinline__
#undef __noinline__
#undef __grid_constant__
#define __device__
#define __global__
#define __host__
// Blocks run one at a time on one OS thread: the thread-local segment of this library is the
// block's static shared memory.
#define __shared__ static thread_local
#define __constant__ static
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __grid_constant__

extern "C" {
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

int coc_launch(dim3 grid, dim3 block, size_t shared_bytes, int is_early, void (*body)(void*), void* arguments,
               const char* name);
void coc_wait_for_launch_before();
unsigned char* coc_dynamic_shared();
uint32_t coc_shared_address(const void* pointer);
void* coc_shared_pointer(uint32_t address);
void coc_sync_threads(int id, unsigned num_threads);
void coc_sync_warp(unsigned mask);
enum { COC_IDX, COC_UP, COC_DOWN, COC_XOR };
uint64_t coc_shuffle(unsigned mask, uint64_t value, int how, unsigned operand, unsigned width);
unsigned coc_ballot(unsigned mask, bool predicate);
uint64_t coc_match_any(unsigned mask, uint64_t value);
enum { COC_ADD, COC_MIN, COC_MAX, COC_AND, COC_OR, COC_EXOR };
unsigned coc_reduce(unsigned mask, unsigned value, int how, int is_signed);
void coc_ldmatrix(uint32_t* registers, const void* row, int num_matrices, int transposed);
uint32_t coc_movmatrix(uint32_t pair);
enum { COC_BF16, COC_F16, COC_E4M3 };
void coc_mma(float* d, const uint32_t* a, const uint32_t* b, const float* c, int type);
void coc_cp_async(void* shared, const void* global, int bytes, int source_bytes);
void coc_cp_async_commit();
void coc_cp_async_wait(int left);
void coc_fence();
void coc_atomic(const void* address, int bytes);
void coc_trap(const char* why);
}

constexpr int warpSize = 32;

inline void __syncthreads() { coc_sync_threads(0, 0); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { coc_sync_warp(mask); }
inline void __threadfence() { coc_fence(); }
inline void __threadfence_block() {}
inline void __trap() { coc_trap("trap"); }

namespace cuda_on_cpu {
template <typename T>
uint64_t to_bits(T value) {
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    return bits;
}
template <typename T>
T from_bits(uint64_t bits) {
    T value;
    std::memcpy(&value, &bits, sizeof(T));
    return value;
}

// A kernel with its arguments by value, as a launch copies them.
template <typename... P>
struct Call {
    void (*kernel)(P...);
    std::tuple<std::remove_cv_t<P>...> arguments;
    static void run(void* call) {
        auto* self = static_cast<Call*>(call);
        std::apply(self->kernel, self->arguments);
    }
};

}  // namespace cuda_on_cpu

template <typename... P, typename... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(P...), A&&... arguments) {
    cuda_on_cpu::Call<P...> call{kernel, {static_cast<P>(std::forward<A>(arguments))...}};
    int is_early = 0;
    for (unsigned i = 0; i < config->numAttrs; ++i) {
        is_early |= config->attrs[i].id == cudaLaunchAttributeProgrammaticStreamSerialization &&
                    config->attrs[i].val.programmaticStreamSerializationAllowed;
    }
    return coc_launch(config->gridDim, config->blockDim, config->dynamicSmemBytes, is_early,
                      cuda_on_cpu::Call<P...>::run, &call, __PRETTY_FUNCTION__)
               ? cudaErrorLaunchFailure
               : cudaSuccess;
}

template <typename T>
T __shfl_sync(unsigned mask, T value, int lane, int width = 32) {
    return cuda_on_cpu::from_bits<T>(coc_shuffle(mask, cuda_on_cpu::to_bits(value), COC_IDX, lane, width));
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32) {
    return cuda_on_cpu::from_bits<T>(coc_shuffle(mask, cuda_on_cpu::to_bits(value), COC_UP, by, width));
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32) {
    return cuda_on_cpu::from_bits<T>(coc_shuffle(mask, cuda_on_cpu::to_bits(value), COC_DOWN, by, width));
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int by, int width = 32) {
    return cuda_on_cpu::from_bits<T>(coc_shuffle(mask, cuda_on_cpu::to_bits(value), COC_XOR, by, width));
}
inline unsigned __ballot_sync(unsigned mask, int predicate) { return coc_ballot(mask, predicate != 0); }
inline int __any_sync(unsigned mask, int predicate) { return coc_ballot(mask, predicate != 0) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return coc_ballot(mask, predicate != 0) == mask; }
template <typename T>
unsigned __match_any_sync(unsigned mask, T value) {
    return static_cast<unsigned>(coc_match_any(mask, cuda_on_cpu::to_bits(value)));
}
inline unsigned __reduce_add_sync(unsigned mask, unsigned value) { return coc_reduce(mask, value, COC_ADD, 0); }
inline unsigned __reduce_max_sync(unsigned mask, unsigned value) { return coc_reduce(mask, value, COC_MAX, 0); }
inline unsigned __reduce_min_sync(unsigned mask, unsigned value) { return coc_reduce(mask, value, COC_MIN, 0); }

// Blocks do not run at the same time, and fibers only change at a rendezvous.
#define COC_UNCHECKED __attribute__((no_sanitize("thread"), noinline))
template <typename T>
COC_UNCHECKED T atomicAdd(T* address, T value) {
    coc_atomic(address, sizeof(T));
    T old;
    std::memcpy(&old, address, sizeof(T));
    const T sum = old + value;
    std::memcpy(address, &sum, sizeof(T));
    return old;
}
template <typename T>
COC_UNCHECKED T atomicMax(T* address, T value) {
    coc_atomic(address, sizeof(T));
    T old;
    std::memcpy(&old, address, sizeof(T));
    const T greater = old < value ? value : old;
    std::memcpy(address, &greater, sizeof(T));
    return old;
}
template <typename T>
COC_UNCHECKED T atomicOr(T* address, T value) {
    coc_atomic(address, sizeof(T));
    T old;
    std::memcpy(&old, address, sizeof(T));
    const T both = old | value;
    std::memcpy(address, &both, sizeof(T));
    return old;
}

template <typename T>
__forceinline__ T __ldg(const T* address) {
    return *address;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }
// The compiler for the host rounds after each operation.
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fadd_rn(float x, float y) { return x + y; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline unsigned __umulhi(unsigned x, unsigned y) { return static_cast<unsigned>(uint64_t{x} * y >> 32); }
inline unsigned __float_as_uint(float x) { return cuda_on_cpu::from_bits<unsigned>(cuda_on_cpu::to_bits(x)); }
inline float __uint_as_float(unsigned x) { return cuda_on_cpu::from_bits<float>(cuda_on_cpu::to_bits(x)); }
template <typename T>
T min(T a, T b) {
    return b < a ? b : a;
}
template <typename T>
T max(T a, T b) {
    return a < b ? b : a;
}
