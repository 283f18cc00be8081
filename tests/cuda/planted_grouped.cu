// Products with weights in groups of 4 bits, in bfloat16: what planted bugs are compiled into.
#include "launch_grouped.cuh"

using namespace streamcore;

extern "C" int streamcore_cuda_grouped_linear(int, const streamcore_grouped_linear* args, void* stream) {
    return launch_grouped<__nv_bfloat16, kShifted>(*args, GroupedForm(*args->form, args->num_inputs), stream);
}
