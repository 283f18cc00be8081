// The few functions of the CUDA runtime that launchers call.
#include <cuda_runtime_api.h>

extern "C" {
int coc_failed();
cudaError_t CUDARTAPI cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaSetDevice(int) { return cudaSuccess; }
// Of Hopper, whose launches may begin before the one in front of them has ended.
cudaError_t CUDARTAPI cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
    *value = 9;
    return cudaSuccess;
}
cudaError_t CUDARTAPI cudaGetLastError() { return coc_failed() ? cudaErrorLaunchFailure : cudaSuccess; }
cudaError_t CUDARTAPI cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }
}
