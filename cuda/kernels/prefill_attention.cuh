// Causal attention of the new tokens of sequences over their cached keys and values, with tensor
// cores.
//
// Query token i of a sequence stands at position p = context_len - query_len + i and sees the keys
// 0..p, or the last `window` of them.
//
// Layout: a block has kQueries query tokens of one head of one sequence, 16 for each warp; keys and
// values come in tiles of kKeys tokens through two buffers, the next one while this one is computed
// with (Dao 2023). Scores, weights and sums stay in registers: the accumulator of scores is,
// packed, the left operand of the second product. In shared memory 16-byte chunk c of row r lies at
// chunk c ^ (r % 8), so that the eight rows of an 8x8 matrix lie in different banks; rows are a
// multiple of 128 bytes long. Heads of 256 take 16 keys at a time and read the queries anew for
// each tile: their sums leave no registers to keep them in.
// Blocks: one for every kQueries tokens begun by a sequence; the last tokens of a sequence, which
// see most keys, first. Heads are next to each other in the grid, so that those of a group find
// each other's keys in the L2 cache.
#pragma once

#include "attention.cuh"

namespace streamcore {

constexpr int kPrefillWarps = 4, kQueries = 16 * kPrefillWarps, kPrefillThreads = 32 * kPrefillWarps;

// How a head size is cut.
template <int kHeadDim>
struct PrefillShape {
    static constexpr int kKeys = kHeadDim > 128 ? 16 : 64;
    static constexpr bool kKeepsQuery = kHeadDim <= 128;
    static constexpr int kRowBytes = (kHeadDim + 63) / 64 * 128;
    static constexpr uint32_t kTileBytes = kKeys * kRowBytes;
    static constexpr int kSharedBytes = kQueries * kRowBytes + 4 * kTileBytes;
};

// Where chunk c of row r of a tile is, in bytes from its start. Rows that are eight apart differ by
// a constant.
template <int kHeadDim>
__device__ __forceinline__ uint32_t chunk_of(int row, int chunk) {
    return row * PrefillShape<kHeadDim>::kRowBytes + ((chunk ^ row % 8) << 4);
}

// Finds a block's sequence, and the first of its tokens. Sequence s owns the blocks from
// query_starts[s] / kQueries + s on: at least as many as its tokens need. All lanes of a warp look
// together.
struct QueryTile {
    int seq, start, len, first;

    __device__ __forceinline__ QueryTile(const streamcore_paged_attention& args, int block) {
        const int lane = threadIdx.x % 32, num_seqs = static_cast<int>(args.num_seqs);
        int before = 0;
        for (int base = 0; base < num_seqs; base += 32) {
            const int s = base + lane;
            const bool begins = s < num_seqs && args.query_starts[s] / kQueries + s <= block;
            before += __popc(__ballot_sync(0xffffffffu, begins));
        }
        seq = before - 1;
        start = args.query_starts[seq];
        len = args.query_starts[seq + 1] - start;
        const int number = block - (start / kQueries + seq), count = (len + kQueries - 1) / kQueries;
        first = number < count ? (count - 1 - number) * kQueries : len;
    }
};

// The products and the softmax of one warp's 16 query tokens.
template <typename T, int kHeadDim>
struct PrefillWarp {
    using Shape = PrefillShape<kHeadDim>;
    static constexpr int kSteps = kHeadDim / 16, kScoreTiles = Shape::kKeys / 8, kSumTiles = kHeadDim / 8;
    uint32_t queries;  // the address of the block's queries in shared memory
    uint32_t query[Shape::kKeepsQuery ? kSteps : 1][4];
    float sums[kSumTiles][4], most[2], total[2];
    int warp, g, t, matrix, row;

    __device__ __forceinline__ explicit PrefillWarp(uint32_t shared) : queries(shared), sums{} {
        const int lane = threadIdx.x % 32;
        warp = threadIdx.x / 32;
        g = lane / 4;
        t = lane % 4;
        matrix = lane / 8;
        row = lane % 8;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            most[i] = kLowest;
            total[i] = 0.0f;
        }
    }

    __device__ __forceinline__ void load_query(uint32_t (&fragment)[4], int k) const {
        ldmatrix_x4(fragment, queries + chunk_of<kHeadDim>(warp * 16 + matrix % 2 * 8 + row, 2 * k + matrix / 2));
    }

    __device__ __forceinline__ void keep_query() {
        if constexpr (Shape::kKeepsQuery) {
#pragma unroll
            for (int k = 0; k < kSteps; ++k) load_query(query[k], k);
        }
    }

    __device__ __forceinline__ void multiply_keys(float (&scores)[kScoreTiles][4], uint32_t tile) {
#pragma unroll
        for (int k = 0; k < kSteps; ++k) {
            constexpr int kKept = Shape::kKeepsQuery ? 1 : 0;
            uint32_t(&fragment)[4] = query[k * kKept];
            if constexpr (!Shape::kKeepsQuery) load_query(fragment, k);
#pragma unroll
            for (int n = 0; n < kScoreTiles; n += 2) {
                uint32_t key[4];
                ldmatrix_x4(key, tile + chunk_of<kHeadDim>(n * 8 + matrix / 2 * 8 + row, 2 * k + matrix % 2));
                mma_16x8x16<T>(scores[n], fragment, key[0], key[1]);
                mma_16x8x16<T>(scores[n + 1], fragment, key[2], key[3]);
            }
        }
    }

    // Hides the keys that a row does not see; row g + 8 i of the warp stands at `position` + 8 i.
    __device__ __forceinline__ void mask(float (&scores)[kScoreTiles][4], int first_key, int position, int window) {
#pragma unroll
        for (int n = 0; n < kScoreTiles; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                // Later keys are below 0, and in unsigned numbers beyond every window.
                const int distance = position + 8 * (i / 2) - (first_key + n * 8 + 2 * t + i % 2);
                if (static_cast<unsigned>(distance) >= static_cast<unsigned>(window)) scores[n][i] = -INFINITY;
            }
        }
    }

    __device__ __forceinline__ void bend(float (&scores)[kScoreTiles][4], const ScoreRule& rule) {
#pragma unroll
        for (int n = 0; n < kScoreTiles; ++n) {
#pragma unroll
            for (int i = 0; i < 4; ++i) scores[n][i] = rule.bent(scores[n][i]);
        }
    }

    // Turns scores into weights, and the sums to the new maximum.
    __device__ __forceinline__ void weigh(float (&scores)[kScoreTiles][4], const ScoreRule& rule) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            float greatest = -INFINITY;
#pragma unroll
            for (int n = 0; n < kScoreTiles; ++n) {
#pragma unroll
                for (int j = 0; j < 2; ++j) greatest = fmaxf(greatest, scores[n][2 * i + j]);
            }
            greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, 1));
            greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, 2));
            greatest = fmaxf(most[i], greatest * rule.factor);
            const float shrink = exp2_fast(most[i] - greatest);
            most[i] = greatest;
            total[i] *= shrink;
#pragma unroll
            for (int n = 0; n < kScoreTiles; ++n) {
#pragma unroll
                for (int j = 0; j < 2; ++j) {
                    float& score = scores[n][2 * i + j];
                    score = rule.weight(score, greatest);
                    total[i] += score;
                }
            }
#pragma unroll
            for (int n = 0; n < kSumTiles; ++n) {
                sums[n][2 * i] *= shrink;
                sums[n][2 * i + 1] *= shrink;
            }
        }
    }

    __device__ __forceinline__ void multiply_values(const float (&scores)[kScoreTiles][4], uint32_t tile) {
#pragma unroll
        for (int k = 0; k < Shape::kKeys / 16; ++k) {
            const uint32_t weights[4] = {
                pack<T>(scores[2 * k][0], scores[2 * k][1]), pack<T>(scores[2 * k][2], scores[2 * k][3]),
                pack<T>(scores[2 * k + 1][0], scores[2 * k + 1][1]),
                pack<T>(scores[2 * k + 1][2], scores[2 * k + 1][3])};
#pragma unroll
            for (int n = 0; n < kSumTiles; n += 2) {
                uint32_t value[4];
                ldmatrix_x4_transposed(value,
                                       tile + chunk_of<kHeadDim>(k * 16 + matrix % 2 * 8 + row, n + matrix / 2));
                mma_16x8x16<T>(sums[n], weights, value[0], value[1]);
                mma_16x8x16<T>(sums[n + 1], weights, value[2], value[3]);
            }
        }
    }

    // By way of the warp's own rows of the queries, so that a row is stored 16 bytes a lane.
    __device__ __forceinline__ void store_rows(T* output, int64_t token_stride, int num_rows, float sink) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            total[i] += __shfl_xor_sync(0xffffffffu, total[i], 1);
            total[i] += __shfl_xor_sync(0xffffffffu, total[i], 2);
            const float share = share_of(total[i], most[i], sink);
#pragma unroll
            for (int n = 0; n < kSumTiles; ++n) {
                const uint32_t place = queries + chunk_of<kHeadDim>(warp * 16 + g + 8 * i, n) + 4 * t;
                *static_cast<uint32_t*>(shared_pointer(place)) =
                    pack<T>(sums[n][2 * i] * share, sums[n][2 * i + 1] * share);
            }
        }
        __syncwarp();
        constexpr int kChunks = kHeadDim / 8;
#pragma unroll
        for (int n = 0; n < 16 * kChunks / 32; ++n) {
            const int i = n * 32 + threadIdx.x % 32, stored = warp * 16 + i / kChunks;
            if (stored >= num_rows) continue;
            const uint32_t place = queries + chunk_of<kHeadDim>(stored, i % kChunks);
            store<8>(output + stored * token_stride + i % kChunks * 8,
                     load<8>(static_cast<const T*>(shared_pointer(place))));
        }
    }
};

// Copies rows to shared memory, a chunk of 16 bytes for each thread at a time.
template <typename T, int kHeadDim, int kRows, typename Place>
__device__ __forceinline__ void copy_rows(uint32_t target, const Place& place) {
    constexpr int kChunks = kHeadDim / 8, kTotal = kRows * kChunks;
    if constexpr (kPrefillThreads % kChunks == 0) {
        // A thread keeps its chunk, and where that lies in a row.
        constexpr int kStep = kPrefillThreads / kChunks;
        const int row = threadIdx.x / kChunks, chunk = threadIdx.x % kChunks;
        // The sums of heads of 256 leave few registers for addresses.
#pragma unroll(kHeadDim > 128 ? 1 : kRows / kStep)
        for (int n = 0; n < kRows / kStep; ++n) {
            place(target + chunk_of<kHeadDim>(row + n * kStep, chunk), row + n * kStep, chunk * 8);
        }
    } else {
#pragma unroll
        for (int n = 0; n < (kTotal + kPrefillThreads - 1) / kPrefillThreads; ++n) {
            const int i = n * kPrefillThreads + threadIdx.x;
            if (kTotal % kPrefillThreads != 0 && i >= kTotal) break;
            place(target + chunk_of<kHeadDim>(i / kChunks, i % kChunks), i / kChunks, i % kChunks * 8);
        }
    }
}

template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kPrefillThreads, 2)
    prefill_attention_kernel(const streamcore_paged_attention args, const Divisor block_size, const ScoreRule rule) {
    begin_after_launch_before();
    using Shape = PrefillShape<kHeadDim>;
    constexpr int kKeys = Shape::kKeys;
    const QueryTile tile(args, blockIdx.y);
    // Sequences with one query token are the decode kernel's.
    if (tile.first >= tile.len || tile.len == 1) return;
    const int head = blockIdx.x, heads = static_cast<int>(args.num_heads), kv_heads = static_cast<int>(args.num_kv_heads);
    const int kv_head = head / (heads / kv_heads), context_len = args.context_lens[tile.seq];
    const int before = context_len - tile.len;
    const int window = args.window > 0 ? static_cast<int>(args.window) : context_len;
    const int num_rows = tile.len - tile.first < kQueries ? tile.len - tile.first : kQueries;

    const uint32_t queries = dynamic_shared(), keys = queries + kQueries * Shape::kRowBytes;
    const Slots slots{args.block_tables + args.rows[tile.seq] * args.block_table_stride, block_size};
    const int64_t token_stride = int64_t{kv_heads} * kHeadDim;
    const T* key_cache = static_cast<const T*>(args.key_cache) + kv_head * kHeadDim;
    const T* value_cache = static_cast<const T*>(args.value_cache) + kv_head * kHeadDim;
    const auto copy_tile = [&](int number, int buffer) {
        const uint32_t key_tile = keys + buffer * Shape::kTileBytes;
        copy_rows<T, kHeadDim, kKeys>(key_tile, [&](uint32_t place, int row, int dim) {
            const int token = number * kKeys + row;
            const bool is_valid = token < context_len;
            const int64_t offset = is_valid ? slots.of(token) * token_stride + dim : 0;
            cp_async_16(place, key_cache + offset, is_valid);
            cp_async_16(place + 2 * Shape::kTileBytes, value_cache + offset, is_valid);
        });
        cp_async_commit();
    };

    const T* query = static_cast<const T*>(args.query) + (tile.start + tile.first) * args.query_stride + head * kHeadDim;
    copy_rows<T, kHeadDim, kQueries>(queries, [&](uint32_t place, int row, int dim) {
        cp_async_16(place, query + (row < num_rows ? row : 0) * args.query_stride + dim, row < num_rows);
    });
    const int first_position = before + tile.first;
    const int first_seen = first_position + 1 - window, first_tile = first_seen > 0 ? first_seen / kKeys : 0;
    const int end_tile = (first_position + num_rows + kKeys - 1) / kKeys;
    copy_tile(first_tile, 0);

    PrefillWarp<T, kHeadDim> state(queries);
    const int position = first_position + state.warp * 16 + state.g;
    for (int number = first_tile; number < end_tile; ++number) {
        const int buffer = (number - first_tile) % 2;
        if (number + 1 < end_tile) {
            copy_tile(number + 1, 1 - buffer);
            cp_async_wait<1>();
        } else {
            cp_async_wait<0>();
        }
        __syncthreads();
        const uint32_t key_tile = keys + buffer * Shape::kTileBytes;
        if (number == first_tile) state.keep_query();
        float scores[PrefillWarp<T, kHeadDim>::kScoreTiles][4] = {};
        state.multiply_keys(scores, key_tile);
        if (rule.has_cap()) state.bend(scores, rule);
        // The first row of the warp sees the fewest late keys, its last row the fewest early ones.
        const int warp_position = first_position + state.warp * 16;
        if ((number + 1) * kKeys > warp_position + 1 || number * kKeys <= warp_position + 15 - window) {
            state.mask(scores, number * kKeys, position, window);
        }
        state.weigh(scores, rule);
        state.multiply_values(scores, key_tile + 2 * Shape::kTileBytes);
        // The next copy goes where others may still read.
        __syncthreads();
    }
    T* output = static_cast<T*>(args.output) + (int64_t{tile.start + tile.first} * heads + head) * kHeadDim;
    state.store_rows(output, int64_t{heads} * kHeadDim, num_rows, sink_of<T>(args, head));
}

}  // namespace streamcore
