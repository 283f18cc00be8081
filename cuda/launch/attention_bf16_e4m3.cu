#include "launch_attention.cuh"

namespace streamcore {

cudaError_t attention_bf16_e4m3(const streamcore_paged_attention& args, void* stream) {
    return attention<__nv_bfloat16, E4m3>(args, stream);
}

}  // namespace streamcore
