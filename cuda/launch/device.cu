#include "launch.cuh"

using namespace streamcore;

// Exists to be asked about: if the library has code for a device, it has this kernel for it.
static __global__ void probe_kernel() {}

extern "C" int streamcore_cuda_abi_version(void) { return STREAMCORE_CUDA_ABI_VERSION; }

extern "C" int streamcore_cuda_device_count(int* count) { return cudaGetDeviceCount(count); }

extern "C" const char* streamcore_cuda_error_name(int error) {
    return cudaGetErrorName(static_cast<cudaError_t>(error));
}

extern "C" int streamcore_cuda_device_covered(int device, int* covered) {
    const OnDevice on_device(device);
    if (on_device.error() != cudaSuccess) return on_device.error();
    cudaFuncAttributes attributes;
    const cudaError_t error = cudaFuncGetAttributes(&attributes, probe_kernel);
    *covered = error == cudaSuccess;
    if (error == cudaErrorNoKernelImageForDevice || error == cudaErrorInvalidDeviceFunction ||
        error == cudaErrorUnsupportedPtxVersion) {
        cudaGetLastError();
        return cudaSuccess;
    }
    return error;
}
