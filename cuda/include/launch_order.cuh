// Launches that begin before the one in front of them has ended (programmatic dependent launch,
// from sm_90 on), and loads of what no launch writes.
//
// Every kernel calls `wait_for_launch_before` in each thread before that thread touches anything
// but weights: what it reads may not be written yet, and what it writes may still be read. The
// emulator holds kernels to it. A launch that has waited is behind all those in front of it, since
// each of them has waited, too.
#pragma once

#include "tensor_core.cuh"
#include "vector.cuh"

namespace streamcore {

// Waits until the launch before is over and what it wrote can be read.
__device__ __forceinline__ void wait_for_launch_before() {
#if STREAMCORE_PTX
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;\n" ::: "memory");
#endif
#else
    coc_wait_for_launch_before();
#endif
}

// Lets the next launch begin, if it is one that may, once every block has come here.
__device__ __forceinline__ void let_next_launch_begin() {
#if STREAMCORE_PTX && defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;\n");
#endif
}

// The beginning of a kernel that reads no weights ahead.
__device__ __forceinline__ void begin_after_launch_before() {
    let_next_launch_begin();
    wait_for_launch_before();
}

// 16 bytes that are read once and written by no launch: they leave the L1 cache to what is read
// again.
__device__ __forceinline__ Vector<uint32_t, 4> load_once(const void* source) {
#if STREAMCORE_PTX
    Vector<uint32_t, 4> loaded;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(loaded.values[0]), "=r"(loaded.values[1]), "=r"(loaded.values[2]), "=r"(loaded.values[3])
                 : "l"(source));
    return loaded;
#else
    return load<4>(static_cast<const uint32_t*>(source));
#endif
}

}  // namespace streamcore
