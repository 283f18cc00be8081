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
//   x         lane (g, t) loads the same inputs of row 8 n + g
// Tensor cores serve one row as well: their products cost a twentieth of the time that the weights
// take, and multiplying by ordinary instructions costs more of it than they do. Every number of
// rows adds up in one order, so that a row gives the same bits alone and with any 31 others.
//
// Block size: four warps, which take turns at 64 inputs, in fp8 128, and add up at the end. A warp
// has 16 loads of 16 bytes a lane under way, 8 KB; two blocks on a multiprocessor have twice what
// hides the latency of memory. x is read from the cache by one warp of each block: rows / 64 of the
// bytes of the weights.
#pragma once

#include "dtype.cuh"
#include "e4m3.cuh"
#include "launch_order.cuh"
#include "reduce.cuh"
#include "streamcore_kernels.h"

namespace streamcore {

constexpr int kProductWarps = 4, kProductThreads = kWarp * kProductWarps;
constexpr int kOutputTiles = 4, kTileOutputs = 16, kOutputs = kOutputTiles * kTileOutputs, kRowsOfTile = 8;
constexpr int kMaxRows = 32;
// Rows that a block multiplies. Sums of 32 rows and scales leave no registers for weights in fp8.
template <typename Weights>
constexpr int kBlockRows = Weights::kHasScales ? 16 : kMaxRows;
// Inputs that share a scale, where not all of an output do.
constexpr int kFp8Group = 128;

// The same place of row `output`, by one instruction: the compiler would multiply before the loop,
// keep two registers of each product, and add in two instructions.
__device__ __forceinline__ const void* weight_at(const void* first, int output, int row_bytes) {
#if STREAMCORE_PTX
    const void* place;
    asm("mad.wide.u32 %0, %1, %2, %3;" : "=l"(place) : "r"(output), "r"(row_bytes), "l"(first));
    return place;
#else
    return static_cast<const char*>(first) + int64_t{output} * row_bytes;
#endif
}

// Weights as they are multiplied. Another way to store them has another `Part`, what a lane loads
// at once, with more inputs, and widens what it has of four of them in `pair`; where it has scales,
// sums are multiplied with those of their outputs.
template <typename T>
struct PlainWeights {
    static constexpr int kInputsOfPart = 8;
    static constexpr bool kHasScales = false;
    using Part = Vector<uint32_t, 4>;
    const T* weight;  // [num_outputs, num_inputs]
    int num_inputs;

    static __device__ __forceinline__ PlainWeights of(const void* weight, int, int num_inputs, int) {
        return {static_cast<const T*>(weight), num_inputs};
    }
    // The part from an input on of one output.
    __device__ __forceinline__ Part load(int output, int input) const {
        return load_once(weight_at(weight + input, output, num_inputs * static_cast<int>(sizeof(T))));
    }
    // The two neighbours of number `i`, of the type of x.
    static __device__ __forceinline__ uint32_t pair(const Part& part, int i) { return part.values[i]; }
};

// Weights in fp8 as they are published. Codes become numbers of the type of x, exactly, and sums
// meet the scale in float32, so that no weight is rounded.
template <typename T>
struct Fp8Weights {
    static constexpr int kInputsOfPart = 16;
    static constexpr bool kHasScales = true;
    using Part = Vector<uint32_t, 4>;
    const unsigned char* weight;  // [num_outputs, num_inputs]
    int num_inputs;
    const float* scales;  // [num_groups, num_outputs]
    int stride;           // from a turn's scales to the next one's

    // One scale for all inputs of an output, or one for each turn of `kFp8Group` inputs.
    static __device__ __forceinline__ Fp8Weights of(const void* weight, int num_outputs, int num_inputs,
                                                    int num_groups) {
        const auto* codes = static_cast<const unsigned char*>(weight);
        const auto* scales = reinterpret_cast<const float*>(codes + int64_t{num_outputs} * num_inputs);
        return {codes, num_inputs, scales, num_groups > 1 ? num_outputs : 0};
    }
    __device__ __forceinline__ Part load(int output, int input) const {
        return load_once(weight_at(weight + input, output, num_inputs));
    }
    static __device__ __forceinline__ uint32_t pair(const Part& part, int i) {
        return widen_pair_of<T>(part, i);
    }
    __device__ __forceinline__ float scale(int output, int step) const { return scales[step * stride + output]; }
};

// The same number, of which the compiler does not know that it is: what follows from it is worked
// out where it is needed, and takes no registers elsewhere.
__device__ __forceinline__ int anew(int number) {
#if STREAMCORE_PTX
    asm volatile("" : "+r"(number));
#endif
    return number;
}

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

// Blocks on a multiprocessor: as many as the registers of the sums leave room for; fp8 takes some
// for scales.
template <typename Weights, int kRowTiles>
constexpr int kProductBlocks = Weights::kHasScales || kRowTiles == 4 ? 2 : kRowTiles == 1 ? 4 : 3;

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
    float scales[kOutputTiles][2];
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

    // What a lane has of output tile `m` in a load of a turn; with the last one the tile's scales.
    __device__ __forceinline__ void load_tile(const Weights& weights, const OutputRange& outputs, int step, int m,
                                              int l) {
        // What lies beyond the last input meets zeros.
        const int at = input(step, l) < weights.num_inputs ? input(step, l) : weights.num_inputs - kPart;
        // Scales leave no registers for the numbers of eight outputs.
        const int row = Weights::kHasScales ? anew(g) : g;
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            const int output = outputs.of(m, row + 8 * j);
            parts[m][j][l] = weights.load(output, at);
            if constexpr (Weights::kHasScales) {
                static_assert(kStep == kFp8Group, "a turn has one scale");
                if (l == kLoads - 1) scales[m][j] = weights.scale(output, step);
            }
        }
    }

    __device__ __forceinline__ void load_weights(const Weights& weights, const OutputRange& outputs, int step) {
#pragma unroll
        for (int i = 0; i < kOutputTiles * kLoads; ++i) load_tile(weights, outputs, step, i / kLoads, i % kLoads);
    }

    // `rows[n]` is row 8 n + g of x; one beyond the last is the last, and its sums are not used.
    __device__ __forceinline__ void load_inputs(const T* const (&rows)[kRowTiles], int num_inputs, int step, int l) {
#pragma unroll
        for (int i = 0; i < kRowTiles * kVectors; ++i) {
            Inputs& loaded = inputs[i / kVectors][l][i % kVectors];
            loaded = {};
            if (input(step, l) >= num_inputs) continue;
            const T* source = rows[i / kVectors] + input(step, l) + i % kVectors * kMaxVector<T>;
            loaded = streamcore::load<4>(reinterpret_cast<const uint32_t*>(source));
        }
    }

    // Adds the products of a load of a turn with output tile `m`.
    __device__ __forceinline__ void add_products(float (&into)[kRowTiles][4], int m, int l) const {
#pragma unroll
        for (int q = 0; q < kPart / 4; ++q) {
            const uint32_t a[4] = {Weights::pair(parts[m][0][l], 2 * q), Weights::pair(parts[m][1][l], 2 * q),
                                   Weights::pair(parts[m][0][l], 2 * q + 1), Weights::pair(parts[m][1][l], 2 * q + 1)};
#pragma unroll
            for (int n = 0; n < kRowTiles; ++n) {
                const Inputs& x = inputs[n][l][q / 2];
                mma_16x8x16<T>(into[n], a, x.values[q % 2 * 2], x.values[q % 2 * 2 + 1]);
            }
        }
    }

    __device__ __forceinline__ void multiply_tile(int m, int l) {
        if constexpr (!Weights::kHasScales) {
            add_products(sums[m], m, l);
        } else {
            float unscaled[kRowTiles][4] = {};
            add_products(unscaled, m, l);
#pragma unroll
            for (int i = 0; i < 4 * kRowTiles; ++i) {
                float& sum = sums[m][i / 4][i % 4];
                sum = fmaf(scales[m][i % 4 / 2], unscaled[i / 4][i % 4], sum);
            }
        }
    }

    // A turn. The weights of `next` come in where those of this one have been multiplied, so that
    // as many are under way all the time.
    __device__ __forceinline__ void take_turn(const Weights& weights, const OutputRange& outputs,
                                              const T* const (&rows)[kRowTiles], int step, int next, int end) {
#pragma unroll
        for (int l = 0; l < kLoads; ++l) {
            load_inputs(rows, weights.num_inputs, step, l);
#pragma unroll
            for (int m = 0; m < kOutputTiles; ++m) {
                multiply_tile(m, l);
                if (next < end) load_tile(weights, outputs, next, m, l);
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

// Adds up the turns `begin` to `end`, of 64 or 128 inputs; the first weights are on their way
// before the launch in front has ended. `rows_of` gives row r of x; it is called after that.
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
    for (; step < end; step += kProductWarps) {
        warp.take_turn(weights, outputs, rows, step, step + kProductWarps, end);
    }
    warp.keep(shared);
    __syncthreads();
}

}  // namespace streamcore
