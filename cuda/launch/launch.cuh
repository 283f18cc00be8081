// What the launchers share: the device for the duration of a call, and the choice of a template by dtype.
#pragma once

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
            launch(static_cast<float*>(nullptr));
            break;
        case STREAMCORE_BF16:
            launch(static_cast<__nv_bfloat16*>(nullptr));
            break;
        case STREAMCORE_F16:
            launch(static_cast<__half*>(nullptr));
            break;
        default:
            return cudaErrorInvalidValue;
    }
    return cudaGetLastError();
}

// The number of threads for some groups of work: whole warps, at most `limit`.
inline unsigned threads_for(int64_t groups, int64_t limit) {
    const int64_t warps = (groups + 31) / 32;
    return static_cast<unsigned>(32 * (warps < 1 ? 1 : warps > limit / 32 ? limit / 32 : warps));
}

}  // namespace streamcore
