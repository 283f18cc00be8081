#include "launch_linear.cuh"

namespace streamcore {

cudaError_t linear_fp8_bf16(const streamcore_linear& args, void* stream) {
    return linear<__nv_bfloat16, Fp8Weights<__nv_bfloat16>>(args, stream);
}

cudaError_t experts_fp8_bf16(const streamcore_experts& args, void* stream) {
    return experts<__nv_bfloat16, Fp8Weights<__nv_bfloat16>>(args, stream);
}

cudaError_t widen_fp8_bf16(const streamcore_widen_fp8& args, void* stream) {
    return widen_fp8<__nv_bfloat16>(args, stream);
}

}  // namespace streamcore
