// Products with weights in fp8 and rows in bfloat16: what planted bugs are compiled into.
#include "launch_linear.cuh"

using namespace streamcore;

extern "C" int streamcore_cuda_linear(int, const streamcore_linear* args, void* stream) {
    return linear<__nv_bfloat16, Fp8Weights<__nv_bfloat16>>(*args, stream);
}
