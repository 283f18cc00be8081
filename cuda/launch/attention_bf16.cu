#include "launch_attention.cuh"

namespace streamcore {

cudaError_t attention_bf16(const streamcore_paged_attention& args, void* stream) {
    return attention<__nv_bfloat16>(args, stream);
}

}  // namespace streamcore

using namespace streamcore;

extern "C" int streamcore_cuda_paged_attention(int device, const streamcore_paged_attention* args, void* stream) {
    if (args->num_seqs == 0 || args->num_tokens == 0) return cudaSuccess;
    if (args->dtype != args->cache_dtype) return cudaErrorInvalidValue;
    const OnDevice on_device(device);
    if (on_device.error() != cudaSuccess) return on_device.error();
    switch (args->dtype) {
        case STREAMCORE_BF16:
            return attention_bf16(*args, stream);
        case STREAMCORE_F16:
            return attention_f16(*args, stream);
        default:
            return cudaErrorInvalidValue;
    }
}
