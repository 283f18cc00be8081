#include "launch_linear.cuh"

namespace streamcore {

cudaError_t linear_bf16(const streamcore_linear& args, void* stream) {
    return linear<__nv_bfloat16, PlainWeights<__nv_bfloat16>>(args, stream);
}

cudaError_t experts_bf16(const streamcore_experts& args, void* stream) {
    return experts<__nv_bfloat16, PlainWeights<__nv_bfloat16>>(args, stream);
}

}  // namespace streamcore

using namespace streamcore;

// Whether weights are of the type of the rows, or in fp8 with scales for the inputs that they have.
static bool takes_weights(int32_t dtype, int32_t weight_dtype, int64_t num_inputs, int64_t num_groups) {
    if (weight_dtype != STREAMCORE_E4M3) return dtype == weight_dtype && num_inputs % 8 == 0;
    return num_inputs % 16 == 0 && (num_groups == 1 || num_groups == (num_inputs + kFp8Group - 1) / kFp8Group);
}

extern "C" int streamcore_cuda_linear(int device, const streamcore_linear* args, void* stream) {
    if (args->num_rows == 0 || args->num_outputs == 0) return cudaSuccess;
    if ((args->num_rows > kMaxRows && args->num_splits > 1) ||
        !takes_weights(args->dtype, args->weight_dtype, args->num_inputs, args->num_groups)) {
        return cudaErrorInvalidValue;
    }
    const OnDevice on_device(device);
    if (on_device.error() != cudaSuccess) return on_device.error();
    const bool is_fp8 = args->weight_dtype == STREAMCORE_E4M3;
    if (args->dtype == STREAMCORE_BF16) return is_fp8 ? linear_fp8_bf16(*args, stream) : linear_bf16(*args, stream);
    if (args->dtype != STREAMCORE_F16) return cudaErrorInvalidValue;
    return is_fp8 ? linear_fp8_f16(*args, stream) : linear_f16(*args, stream);
}

extern "C" int streamcore_cuda_experts(int device, const streamcore_experts* args, void* stream) {
    if (args->num_tokens == 0 || args->hidden == 0) return cudaSuccess;
    if (args->num_tokens > kMostTokens || args->num_experts > kMostExperts || args->num_used > kWarp ||
        !takes_weights(args->dtype, args->weight_dtype, args->hidden, args->gate_up_groups) ||
        !takes_weights(args->dtype, args->weight_dtype, args->inter, args->down_groups)) {
        return cudaErrorInvalidValue;
    }
    const OnDevice on_device(device);
    if (on_device.error() != cudaSuccess) return on_device.error();
    const bool is_fp8 = args->weight_dtype == STREAMCORE_E4M3;
    if (args->dtype == STREAMCORE_BF16) return is_fp8 ? experts_fp8_bf16(*args, stream) : experts_bf16(*args, stream);
    if (args->dtype != STREAMCORE_F16) return cudaErrorInvalidValue;
    return is_fp8 ? experts_fp8_f16(*args, stream) : experts_f16(*args, stream);
}

extern "C" int streamcore_cuda_widen_fp8(int device, const streamcore_widen_fp8* args, void* stream) {
    if (args->num_outputs == 0 || args->num_inputs == 0) return cudaSuccess;
    if (!takes_weights(args->dtype, STREAMCORE_E4M3, args->num_inputs, args->num_groups)) {
        return cudaErrorInvalidValue;
    }
    const OnDevice on_device(device);
    if (on_device.error() != cudaSuccess) return on_device.error();
    if (args->dtype == STREAMCORE_BF16) return widen_fp8_bf16(*args, stream);
    return args->dtype == STREAMCORE_F16 ? widen_fp8_f16(*args, stream) : cudaErrorInvalidValue;
}
