#include "launch_attention.cuh"

namespace streamcore {

cudaError_t attention_f16_e4m3(const streamcore_paged_attention& args, void* stream) {
    return attention<__half, E4m3>(args, stream);
}

}  // namespace streamcore
