#include "launch_grouped.cuh"

namespace streamcore {

cudaError_t grouped_linear_bf16(const streamcore_grouped_linear& args, void* stream) {
    return grouped_linear<__nv_bfloat16>(args, stream);
}

cudaError_t widen_groups_bf16(const streamcore_widen_groups& args, void* stream) {
    return widen_groups<__nv_bfloat16>(args, stream);
}

}  // namespace streamcore

using namespace streamcore;

extern "C" int streamcore_cuda_grouped_linear(int device, const streamcore_grouped_linear* args, void* stream) {
    if (args->num_rows == 0 || args->num_outputs == 0) return cudaSuccess;
    if (args->num_inputs % 8 != 0 || (args->num_rows > kMaxRows && args->num_splits > 1)) return cudaErrorInvalidValue;
    const OnDevice on_device(device);
    if (on_device.error() != cudaSuccess) return on_device.error();
    if (args->dtype == STREAMCORE_BF16) return grouped_linear_bf16(*args, stream);
    return args->dtype == STREAMCORE_F16 ? grouped_linear_f16(*args, stream) : cudaErrorInvalidValue;
}

extern "C" int streamcore_cuda_widen_groups(int device, const streamcore_widen_groups* args, void* stream) {
    if (args->num_outputs == 0 || args->num_inputs == 0) return cudaSuccess;
    if (args->num_inputs % 8 != 0 || args->first_output % 32 != 0) return cudaErrorInvalidValue;
    const OnDevice on_device(device);
    if (on_device.error() != cudaSuccess) return on_device.error();
    if (args->dtype == STREAMCORE_BF16) return widen_groups_bf16(*args, stream);
    return args->dtype == STREAMCORE_F16 ? widen_groups_f16(*args, stream) : cudaErrorInvalidValue;
}
