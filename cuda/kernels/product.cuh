// The inner part of products of few rows: sums[output, row] = sum_i weight[output, i] x[row, i],
// for 64 outputs, up to 32 rows and a range of inputs. `linear.cuh` and `experts.cuh` say which,
// and what becomes of the sums.
//
// Few rows are bound by the bytes of the weights, which are read once, 16 bytes a lane, straight
// into the fragments of m16n8k16: outputs are its rows, the rows of x its columns. The order in
// which inputs are added up is free, so the 16 bytes of a lane are called whatever columns its
// fragment has (g = lane / 4, t = lane % 4):
//   weights   lane (g, t) loads the inputs 32 l + 8 t .. + 7 of outputs 16 m + g and + 8;
//             registers 2 q and 2 q + 1 of both are the fragment of product q
//   x         lane (g, t) loads the same inputs of row 8 n + g; 0 beyond the last row, not loaded
// Tensor cores serve one row as well: their products cost a twentieth of the time that the weights
// take, and multiplying by ordinary instructions costs more of it than they do. Every number of
// rows adds up in one order, so that a row gives the same bits alone and with any 31 others.
//
// Block size: four warps, which take turns at 64 inputs and add up at the end. A warp has 16 loads
// of 16 bytes a lane under way, 8 KB; two blocks on a multiprocessor have twice what hides the
// latency of memory. x is read from the cache by one warp of each block: rows / 64 of the bytes of
// the weights.
#pragma once

#include "dtype.cuh"
#include "launch_order.cuh"
#include "reduce.cuh"
#include "streamcore_kernels.h"

namespace streamcore {

constexpr int kProductWarps = 4, kProductThreads = kWarp * kProductWarps;
constexpr int kOutputTiles = 4, kTileOutputs = 16, kOutputs = kOutputTiles * kTileOutputs, kRowsOfTile = 8;
constexpr int kMaxRows = 32;

// Weights as they are multiplied. Another way to store them has another `Part`, what a lane loads
// at once, with more inputs, and widens what it has of four of them in `pair`.
template <typename T>
struct PlainWeights {
    static constexpr int kInputsOfPart = 8;
    using Part = Vector<uint32_t, 4>;
    const T* weight;  // [num_outputs, num_inputs]
    int num_inputs;

    // The part from an input on of one output.
    __device__ __forceinline__ Part load(int output, int input) const {
        return load_once(weight + int64_t{output} * num_inputs + input);
    }
    static __device__ __forceinline__ Part none() { return {}; }
    // The two neighbours of number `i`, of the type of x.
    static __device__ __forceinline__ uint32_t pair(const Part& part, int i) { return part.values[i]; }
};

// Which outputs a block has: two stretches of 32, each with its end.
struct OutputRange {
    int begin[2], end[2];

    static __device__ __forceinline__ OutputRange plain(int tile, int num_outputs) {
        return {{tile * kOutputs, tile * kOutputs + kOutputs / 2}, {num_outputs, num_outputs}};
    }
    // 32 of a gate and the same of what it multiplies, which come `inter` further.
    static __device__ __forceinline__ OutputRange gated(int tile, int inter) {
        const int first = tile * (kOutputs / 2);
        return {{first, inter + first}, {inter, 2 * inter}};
    }
    // That of row `row` of tile `m`; one beyond the end reads the last one, and its sum is not
    // used.
    __device__ __forceinline__ int of(int m, int row) const {
        const int output = begin[m / 2] + m % 2 * kTileOutputs + row;
        return output < end[m / 2] ? output : end[m / 2] - 1;
    }
};

// Blocks on a multiprocessor: as many as the registers of the sums leave room for.
template <int kRowTiles>
constexpr int kProductBlocks = kRowTiles == 1 ? 4 : kRowTiles == 2 ? 3 : 2;

template <int kRowTiles>
struct alignas(16) ProductShared {
    // Lanes that store neighbouring outputs and rows meet different banks.
    static constexpr int kRow = kOutputs + 4;
    float sums[kProductWarps][kRowTiles * kRowsOfTile][kRow];
    bool is_last;

    // The sum of all warps, in their order.
    __device__ __forceinline__ float total(int row, int output) const {
        float sum = sums[0][row][output];
#pragma unroll
        for (int w = 1; w < kProductWarps; ++w) sum += sums[w][row][output];
        return sum;
    }
};

// The inputs of a warp's turn, of all its outputs and rows.
template <typename T, typename Weights, int kRowTiles>
struct ProductWarp {
    static constexpr int kLoads = 2, kPart = Weights::kInputsOfPart, kStep = kLoads * 4 * kPart;
    static constexpr int kVectors = kPart / kMaxVector<T>;
    using Part = typename Weights::Part;
    using Inputs = Vector<uint32_t, 4>;
    Part parts[kOutputTiles][2][kLoads];
    Inputs inputs[kRowTiles][kLoads][kVectors];
    float sums[kOutputTiles][kRowTiles][4];
    int g, t;

    __device__ __forceinline__ void begin() {
        g = threadIdx.x % kWarp / 4;
        t = threadIdx.x % 4;
#pragma unroll
        for (int i = 0; i < kOutputTiles * kRowTiles * 4; ++i) sums[i / 4 / kRowTiles][i / 4 % kRowTiles][i % 4] = 0.0f;
    }

    __device__ __forceinline__ int input(int step, int l) const { return step * kStep + l * 4 * kPart + t * kPart; }

    __device__ __forceinline__ void load_weights(const Weights& weights, const OutputRange& outputs, int step) {
#pragma unroll
        for (int l = 0; l < kLoads; ++l) {
            const bool is_inside = input(step, l) < weights.num_inputs;
#pragma unroll
            for (int m = 0; m < kOutputTiles; ++m) {
#pragma unroll
                for (int j = 0; j < 2; ++j) {
                    parts[m][j][l] = Weights::none();
                    if (is_inside) parts[m][j][l] = weights.load(outputs.of(m, g + 8 * j), input(step, l));
                }
            }
        }
    }

    // `rows[n]` is row 8 n + g of x, null where there is none.
    __device__ __forceinline__ void load_inputs(const T* const (&rows)[kRowTiles], int num_inputs, int step) {
#pragma unroll
        for (int n = 0; n < kRowTiles; ++n) {
#pragma unroll
            for (int l = 0; l < kLoads; ++l) {
#pragma unroll
                for (int v = 0; v < kVectors; ++v) {
                    inputs[n][l][v] = {};
                    if (rows[n] != nullptr && input(step, l) < num_inputs) {
                        const T* source = rows[n] + input(step, l) + v * kMaxVector<T>;
                        inputs[n][l][v] = streamcore::load<4>(reinterpret_cast<const uint32_t*>(source));
                    }
                }
            }
        }
    }

    __device__ __forceinline__ void multiply() {
#pragma unroll
        for (int l = 0; l < kLoads; ++l) {
#pragma unroll
            for (int q = 0; q < kPart / 4; ++q) {
#pragma unroll
                for (int m = 0; m < kOutputTiles; ++m) {
                    const uint32_t a[4] = {
                        Weights::pair(parts[m][0][l], 2 * q), Weights::pair(parts[m][1][l], 2 * q),
                        Weights::pair(parts[m][0][l], 2 * q + 1), Weights::pair(parts[m][1][l], 2 * q + 1)};
#pragma unroll
                    for (int n = 0; n < kRowTiles; ++n) {
                        const Inputs& x = inputs[n][l][q / 2];
                        mma_16x8x16<T>(sums[m][n], a, x.values[q % 2 * 2], x.values[q % 2 * 2 + 1]);
                    }
                }
            }
        }
    }

    __device__ __forceinline__ void keep(ProductShared<kRowTiles>& shared) const {
        const int warp = threadIdx.x / kWarp;
#pragma unroll
        for (int m = 0; m < kOutputTiles; ++m) {
#pragma unroll
            for (int n = 0; n < kRowTiles; ++n) {
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    shared.sums[warp][n * kRowsOfTile + 2 * t + i % 2][m * kTileOutputs + g + 8 * (i / 2)] = sums[m][n][i];
                }
            }
        }
    }
};

// Adds up the turns `begin` to `end` of 64 inputs; the first weights are on their way before the
// launch in front has ended. `rows_of` gives row r of x; it is called after that.
template <typename T, typename Weights, int kRowTiles, typename RowsOf>
__device__ __forceinline__ void multiply_rows(const Weights& weights, const OutputRange& outputs, int begin, int end,
                                              const RowsOf& row_of, ProductShared<kRowTiles>& shared) {
    ProductWarp<T, Weights, kRowTiles> warp;
    warp.begin();
    int step = begin + threadIdx.x / kWarp;
    if (step < end) warp.load_weights(weights, outputs, step);
    wait_for_launch_before();
    const T* rows[kRowTiles];
#pragma unroll
    for (int n = 0; n < kRowTiles; ++n) rows[n] = row_of(n * kRowsOfTile + warp.g);
    while (step < end) {
        warp.load_inputs(rows, weights.num_inputs, step);
        warp.multiply();
        step += kProductWarps;
        if (step < end) warp.load_weights(weights, outputs, step);
    }
    warp.keep(shared);
    __syncthreads();
}

}  // namespace streamcore
