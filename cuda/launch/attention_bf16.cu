#include "launch_attention.cuh"

namespace streamcore {

cudaError_t attention_bf16(const streamcore_paged_attention& args, void* stream) {
    return attention<__nv_bfloat16, __nv_bfloat16>(args, stream);
}

}  // namespace streamcore

using namespace streamcore;

extern "C" int streamcore_cuda_paged_attention(int device, const streamcore_paged_attention* args, void* stream) {
    if (args->num_seqs == 0 || args->num_tokens == 0) return cudaSuccess;
    const bool is_narrow = args->cache_dtype == STREAMCORE_E4M3;
    if (!is_narrow && args->dtype != args->cache_dtype) return cudaErrorInvalidValue;
    const OnDevice on_device(device);
    if (on_device.error() != cudaSuccess) return on_device.error();
    switch (args->dtype) {
        case STREAMCORE_BF16:
            return is_narrow ? attention_bf16_e4m3(*args, stream) : attention_bf16(*args, stream);
        case STREAMCORE_F16:
            return is_narrow ? attention_f16_e4m3(*args, stream) : attention_f16(*args, stream);
        default:
            return cudaErrorInvalidValue;
    }
}
