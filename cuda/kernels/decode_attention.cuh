// Attention of sequences with one new token over their cached keys and values, with tensor cores.
//
// A block has one sequence, up to eight query heads of one KV head, and one part of the context;
// its warps take tiles of 16 tokens in turn. Scores are computed transposed, scores[token, head] =
// keys[16, head_dim] query^T[head_dim, 8], and so is the result, sums[dim, head] =
// values^T[head_dim, 16] weights[16, 8]: the query heads are the columns of m16n8k16. No shared
// memory is needed in the loop. The order of summation is free, and so is the order of a product's
// rows, so a lane loads neighbours and calls them whatever columns or rows its fragment has
// (g = lane / 4, t = lane % 4):
//   keys    lane (g, t) loads dims 4 K s + K t .. + K - 1 of tokens g and g + 8; the query's
//           fragment has the same order
//   values  lane (g, t) loads dims 8 V h + V g .. + V - 1 of tokens 2 t, 2 t + 1, 2 t + 8, 2 t + 9;
//           byte permutations pair two tokens; row g of product (h, j) is dim 8 V h + V g + j, row
//           g + 8 is that V / 2 further
// K and V are what 16 bytes hold, 8 numbers or, of a cache in eight bits, 16 that are widened in
// registers; there V is 8 where the head would leave half of the lanes without values.
// Head sizes between are filled up with zeros, which are not loaded. Weights leave the first
// product as [token, head] and enter the second as [head, token]: movmatrix. A head's running
// maximum is the same in the whole warp; its sum is kept per lane until the end (Milakov and
// Gimelshein 2018; Dao et al. 2022).
// Block size: four warps, each with 8 to 24 loads of 16 bytes a lane under way; more warps would
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
template <typename T, typename C, int kHeadDim>
struct DecodeWarp {
    using Store = Cached<T, C>;
    using Value = typename Store::Values;
    static constexpr int kKeyPart = Store::kPart, kKeyDims = 4 * kKeyPart, kKeyLoads = (kHeadDim + kKeyDims - 1) / kKeyDims;
    static constexpr int kValuePart = kHeadDim % 128 == 0 ? Store::kPart : 8, kValueDims = 8 * kValuePart;
    static constexpr int kValueLoads = (kHeadDim + kValueDims - 1) / kValueDims, kValuePairs = kValuePart / 2;
    uint32_t query[kKeyLoads][kKeyPart / 2];
    float sums[kValueLoads][kValuePairs][4], most[2], total[2];
    int lane, g, t;

    // N numbers, as words.
    template <int N, typename Number>
    static __device__ __forceinline__ auto load_if(bool is_inside, const Number* source) {
        constexpr int kWords = N * sizeof(Number) / 4;
        Vector<uint32_t, kWords> loaded{};
        if (is_inside) loaded = load<kWords>(reinterpret_cast<const uint32_t*>(source));
        return loaded;
    }
    // Whether this lane's part of a key or a value is in the head; always, if no lane's is beyond.
    __device__ __forceinline__ bool has_key(int s) const {
        return kHeadDim % kKeyDims == 0 || kKeyDims * s + kKeyPart * t < kHeadDim;
    }
    __device__ __forceinline__ bool has_value(int h) const {
        return kHeadDim % kValueDims == 0 || kValueDims * h + kValuePart * g < kHeadDim;
    }

    __device__ __forceinline__ void begin(const T* heads, int num_heads) {
#pragma unroll
        for (int s = 0; s < kKeyLoads; ++s) {
#pragma unroll
            for (int v = 0; v < kKeyPart; v += 8) {
                const T* source = heads + g * kHeadDim + kKeyDims * s + kKeyPart * t + v;
                const auto loaded = load_if<8>(g < num_heads && has_key(s), source);
#pragma unroll
                for (int i = 0; i < 4; ++i) query[s][v / 2 + i] = loaded.values[i];
            }
        }
#pragma unroll
        for (int h = 0; h < kValueLoads; ++h) {
#pragma unroll
            for (int i = 0; i < 4 * kValuePairs; ++i) sums[h][i / 4][i % 4] = 0.0f;
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
        for (int h = 0; h < kValueLoads; ++h) {
#pragma unroll
            for (int i = 0; i < 4 * kValuePairs; ++i) sums[h][i / 4][i % 4] *= shrink[i % 2];
        }
    }

    // A tile of tokens from `first` on; a token beyond the end reads the last one, and is masked.
    __device__ __forceinline__ void add_tile(const C* keys, const C* values, int64_t token_stride, const Slots& slots,
                                             int first, int end, const ScoreRule& rule) {
        Vector<uint32_t, 4> key[2][kKeyLoads];
        Vector<uint32_t, kValuePart * sizeof(C) / 4> value[4][kValueLoads];
        const auto row_of = [&](int token) { return slots.of(token < end ? token : end - 1) * token_stride; };
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const C* row = keys + row_of(first + g + 8 * i);
#pragma unroll
            for (int s = 0; s < kKeyLoads; ++s) key[i][s] = load_if<kKeyPart>(has_key(s), row + kKeyDims * s);
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const C* row = values + row_of(first + 2 * t + i % 2 + 8 * (i / 2));
#pragma unroll
            for (int h = 0; h < kValueLoads; ++h) {
                value[i][h] = load_if<kValuePart>(has_value(h), row + kValueDims * h);
            }
        }
        float scores[4] = {};
#pragma unroll
        for (int s = 0; s < kKeyLoads; ++s) {
#pragma unroll
            for (int p = 0; p < kKeyPart / 4; ++p) {
                const uint32_t a[4] = {Store::pair(key[0][s], 2 * p), Store::pair(key[1][s], 2 * p),
                                       Store::pair(key[0][s], 2 * p + 1), Store::pair(key[1][s], 2 * p + 1)};
                mma_16x8x16<T>(scores, a, query[s][2 * p], query[s][2 * p + 1]);
            }
        }
        weigh(scores, first, end, rule);
        const uint32_t low = transpose_8x8(pack<Value>(scores[0], scores[1])),
                       high = transpose_8x8(pack<Value>(scores[2], scores[3]));
#pragma unroll
        for (int h = 0; h < kValueLoads; ++h) {
            // Pair r has dims 2 r, 2 r + 1; the row eight further has that of half the pairs
            // further.
#pragma unroll
            for (int r = 0; r < kValuePairs / 2; ++r) {
                uint32_t even[4], odd[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    Store::across(even[i], odd[i], value[2 * (i / 2)][h], value[2 * (i / 2) + 1][h],
                                  r + kValuePairs / 2 * (i % 2));
                }
                mma_16x8x16<Value>(sums[h][2 * r], even, low, high);
                mma_16x8x16<Value>(sums[h][2 * r + 1], odd, low, high);
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
            for (int h = 0; h < kValueLoads; ++h) {
                if (!has_value(h)) continue;
#pragma unroll
                for (int d = 0; d < kValuePart; d += 4) {
                    Vector<float, 4> four;
#pragma unroll
                    for (int m = 0; m < 4; ++m) four.values[m] = sums[h][(d + m) % kValuePairs][2 * (d / kValuePairs) + j];
                    store<4>(&shared.sum[warp][2 * t + j][kValueDims * h + kValuePart * g + d], four);
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

template <typename T, typename C, int kHeadDim>
__global__ void __launch_bounds__(kDecodeThreads, kHeadDim > 128 ? 2 : 1)
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
    using Warp = DecodeWarp<T, C, kHeadDim>;
    Warp state;
    state.lane = lane;
    state.g = lane / 4;
    state.t = lane % 4;
    state.begin(static_cast<const T*>(args.query) + token * args.query_stride + first_head * kHeadDim, num_heads);
    const Slots slots{args.block_tables + args.rows[seq] * args.block_table_stride, block_size};
    const C* keys = static_cast<const C*>(args.key_cache) + kv_head * kHeadDim + Warp::kKeyPart * state.t;
    const C* values = static_cast<const C*>(args.value_cache) + kv_head * kHeadDim + Warp::kValuePart * state.g;
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
