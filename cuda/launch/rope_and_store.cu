#include "rope_and_store.cuh"

#include "launch.cuh"

using namespace streamcore;

template <typename T, int N>
static cudaError_t launch(const streamcore_rope_and_store& args, void* stream) {
    // Groups of pairs where a head is rotated; a lane has two groups of what is not.
    const int64_t groups = (args.head_dim / 2 + N - 1) / N;
    int log2_lanes = 0;
    while (log2_lanes < 5 && (1 << log2_lanes) < groups) ++log2_lanes;
    const int64_t heads = args.num_heads + 2 * args.num_kv_heads;
    const unsigned threads = threads_for(heads << log2_lanes, 512);
    return run(rope_and_store_kernel<T, N>, static_cast<unsigned>(args.num_tokens), threads, 0, stream, args,
               log2_lanes);
}

template <int N, typename T>
static bool all_aligned(const streamcore_rope_and_store& args) {
    const auto rows = [](const void* tensor, int64_t stride) { return aligned<N>(static_cast<const T*>(tensor), stride); };
    return rows(args.query, args.query_stride) && rows(args.key, args.key_stride) &&
           rows(args.value, args.value_stride) && rows(args.key_cache, args.head_dim) &&
           rows(args.value_cache, args.head_dim) && rows(args.query_norm, 0) && rows(args.key_norm, 0) &&
           aligned<4>(args.cos_sin, args.rotary_dim) && args.rotary_dim % (2 * N) == 0;
}

extern "C" int streamcore_cuda_rope_and_store(int device, const streamcore_rope_and_store* args, void* stream) {
    if (args->num_tokens == 0) return cudaSuccess;
    if (args->dtype != args->cache_dtype) return cudaErrorInvalidValue;
    return with_dtype(device, args->dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        constexpr int N = kMaxVector<T>;
        return all_aligned<N, T>(*args) ? launch<T, N>(*args, stream) : launch<T, 1>(*args, stream);
    });
}
