// Launches products of few rows of one element type.
#pragma once

#include "experts.cuh"
#include "linear.cuh"

#include "launch.cuh"

namespace streamcore {

// Calls `launch` with the number of tiles of eight rows that there are kernels for, as a type.
template <int kMostRows = kMaxRows, typename Launch>
cudaError_t with_row_tiles(int64_t num_rows, Launch launch) {
    if (num_rows <= kRowsOfTile) return launch(std::integral_constant<int, 1>());
    if constexpr (kMostRows > 2 * kRowsOfTile) {
        if (num_rows > 2 * kRowsOfTile) return launch(std::integral_constant<int, 4>());
    }
    return launch(std::integral_constant<int, 2>());
}

template <typename T, typename Weights>
cudaError_t linear(const streamcore_linear& args, void* stream) {
    constexpr int kRows = kBlockRows<Weights>;
    if (args.num_splits > 1 && args.num_rows > kRows) {
        // The memory where stretches of the inputs meet has room for the rows of one block.
        streamcore_linear first = args, rest = args;
        first.num_rows = kRows;
        rest.num_rows = args.num_rows - kRows;
        rest.x = static_cast<const T*>(args.x) + kRows * args.x_stride;
        rest.output = static_cast<T*>(args.output) + kRows * args.output_stride;
        const cudaError_t error = linear<T, Weights>(first, stream);
        return error == cudaSuccess ? linear<T, Weights>(rest, stream) : error;
    }
    const unsigned tiles = args.activation != 0 ? blocks_for(args.num_outputs / 2, kOutputs / 2)
                                                : blocks_for(args.num_outputs, kOutputs);
    const dim3 blocks(tiles, static_cast<unsigned>(args.num_splits), blocks_for(args.num_rows, kRows));
    return with_row_tiles<kRows>(args.num_rows, [&](auto tiles) {
        return run(linear_kernel<T, Weights, tiles.value>, blocks, kProductThreads, 0, stream, args);
    });
}

template <typename T, typename Weights>
cudaError_t experts(const streamcore_experts& args, void* stream) {
    return with_row_tiles<kBlockRows<Weights>>(args.num_tokens, [&](auto tiles) {
        constexpr int kPartRows = kRowsOfTile * tiles.value;
        const int64_t num_choices = args.num_tokens * args.num_used;
        const int64_t num_used = num_choices < args.num_experts ? num_choices : args.num_experts;
        const unsigned num_parts = static_cast<unsigned>(num_used + num_choices / kPartRows);
        const unsigned inter_tiles = blocks_for(args.inter, kOutputs / 2), hidden_tiles = blocks_for(args.hidden, kOutputs);
        cudaError_t error = run(route_kernel<T>, 1, threads_for(kWarp * args.num_tokens, 1024), 0, stream, args,
                                      kPartRows, static_cast<int>(num_parts));
        if (error != cudaSuccess) return error;
        error = run(gate_up_of_experts_kernel<T, Weights, tiles.value>, dim3(inter_tiles, num_parts),
                          kProductThreads, 0, stream, args);
        if (error != cudaSuccess) return error;
        error = run(down_of_experts_kernel<T, Weights, tiles.value>, dim3(hidden_tiles, num_parts),
                          kProductThreads, 0, stream, args);
        if (error != cudaSuccess) return error;
        const dim3 sums(static_cast<unsigned>(args.num_tokens), blocks_for(args.hidden, kSumThreads));
        return run(sum_of_experts_kernel<T>, sums, kSumThreads, 0, stream, args);
    });
}

template <typename T>
cudaError_t widen_fp8(const streamcore_widen_fp8& args, void* stream) {
    const dim3 blocks(static_cast<unsigned>(args.num_outputs), blocks_for(args.num_inputs, kFp8Threads * kFp8Numbers));
    return run(widen_fp8_kernel<T>, blocks, kFp8Threads, 0, stream, args);
}

// One source for each element type of rows and weights, so that they are compiled side by side.
cudaError_t linear_bf16(const streamcore_linear& args, void* stream);
cudaError_t linear_f16(const streamcore_linear& args, void* stream);
cudaError_t linear_fp8_bf16(const streamcore_linear& args, void* stream);
cudaError_t linear_fp8_f16(const streamcore_linear& args, void* stream);
cudaError_t experts_bf16(const streamcore_experts& args, void* stream);
cudaError_t experts_f16(const streamcore_experts& args, void* stream);
cudaError_t experts_fp8_bf16(const streamcore_experts& args, void* stream);
cudaError_t experts_fp8_f16(const streamcore_experts& args, void* stream);
cudaError_t widen_fp8_bf16(const streamcore_widen_fp8& args, void* stream);
cudaError_t widen_fp8_f16(const streamcore_widen_fp8& args, void* stream);

}  // namespace streamcore
