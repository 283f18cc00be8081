#include "rms_norm.cuh"

#include "launch.cuh"

using namespace streamcore;

template <typename T, int N>
static cudaError_t launch(const streamcore_rms_norm& args, void* stream) {
    const unsigned blocks = static_cast<unsigned>(args.num_tokens), threads = threads_for(args.hidden / N, 1024);
    const auto kernel = args.residual == nullptr ? rms_norm_kernel<T, N, false> : rms_norm_kernel<T, N, true>;
    return run(kernel, blocks, threads, 0, stream, args);
}

extern "C" int streamcore_cuda_rms_norm(int device, const streamcore_rms_norm* args, void* stream) {
    if (args->num_tokens == 0) return cudaSuccess;
    return with_dtype(device, args->dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        constexpr int N = kMaxVector<T>;
        const bool vectors = aligned<N>(static_cast<const T*>(args->output), args->output_stride) &&
                             aligned<N>(static_cast<const T*>(args->x), args->x_stride) &&
                             aligned<N>(static_cast<const T*>(args->residual), args->residual_stride) &&
                             aligned<N>(static_cast<const T*>(args->weight), args->hidden);
        return vectors ? launch<T, N>(*args, stream) : launch<T, 1>(*args, stream);
    });
}
