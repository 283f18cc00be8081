#include "launch_linear.cuh"

namespace streamcore {

cudaError_t linear_bf16(const streamcore_linear& args, void* stream) { return linear<__nv_bfloat16>(args, stream); }

cudaError_t experts_bf16(const streamcore_experts& args, void* stream) { return experts<__nv_bfloat16>(args, stream); }

}  // namespace streamcore

using namespace streamcore;

extern "C" int streamcore_cuda_linear(int device, const streamcore_linear* args, void* stream) {
    if (args->num_rows == 0 || args->num_outputs == 0) return cudaSuccess;
    if (args->num_rows > kMaxRows || args->num_inputs % 8 != 0 || args->dtype != args->weight_dtype) {
        return cudaErrorInvalidValue;
    }
    const OnDevice on_device(device);
    if (on_device.error() != cudaSuccess) return on_device.error();
    if (args->dtype == STREAMCORE_BF16) return linear_bf16(*args, stream);
    return args->dtype == STREAMCORE_F16 ? linear_f16(*args, stream) : cudaErrorInvalidValue;
}

extern "C" int streamcore_cuda_experts(int device, const streamcore_experts* args, void* stream) {
    if (args->num_tokens == 0 || args->hidden == 0) return cudaSuccess;
    if (args->num_tokens > kMostTokens || args->num_experts > kMostExperts || args->num_used > kWarp ||
        args->hidden % 8 != 0 || args->inter % 8 != 0) {
        return cudaErrorInvalidValue;
    }
    const OnDevice on_device(device);
    if (on_device.error() != cudaSuccess) return on_device.error();
    if (args->weight_dtype == STREAMCORE_BF16) return experts_bf16(*args, stream);
    return args->weight_dtype == STREAMCORE_F16 ? experts_f16(*args, stream) : cudaErrorInvalidValue;
}
