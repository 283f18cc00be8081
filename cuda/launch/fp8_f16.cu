#include "launch_linear.cuh"

namespace streamcore {

cudaError_t linear_fp8_f16(const streamcore_linear& args, void* stream) {
    return linear<__half, Fp8Weights<__half>>(args, stream);
}

cudaError_t experts_fp8_f16(const streamcore_experts& args, void* stream) {
    return experts<__half, Fp8Weights<__half>>(args, stream);
}

cudaError_t widen_fp8_f16(const streamcore_widen_fp8& args, void* stream) {
    return widen_fp8<__half>(args, stream);
}

}  // namespace streamcore
