#include "gated.cuh"

#include "launch.cuh"

using namespace streamcore;

template <typename T, int N>
static cudaError_t launch(const streamcore_gated& args, void* stream) {
    const dim3 blocks(static_cast<unsigned>(args.num_tokens),
                      blocks_for(args.inter, kGatedThreads * kGatedGroups * N));
    const auto kernel = args.activation == 0   ? gated_kernel<T, N, 0>
                        : args.activation == 1 ? gated_kernel<T, N, 1>
                                               : gated_kernel<T, N, 2>;
    return run(kernel, blocks, kGatedThreads, 0, stream, args);
}

extern "C" int streamcore_cuda_gated(int device, const streamcore_gated* args, void* stream) {
    if (args->num_tokens == 0 || args->inter == 0) return cudaSuccess;
    return with_dtype(device, args->dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        constexpr int N = kMaxVector<T>;
        const bool vectors = aligned<N>(static_cast<const T*>(args->output), args->inter) &&
                             aligned<N>(static_cast<const T*>(args->gate_up), args->gate_up_stride);
        return vectors ? launch<T, N>(*args, stream) : launch<T, 1>(*args, stream);
    });
}
