// What the launchers share: the device for the duration of a call, the choice of a template by
// dtype, and the launch itself.
#pragma once

#include <type_traits>

#include <cuda_runtime_api.h>

#include "dtype.cuh"
#include "streamcore_kernels.h"

namespace streamcore {

// Makes `device` current, and the former one again: the caller's threads keep theirs.
class OnDevice {
public:
    explicit OnDevice(int device) {
        error_ = cudaGetDevice(&former_);
        if (error_ == cudaSuccess && former_ != device) {
            error_ = cudaSetDevice(device);
            changed_ = error_ == cudaSuccess;
        }
    }
    ~OnDevice() {
        if (changed_) cudaSetDevice(former_);
    }
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;
    cudaError_t error() const { return error_; }

private:
    int former_ = 0;
    bool changed_ = false;
    cudaError_t error_;
};

// Calls `launch` with a null pointer of the element type, and returns the error of the launch.
template <typename Launch>
int with_dtype(int device, int dtype, Launch launch) {
    const OnDevice on_device(device);
    if (on_device.error() != cudaSuccess) return on_device.error();
    switch (dtype) {
        case STREAMCORE_F32:
            return launch(static_cast<float*>(nullptr));
        case STREAMCORE_BF16:
            return launch(static_cast<__nv_bfloat16*>(nullptr));
        case STREAMCORE_F16:
            return launch(static_cast<__half*>(nullptr));
        default:
            return cudaErrorInvalidValue;
    }
}

// Launches a kernel, and returns the error of this launch: one of an earlier kernel stays for the
// call that waits for it. From sm_90 on it may begin before the launch in front of it has ended,
// for which it waits itself: see `launch_order.cuh`.
template <typename... P, typename... A>
cudaError_t run(void (*kernel)(P...), dim3 blocks, unsigned threads, size_t shared_bytes, void* stream,
                const A&... arguments) {
    int device = 0, major = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    if (error != cudaSuccess) return error;
    cudaLaunchAttribute early{};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = blocks;
    config.blockDim = dim3(threads);
    config.dynamicSmemBytes = shared_bytes;
    config.stream = static_cast<cudaStream_t>(stream);
    config.attrs = &early;
    config.numAttrs = major >= 9 ? 1 : 0;
    return cudaLaunchKernelEx(&config, kernel, arguments...);
}

// The number of threads for some groups of work: whole warps, at most `limit`.
inline unsigned threads_for(int64_t groups, int64_t limit) {
    const int64_t warps = (groups + 31) / 32;
    return static_cast<unsigned>(32 * (warps < 1 ? 1 : warps > limit / 32 ? limit / 32 : warps));
}

// Blocks that take `per_block` each of `count`.
inline unsigned blocks_for(int64_t count, int64_t per_block) {
    return static_cast<unsigned>((count + per_block - 1) / per_block);
}

}  // namespace streamcore
