#include "rope_and_store_kv.cuh"

#include "launch.cuh"

using namespace streamcore;

template <typename T, int N>
static void launch(const streamcore_rope_and_store& args, cudaStream_t stream) {
    const int64_t rotations = (args.num_heads + args.num_kv_heads) * (args.rotary_dim / 2 / N);
    const int64_t copies = args.num_kv_heads * args.head_dim / N;
    const unsigned threads = threads_for(rotations > copies ? rotations : copies, 512);
    rope_and_store_kv_kernel<T, N><<<static_cast<unsigned>(args.num_tokens), threads, 0, stream>>>(args);
}

template <int N, typename T>
static bool all_aligned(const streamcore_rope_and_store& args) {
    return aligned<N>(static_cast<T*>(args.query), args.query_stride) &&
           aligned<N>(static_cast<T*>(args.key), args.key_stride) &&
           aligned<N>(static_cast<const T*>(args.value), args.value_stride) &&
           aligned<N>(static_cast<T*>(args.key_cache), args.head_dim) &&
           aligned<N>(static_cast<T*>(args.value_cache), args.head_dim) && args.rotary_dim % (2 * N) == 0;
}

extern "C" int streamcore_cuda_rope_and_store_kv(int device, const streamcore_rope_and_store* args, int dtype,
                                                 void* stream) {
    if (args->num_tokens == 0) return cudaSuccess;
    return with_dtype(device, dtype, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        constexpr int N = kMaxVector<T>;
        const auto chosen = all_aligned<N, T>(*args) ? launch<T, N> : launch<T, 1>;
        chosen(*args, static_cast<cudaStream_t>(stream));
    });
}
