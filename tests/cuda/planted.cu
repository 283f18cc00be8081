// Attention with heads of 64 in bfloat16 alone, over a cache of the same or in eight bits: what planted bugs are compiled
// into.
#include "launch_attention.cuh"

using namespace streamcore;

extern "C" int streamcore_cuda_paged_attention(int, const streamcore_paged_attention* args, void* stream) {
    if (args->cache_dtype == STREAMCORE_E4M3) return launch_attention<__nv_bfloat16, E4m3, 64>(*args, stream);
    return launch_attention<__nv_bfloat16, __nv_bfloat16, 64>(*args, stream);
}
