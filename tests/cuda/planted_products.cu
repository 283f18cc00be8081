// Products of few rows in bfloat16 alone: what planted bugs are compiled into.
#include "launch_linear.cuh"

using namespace streamcore;

extern "C" int streamcore_cuda_linear(int, const streamcore_linear* args, void* stream) {
    return linear<__nv_bfloat16, PlainWeights<__nv_bfloat16>>(*args, stream);
}
