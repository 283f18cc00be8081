#include "launch_attention.cuh"

namespace streamcore {

cudaError_t attention_f16(const streamcore_paged_attention& args, void* stream) {
    return attention<__half, __half>(args, stream);
}

}  // namespace streamcore
