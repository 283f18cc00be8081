#include "launch_linear.cuh"

namespace streamcore {

cudaError_t linear_f16(const streamcore_linear& args, void* stream) {
    return linear<__half, PlainWeights<__half>>(args, stream);
}

cudaError_t experts_f16(const streamcore_experts& args, void* stream) {
    return experts<__half, PlainWeights<__half>>(args, stream);
}

}  // namespace streamcore
