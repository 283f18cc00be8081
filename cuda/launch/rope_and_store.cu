#include "rope_and_store.cuh"

#include "launch.cuh"

using namespace streamcore;

template <typename T, typename C, int N>
static cudaError_t launch(const streamcore_rope_and_store& args, void* stream) {
    // Groups of pairs where a head is rotated; a lane has two groups of what is not.
    const int64_t groups = (args.head_dim / 2 + N - 1) / N;
    int log2_lanes = 0;
    while (log2_lanes < 5 && (1 << log2_lanes) < groups) ++log2_lanes;
    const int64_t heads = args.num_heads + 2 * args.num_kv_heads;
    const unsigned threads = threads_for(heads << log2_lanes, 512);
    return run(rope_and_store_kernel<T, C, N>, static_cast<unsigned>(args.num_tokens), threads, 0, stream, args,
               log2_lanes);
}

template <int N, typename T, typename C>
static bool all_aligned(const streamcore_rope_and_store& args) {
    const auto rows = [](const void* tensor, int64_t stride) { return aligned<N>(static_cast<const T*>(tensor), stride); };
    const auto caches = [&](const void* tensor) { return aligned<N>(static_cast<const C*>(tensor), args.head_dim); };
    return rows(args.query, args.query_stride) && rows(args.key, args.key_stride) &&
           rows(args.value, args.value_stride) && caches(args.key_cache) && caches(args.value_cache) &&
           rows(args.query_norm, 0) && rows(args.key_norm, 0) &&
           aligned<4>(args.cos_sin, args.rotary_dim) && args.rotary_dim % (2 * N) == 0;
}

template <typename T, typename C>
static cudaError_t launch_aligned(const streamcore_rope_and_store& args, void* stream) {
    constexpr int N = kMaxVector<T>;
    return all_aligned<N, T, C>(args) ? launch<T, C, N>(args, stream) : launch<T, C, 1>(args, stream);
}

extern "C" int streamcore_cuda_rope_and_store(int device, const streamcore_rope_and_store* args, void* stream) {
    if (args->num_tokens == 0) return cudaSuccess;
    return with_dtype(device, args->dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        if constexpr (sizeof(T) == 2) {
            if (args->cache_dtype == STREAMCORE_E4M3) return launch_aligned<T, E4m3>(*args, stream);
        }
        return args->cache_dtype == args->dtype ? launch_aligned<T, T>(*args, stream) : cudaErrorInvalidValue;
    });
}
