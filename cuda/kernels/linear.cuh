// output[r, o] = sum_i x[r, i] weight[o, i] + bias[o] of 1 to 32 rows, or the middle of a gated MLP
// made of it: output[r, o] = activation(p[r, o]) * p[r, inter + o], where p is that product.
//
// Shapes: output [num_rows, num_outputs] or, gated, [num_rows, num_outputs / 2], contiguous; x
// [num_rows, num_inputs], rows contiguous at a stride that is a multiple of 8; weight [num_outputs,
// num_inputs], contiguous; bias [num_outputs] or null. num_inputs is a multiple of 8, and x and
// weight begin at multiples of 16 bytes.
// Layout: blockIdx.x is a tile of 64 outputs (32 of each half, if gated), blockIdx.y a stretch of
// the inputs: few outputs would leave multiprocessors idle. Of the blocks of a tile the last to
// finish adds up what all of them have stored, in the order of the stretches, whichever it is. How
// many stretches there are does not depend on the rows.
#pragma once

#include "gated.cuh"
#include "product.cuh"

namespace streamcore {

// Makes outputs of sums: `total(row, output)` with the output's place in the tile.
template <typename T, typename Total>
__device__ __forceinline__ void finish(const streamcore_linear& args, const Total& total) {
    const bool is_gated = args.activation != 0;
    const int tile_outputs = is_gated ? kOutputs / 2 : kOutputs, first = blockIdx.x * tile_outputs;
    const int width = static_cast<int>(is_gated ? args.num_outputs / 2 : args.num_outputs);
    const T* bias = static_cast<const T*>(args.bias);
    // Code that is read once is slower than a loop.
#pragma unroll 1
    for (int i = threadIdx.x; i < args.num_rows * tile_outputs; i += kProductThreads) {
        const int row = i / tile_outputs, place = i % tile_outputs, output = first + place;
        if (output >= width) continue;
        float value = total(row, place) + (bias == nullptr ? 0.0f : widen(bias[output]));
        if (is_gated) {
            const float up = total(row, kOutputs / 2 + place) + (bias == nullptr ? 0.0f : widen(bias[width + output]));
            value = gate_times_up(static_cast<int>(args.activation) - 1, value, up);
        }
        static_cast<T*>(args.output)[int64_t{row} * width + output] = narrow<T>(value);
    }
}

// Adds up the stretches, in the last block of a tile to come here.
template <typename T, int kRowTiles>
__device__ __forceinline__ void merge(const streamcore_linear& args, ProductShared<kRowTiles>& shared) {
    const int splits = gridDim.y, size = static_cast<int>(args.num_rows) * kOutputs;
    float* partial = args.partial + int64_t{blockIdx.x} * splits * size;
    for (int i = threadIdx.x; i < size; i += kProductThreads) {
        partial[blockIdx.y * size + i] = shared.total(i / kOutputs, i % kOutputs);
    }
    // Everything that this block has stored is visible before its ticket is.
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        int32_t* ticket = args.tickets + blockIdx.x;
        shared.is_last = atomicAdd(ticket, 1) == splits - 1;
        if (shared.is_last) *ticket = 0;
    }
    __syncthreads();
    if (!shared.is_last) return;
    __threadfence();
    finish<T>(args, [&](int row, int place) {
        float sum = 0.0f;
        for (int s = 0; s < splits; ++s) sum += partial[s * size + row * kOutputs + place];
        return sum;
    });
}

template <typename T, typename Weights, int kRowTiles>
__global__ void __launch_bounds__(kProductThreads, kProductBlocks<kRowTiles>)
    linear_kernel(const streamcore_linear args) {
    __shared__ ProductShared<kRowTiles> shared;
    let_next_launch_begin();
    const int num_inputs = static_cast<int>(args.num_inputs), num_outputs = static_cast<int>(args.num_outputs);
    const Weights weights{static_cast<const T*>(args.weight), num_inputs};
    const OutputRange outputs = args.activation != 0 ? OutputRange::gated(blockIdx.x, num_outputs / 2)
                                                     : OutputRange::plain(blockIdx.x, num_outputs);
    constexpr int kStep = ProductWarp<T, Weights, kRowTiles>::kStep;
    const int steps = (num_inputs + kStep - 1) / kStep, splits = gridDim.y, split = blockIdx.y;
    const T* x = static_cast<const T*>(args.x);
    multiply_rows<T, Weights, kRowTiles>(
        weights, outputs, steps * split / splits, steps * (split + 1) / splits,
        [&](int row) { return row < args.num_rows ? x + row * args.x_stride : nullptr; }, shared);
    if (splits > 1) {
        merge<T, kRowTiles>(args, shared);
        return;
    }
    finish<T>(args, [&](int row, int place) { return shared.total(row, place); });
}

}  // namespace streamcore
