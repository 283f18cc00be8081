#include "launch_grouped.cuh"

namespace streamcore {

cudaError_t grouped_linear_f16(const streamcore_grouped_linear& args, void* stream) {
    return grouped_linear<__half>(args, stream);
}

cudaError_t widen_groups_f16(const streamcore_widen_groups& args, void* stream) {
    return widen_groups<__half>(args, stream);
}

}  // namespace streamcore
