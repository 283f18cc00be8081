// Launches attention of one element type over a cache of another, for every head size that there
// are kernels for.
#pragma once

#include "decode_attention.cuh"
#include "prefill_attention.cuh"

#include "launch.cuh"

namespace streamcore {

template <typename T, typename C, int kHeadDim>
cudaError_t launch_decode(const streamcore_paged_attention& args, void* stream) {
    const int64_t group = args.num_heads / args.num_kv_heads;
    const unsigned parts_of_group = blocks_for(group, kDecodeHeads);
    const dim3 blocks(static_cast<unsigned>(args.num_splits),
                      static_cast<unsigned>(args.num_kv_heads) * parts_of_group, static_cast<unsigned>(args.num_seqs));
    return run(decode_attention_kernel<T, C, kHeadDim>, blocks, kDecodeThreads, 0, stream, args,
               Divisor(args.block_size), ScoreRule(args));
}

template <typename T, typename C, int kHeadDim>
cudaError_t launch_prefill(const streamcore_paged_attention& args, void* stream) {
    constexpr int kSharedBytes = PrefillShape<C, kHeadDim>::kSharedBytes;
    const auto kernel = prefill_attention_kernel<T, C, kHeadDim>;
    const cudaError_t error = cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                                   cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
    if (error != cudaSuccess) return error;
    const dim3 blocks(static_cast<unsigned>(args.num_heads),
                      static_cast<unsigned>(args.num_tokens / kQueries + args.num_seqs));
    return run(kernel, blocks, kPrefillThreads, kSharedBytes, stream, args, Divisor(args.block_size), ScoreRule(args));
}

constexpr int kDecodes = 1, kPrefills = 2;

template <typename T, typename C, int kHeadDim>
cudaError_t launch_attention(const streamcore_paged_attention& args, void* stream) {
    if (args.parts & kDecodes) {
        const cudaError_t error = launch_decode<T, C, kHeadDim>(args, stream);
        if (error != cudaSuccess) return error;
    }
    return args.parts & kPrefills ? launch_prefill<T, C, kHeadDim>(args, stream) : cudaSuccess;
}

template <typename T, typename C>
cudaError_t attention(const streamcore_paged_attention& args, void* stream) {
    switch (args.head_dim) {
        case 64:
            return launch_attention<T, C, 64>(args, stream);
        case 80:
            return launch_attention<T, C, 80>(args, stream);
        case 96:
            return launch_attention<T, C, 96>(args, stream);
        case 128:
            return launch_attention<T, C, 128>(args, stream);
        case 256:
            return launch_attention<T, C, 256>(args, stream);
        default:
            return cudaErrorInvalidValue;
    }
}

// One source for each pair of types, so that they are compiled side by side.
cudaError_t attention_bf16(const streamcore_paged_attention& args, void* stream);
cudaError_t attention_f16(const streamcore_paged_attention& args, void* stream);
cudaError_t attention_bf16_e4m3(const streamcore_paged_attention& args, void* stream);
cudaError_t attention_f16_e4m3(const streamcore_paged_attention& args, void* stream);

}  // namespace streamcore
