// Attention of sequences with one new token over their cached keys and values, with tensor cores.
//
// A block has one sequence, up to eight query heads of one KV head, and one part of the context;
// its warps take tiles of 16 tokens in turn. Scores are computed transposed, scores[token, head] =
// keys[16, head_dim] query^T[head_dim, 8], and so is the result, sums[dim, head] =
// values^T[head_dim, 16] weights[16, 8]: the query heads are the columns of m16n8k16. No shared
// memory is needed in the loop. The order of summation is free, and so is the order of a product's
// rows, so a lane loads 16 neighbouring bytes and calls them whatever columns or rows its fragment
// has (g = lane / 4, t = lane % 4):
//   keys    lane (g, t) loads dims 32 s + 8 t .. + 7 of tokens g and g + 8; the query's fragment
//           has the same order
//   values  lane (g, t) loads dims 64 h + 8 g .. + 7 of tokens 2 t, 2 t + 1, 2 t + 8, 2 t + 9;
//           byte permutations pair two tokens; row g of product (h, j) is dim 64 h + 8 g + j, row
//           g + 8 is dim 64 h + 8 g + j + 4
// Head sizes between are filled up with zeros, which are not loaded. Weights leave the first
// product as [token, head] and enter the second as [head, token]: movmatrix. A head's running
// maximum is the same in the whole warp; its sum is kept per lane until the end (Milakov and
// Gimelshein 2018; Dao et al. 2022).
// Block size: four warps, each with 12 to 24 loads of 16 bytes a lane under way; more warps would
// share fewer tokens.
//
// A context is split so that few sequences fill the device. Parts have at least kLeastPart tokens,
// so a short context has fewer than the launch allows; the block that finishes last adds them up
// (one launch, no waiting).
#pragma once

#include "attention.cuh"

namespace streamcore {

constexpr int kDecodeWarps = 4, kDecodeThreads = 32 * kDecodeWarps, kDecodeTokens = 16, kDecodeHeads = 8;
constexpr int kLeastPart = 4 * kDecodeWarps * kDecodeTokens;

// The tokens of a block, and how many blocks share the context.
struct Part {
    int begin, end, count;

    __device__ __forceinline__ Part(const streamcore_paged_attention& args, int context_len, int split) {
        const int window = static_cast<int>(args.window), splits = static_cast<int>(args.num_splits);
        const int first = window > 0 && context_len > window ? context_len - window : 0;
        constexpr int kRound = kDecodeWarps * kDecodeTokens;
        int size = ((context_len - first + splits - 1) / splits + kRound - 1) / kRound * kRound;
        size = size < kLeastPart ? kLeastPart : size;
        count = context_len > first ? (context_len - first + size - 1) / size : 1;
        begin = first + split * size;
        end = begin + size < context_len ? begin + size : context_len;
    }
};

template <int kHeadDim>
struct alignas(16) DecodeShared {
    // Rows of different heads begin in different banks.
    static constexpr int kRow = kHeadDim + 4;
    float most[kDecodeWarps][kDecodeHeads], total[kDecodeWarps][kDecodeHeads];
    float sum[kDecodeWarps][kDecodeHeads][kRow];
    bool is_last;
};

// The state of a warp: what its tiles of tokens have added up to.
template <typename T, int kHeadDim>
struct DecodeWarp {
    static constexpr int kKeyLoads = (kHeadDim + 31) / 32, kHalves = (kHeadDim + 63) / 64;
    uint32_t query[kKeyLoads][4];
    float sums[kHalves][4][4], most[2], total[2];
    int lane, g, t;

    static __device__ __forceinline__ Vector<uint32_t, 4> load_if(bool is_inside, const T* source) {
        Vector<uint32_t, 4> loaded{};
        if (is_inside) loaded = load<4>(reinterpret_cast<const uint32_t*>(source));
        return loaded;
    }
    // Whether this lane's part of a key or a value is in the head; always, if the size is a
    // multiple of 32 or 64.
    __device__ __forceinline__ bool has_key(int s) const { return kHeadDim % 32 == 0 || 32 * s + 8 * t < kHeadDim; }
    __device__ __forceinline__ bool has_value(int h) const { return kHeadDim % 64 == 0 || 64 * h + 8 * g < kHeadDim; }

    __device__ __forceinline__ void begin(const T* heads, int num_heads) {
#pragma unroll
        for (int s = 0; s < kKeyLoads; ++s) {
            const auto loaded = load_if(g < num_heads && has_key(s), heads + g * kHeadDim + 32 * s + 8 * t);
#pragma unroll
            for (int i = 0; i < 4; ++i) query[s][i] = loaded.values[i];
        }
#pragma unroll
        for (int h = 0; h < kHalves; ++h) {
#pragma unroll
            for (int i = 0; i < 16; ++i) sums[h][i / 4][i % 4] = 0.0f;
        }
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            most[j] = kLowest;
            total[j] = 0.0f;
        }
    }

    // Turns the products of tokens `first` + g and + 8 into weights, and the sums to the new
    // maximum.
    __device__ __forceinline__ void weigh(float (&scores)[4], int first, int end, const ScoreRule& rule) {
        if (rule.has_cap()) {
#pragma unroll
            for (int i = 0; i < 4; ++i) scores[i] = rule.bent(scores[i]);
        }
        float shrink[2];
#pragma unroll
        for (int j = 0; j < 2; ++j) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                if (first + g + 8 * i >= end) scores[2 * i + j] = -INFINITY;
            }
            float greatest = fmaxf(scores[j], scores[2 + j]);
#pragma unroll
            for (int distance = 4; distance < 32; distance *= 2) {
                greatest = fmaxf(greatest, __shfl_xor_sync(0xffffffffu, greatest, distance));
            }
            greatest = fmaxf(most[j], greatest * rule.factor);
            shrink[j] = exp2_fast(most[j] - greatest);
            most[j] = greatest;
#pragma unroll
            for (int i = 0; i < 2; ++i) scores[2 * i + j] = rule.weight(scores[2 * i + j], greatest);
            total[j] = total[j] * shrink[j] + scores[j] + scores[2 + j];
        }
#pragma unroll
        for (int h = 0; h < kHalves; ++h) {
#pragma unroll
            for (int i = 0; i < 16; ++i) sums[h][i / 4][i % 4] *= shrink[i % 2];
        }
    }

    // A tile of tokens from `first` on; a token beyond the end reads the last one, and is masked.
    __device__ __forceinline__ void add_tile(const T* keys, const T* values, int64_t token_stride, const Slots& slots,
                                             int first, int end, const ScoreRule& rule) {
        Vector<uint32_t, 4> key[2][kKeyLoads], value[4][kHalves];
        const auto row_of = [&](int token) { return slots.of(token < end ? token : end - 1) * token_stride; };
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const T* row = keys + row_of(first + g + 8 * i);
#pragma unroll
            for (int s = 0; s < kKeyLoads; ++s) key[i][s] = load_if(has_key(s), row + 32 * s);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const T* row = values + row_of(first + 2 * t + i % 2 + 8 * (i / 2));
#pragma unroll
            for (int h = 0; h < kHalves; ++h) value[i][h] = load_if(has_value(h), row + 64 * h);
        }
        float scores[4] = {};
#pragma unroll
        for (int s = 0; s < kKeyLoads; ++s) {
#pragma unroll
            for (int p = 0; p < 2; ++p) {
                const uint32_t a[4] = {key[0][s].values[2 * p], key[1][s].values[2 * p], key[0][s].values[2 * p + 1],
                                       key[1][s].values[2 * p + 1]};
                mma_16x8x16<T>(scores, a, query[s][2 * p], query[s][2 * p + 1]);
            }
        }
        weigh(scores, first, end, rule);
        const uint32_t low = transpose_8x8(pack<T>(scores[0], scores[1])),
                       high = transpose_8x8(pack<T>(scores[2], scores[3]));
#pragma unroll
        for (int h = 0; h < kHalves; ++h) {
#pragma unroll
            for (int r = 0; r < 2; ++r) {  // registers r and r + 2 have dims 2 r, 2 r + 1 and + 4
                uint32_t even[4], odd[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const uint32_t one = value[2 * (i / 2)][h].values[r + 2 * (i % 2)],
                                   two = value[2 * (i / 2) + 1][h].values[r + 2 * (i % 2)];
                    even[i] = low_halves(one, two);
                    odd[i] = high_halves(one, two);
                }
                mma_16x8x16<T>(sums[h][2 * r], even, low, high);
                mma_16x8x16<T>(sums[h][2 * r + 1], odd, low, high);
            }
        }
    }

    // Heads 2 t and 2 t + 1 are this lane's; rows g and g + 8 of product (h, m) are dims.
    __device__ __forceinline__ void keep(DecodeShared<kHeadDim>& shared, int warp) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
#pragma unroll
            for (int distance = 4; distance < 32; distance *= 2) {
                total[j] += __shfl_xor_sync(0xffffffffu, total[j], distance);
            }
            if (g == 0) {
                shared.most[warp][2 * t + j] = most[j];
                shared.total[warp][2 * t + j] = total[j];
            }
#pragma unroll
            for (int h = 0; h < kHalves; ++h) {
                if (!has_value(h)) continue;
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    Vector<float, 4> four;
#pragma unroll
                    for (int m = 0; m < 4; ++m) four.values[m] = sums[h][m][2 * i + j];
                    store<4>(&shared.sum[warp][2 * t + j][64 * h + 8 * g + 4 * i], four);
                }
            }
        }
    }
};

// Adds up what the warps of a block have, and stores the result, or the part of it.
template <typename T, int kHeadDim>
__device__ __forceinline__ void merge_warps(const streamcore_paged_attention& args, const DecodeShared<kHeadDim>& shared,
                                            T* output, int first_row, int first_head, int num_heads, int split,
                                            bool is_whole) {
    for (int i = threadIdx.x; i < num_heads * kHeadDim; i += kDecodeThreads) {
        const int h = i / kHeadDim, d = i % kHeadDim;
        float greatest = kLowest, all = 0.0f, result = 0.0f;
#pragma unroll
        for (int w = 0; w < kDecodeWarps; ++w) greatest = fmaxf(greatest, shared.most[w][h]);
#pragma unroll
        for (int w = 0; w < kDecodeWarps; ++w) {
            const float weight = exp2_fast(shared.most[w][h] - greatest);
            all += weight * shared.total[w][h];
            result += weight * shared.sum[w][h][d];
        }
        if (is_whole) {
            output[i] = narrow<T>(result * share_of(all, greatest, sink_of<T>(args, first_head + h)));
            continue;
        }
        const int64_t at = int64_t{first_row + h} * args.num_splits + split;
        args.partial_output[at * kHeadDim + d] = result;
        if (d == 0) {
            args.partial_stats[2 * at] = greatest;
            args.partial_stats[2 * at + 1] = all;
        }
    }
}

// Adds up the parts of a context.
template <typename T, int kHeadDim>
__device__ __forceinline__ void merge_parts(const streamcore_paged_attention& args, T* output, int first_row,
                                            int first_head, int num_heads, int count) {
    for (int i = threadIdx.x; i < num_heads * kHeadDim; i += kDecodeThreads) {
        const int h = i / kHeadDim, d = i % kHeadDim;
        const int64_t at = int64_t{first_row + h} * args.num_splits;
        const float *stats = args.partial_stats + 2 * at, *partial = args.partial_output + at * kHeadDim + d;
        float greatest = kLowest, all = 0.0f, result = 0.0f;
        for (int s = 0; s < count; ++s) greatest = fmaxf(greatest, stats[2 * s]);
        for (int s = 0; s < count; ++s) {
            const float weight = exp2_fast(stats[2 * s] - greatest);
            all += weight * stats[2 * s + 1];
            result += weight * partial[s * kHeadDim];
        }
        output[i] = narrow<T>(result * share_of(all, greatest, sink_of<T>(args, first_head + h)));
    }
}

template <typename T, int kHeadDim>
__global__ void __launch_bounds__(kDecodeThreads)
    decode_attention_kernel(const streamcore_paged_attention args, const Divisor block_size, const ScoreRule rule) {
    begin_after_launch_before();
    const int split = blockIdx.x, seq = blockIdx.z, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int heads = static_cast<int>(args.num_heads), kv_heads = static_cast<int>(args.num_kv_heads);
    const int group = heads / kv_heads, per_group = (group + kDecodeHeads - 1) / kDecodeHeads;
    const int kv_head = blockIdx.y / per_group, skipped = blockIdx.y % per_group * kDecodeHeads;
    const int first_head = kv_head * group + skipped;
    const int num_heads = group - skipped < kDecodeHeads ? group - skipped : kDecodeHeads;
    const int token = args.query_starts[seq];
    if (args.query_starts[seq + 1] - token != 1) return;
    const Part part(args, args.context_lens[seq], split);
    if (split >= part.count) return;

    const int64_t token_stride = int64_t{kv_heads} * kHeadDim;
    DecodeWarp<T, kHeadDim> state;
    state.lane = lane;
    state.g = lane / 4;
    state.t = lane % 4;
    state.begin(static_cast<const T*>(args.query) + token * args.query_stride + first_head * kHeadDim, num_heads);
    const Slots slots{args.block_tables + args.rows[seq] * args.block_table_stride, block_size};
    const T* keys = static_cast<const T*>(args.key_cache) + kv_head * kHeadDim + 8 * state.t;
    const T* values = static_cast<const T*>(args.value_cache) + kv_head * kHeadDim + 8 * state.g;
    for (int first = part.begin + warp * kDecodeTokens; first < part.end; first += kDecodeWarps * kDecodeTokens) {
        state.add_tile(keys, values, token_stride, slots, first, part.end, rule);
    }

    __shared__ DecodeShared<kHeadDim> shared;
    state.keep(shared, warp);
    __syncthreads();
    T* output = static_cast<T*>(args.output) + (int64_t{token} * heads + first_head) * kHeadDim;
    const int first_row = seq * heads + first_head;
    merge_warps<T, kHeadDim>(args, shared, output, first_row, first_head, num_heads, split, part.count == 1);
    if (part.count == 1) return;

    // Everything that this block has stored is visible before its ticket is.
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        int32_t* ticket = args.tickets + first_row;
        shared.is_last = atomicAdd(ticket, 1) == part.count - 1;
        if (shared.is_last) *ticket = 0;
    }
    __syncthreads();
    if (!shared.is_last) return;
    __threadfence();
    merge_parts<T, kHeadDim>(args, output, first_row, first_head, num_heads, part.count);
}

}  // namespace streamcore
