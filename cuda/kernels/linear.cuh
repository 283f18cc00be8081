// output[r, o] = sum_i x[r, i] weight[o, i] + bias[o] of few rows, or the middle of a gated MLP
// made of it: output[r, o] = activation(p[r, o]) * p[r, inter + o], where p is that product. In fp8
// it is
//   sum over the groups, in order, of scale[o] sum_i x[r, i] code[o, i]
// and a weight is scale code, rounded once, to float32.
//
// Shapes: output [num_rows, num_outputs] or, gated, [num_rows, num_outputs / 2], and x [num_rows,
// num_inputs], rows contiguous, those of x at a stride that is a multiple of 8; weight
// [num_outputs, num_inputs], contiguous, in fp8 followed by its scales; bias [num_outputs] or null.
// num_inputs is a multiple of 8, in fp8 of 16, and x and weight begin at multiples of 16 bytes.
// Layout: blockIdx.x is a tile of 64 outputs (32 of each half, if gated), blockIdx.y a stretch of
// the inputs: few outputs would leave multiprocessors idle; blockIdx.z a stretch of 32 rows. Of the
// blocks of a tile the last to finish adds up what all of them have stored, in the order of the
// stretches, whichever it is. How many stretches there are does not depend on the rows, but that
// more than 32 are never split over their inputs.
#pragma once

#include "gated.cuh"
#include "product.cuh"

namespace streamcore {

// Makes outputs of sums: `total(row, output)` with the output's place in the tile.
template <typename T, typename Total>
__device__ __forceinline__ void finish(const streamcore_linear& args, int first_row, int num_rows, const Total& total) {
    const bool is_gated = args.activation != 0;
    const int tile_outputs = is_gated ? kOutputs / 2 : kOutputs, first = blockIdx.x * tile_outputs;
    const int width = static_cast<int>(is_gated ? args.num_outputs / 2 : args.num_outputs);
    const T* bias = static_cast<const T*>(args.bias);
    // Code that is read once is slower than a loop.
#pragma unroll 1
    for (int i = threadIdx.x; i < num_rows * tile_outputs; i += kProductThreads) {
        const int row = i / tile_outputs, place = i % tile_outputs, output = first + place;
        if (output >= width) continue;
        float value = total(row, place) + (bias == nullptr ? 0.0f : widen(bias[output]));
        if (is_gated) {
            const float up = total(row, kOutputs / 2 + place) + (bias == nullptr ? 0.0f : widen(bias[width + output]));
            value = gate_times_up(static_cast<int>(args.activation) - 1, value, up);
        }
        static_cast<T*>(args.output)[(first_row + row) * args.output_stride + output] = narrow<T>(value);
    }
}

// Adds up the stretches, in the last block of a tile to come here, which finishes the sums.
template <int kRowTiles, typename Args, typename Finish>
__device__ __forceinline__ void merge(const Args& args, ProductShared<kRowTiles>& shared, const Finish& finish) {
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
    finish([&](int row, int place) {
        float sum = 0.0f;
        for (int s = 0; s < splits; ++s) sum += partial[s * size + row * kOutputs + place];
        return sum;
    });
}

template <typename T, typename Weights, int kRowTiles>
__global__ void __launch_bounds__(kProductThreads, kProductBlocks<Weights, kRowTiles>)
    linear_kernel(const streamcore_linear args) {
    __shared__ ProductShared<kRowTiles> shared;
    let_next_launch_begin();
    const int num_inputs = static_cast<int>(args.num_inputs), num_outputs = static_cast<int>(args.num_outputs);
    constexpr int kRows = kBlockRows<Weights>;
    const int first_row = blockIdx.z * kRows;
    const int num_rows = args.num_rows - first_row < kRows ? static_cast<int>(args.num_rows) - first_row : kRows;
    const Weights weights = Weights::of(args.weight, num_outputs, num_inputs, static_cast<int>(args.num_groups));
    const OutputRange outputs = args.activation != 0 ? OutputRange::gated(blockIdx.x, num_outputs / 2)
                                                     : OutputRange::plain(blockIdx.x, num_outputs);
    constexpr int kStep = ProductWarp<T, Weights, kRowTiles>::kStep;
    const int steps = (num_inputs + kStep - 1) / kStep, splits = gridDim.y, split = blockIdx.y;
    const T* x = static_cast<const T*>(args.x) + first_row * args.x_stride;
    multiply_rows<T, Weights, kRowTiles>(
        weights, outputs, steps * split / splits, steps * (split + 1) / splits,
        [&](int row) { return x + (row < num_rows ? row : num_rows - 1) * args.x_stride; }, shared);
    if (splits > 1) {
        merge(args, shared, [&](const auto& total) { finish<T>(args, first_row, num_rows, total); });
        return;
    }
    finish<T>(args, first_row, num_rows, [&](int row, int place) { return shared.total(row, place); });
}

constexpr int kFp8Threads = 128, kFp8Numbers = 16;

// output[r, i] = scale[o] code[o, i] for outputs o = first_output + r, rounded to float32 and then
// to T. A thread has 16 neighbours, of which it stores 8 at a time; blockIdx.x is the row.
template <typename T>
__global__ void __launch_bounds__(kFp8Threads) widen_fp8_kernel(const streamcore_widen_fp8 args) {
    begin_after_launch_before();
    const int num_inputs = static_cast<int>(args.num_inputs), row = blockIdx.x;
    const int input = (blockIdx.y * kFp8Threads + threadIdx.x) * kFp8Numbers;
    if (input >= num_inputs) return;
    const auto weights = Fp8Weights<float>::of(args.weight, static_cast<int>(args.weight_outputs), num_inputs,
                                               static_cast<int>(args.num_groups));
    const int output = static_cast<int>(args.first_output) + row;
    const float scale = weights.scale(output, input / kFp8Group);
    const auto part = weights.load(output, input);
    T* target = static_cast<T*>(args.output) + int64_t{row} * num_inputs + input;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        Vector<T, 8> numbers;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            float pair[2];
            unpack_halves(pair, widen_pair_of<__half>(part, 4 * half + i));
            numbers.values[2 * i] = narrow<T>(scale * pair[0]);
            numbers.values[2 * i + 1] = narrow<T>(scale * pair[1]);
        }
        store<8>(target + 8 * half, numbers);
    }
}

}  // namespace streamcore
