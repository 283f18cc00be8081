// The same over a cache in eight bits.
#include "launch_attention.cuh"

using namespace streamcore;

extern "C" int streamcore_cuda_paged_attention(int, const streamcore_paged_attention* args, void* stream) {
    return launch_attention<__nv_bfloat16, E4m3, 64>(*args, stream);
}
