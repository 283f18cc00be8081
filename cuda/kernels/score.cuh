// The log-probabilities of one token of each row of logits, and of the likeliest ones.
//   logprob(t) = x[t] - max(x) - log(sum exp(x - max(x))), at least `least`
// The likeliest are ordered by logit, equal ones by id.
//
// Shapes: logits [*, vocab_size], float, rows contiguous at any stride.
// Layout: one block for each scored row; a warp has a contiguous part of the vocabulary. The first
// pass over the row finds the maximum, the sum, and the greatest logit of each thread. The n-th of
// those is at most the n-th of the row, so that a second pass notes few logits from it on, among
// which each finds its own place by counting. Where equal logits are too many to note, the border
// is found digit by digit instead.
// What a row gets depends on that row alone.
// Block size: 512 threads, as in sampling.
#pragma once

#include <stdint.h>

#include "launch_order.cuh"
#include "order.cuh"
#include "select.cuh"
#include "streamcore_kernels.h"
#include "tensor_core.cuh"
#include "vector.cuh"

namespace streamcore {

constexpr int kScoreThreads = 512, kScoreWarps = kScoreThreads / 32, kLikely = 1024;
constexpr int kMaxTop = 64;  // fewer than threads
constexpr float kLog2E = 1.4426950408889634f;

struct ScoreShared {
    Bins bins;
    uint32_t keys[kLikely];
    int tokens[kLikely];
    unsigned num_likely;
    float greatest[kScoreWarps];
    float sums[kScoreWarps];
};

// Its order: that of the float, with one zero.
__device__ __forceinline__ uint32_t score_key(float logit) { return ordered_bits(logit + 0.0f); }

struct ScoreRow {
    const float* logits;
    int vocab;

    // Calls `visit` with each logit of the thread's part and its token.
    template <int N, typename Visit>
    __device__ __forceinline__ void each(const Visit& visit) const {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        const int part = ((vocab + kScoreWarps - 1) / kScoreWarps + 127) / 128 * 128;
        const int begin = warp * part, end = begin + part < vocab ? begin + part : vocab;
        for (int first = begin + lane * N; first < end; first += 32 * N) {
            const Vector<float, N> loaded = load<N>(logits + first);
            visit(loaded, first);
        }
    }
};

// Notes the tokens that `is_likely` takes; all threads of the block have noted when it returns.
template <int N, typename Likely>
__device__ __forceinline__ void note_likely(ScoreShared& shared, const ScoreRow& row, const Likely& is_likely) {
    if (threadIdx.x == 0) shared.num_likely = 0;
    __syncthreads();
    row.each<N>([&](const Vector<float, N>& logits, int first) {
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const uint32_t key = score_key(logits.values[j]);
            if (!is_likely(key, first + j)) continue;
            const unsigned place = atomicAdd(&shared.num_likely, 1u);
            if (place >= kLikely) continue;
            shared.keys[place] = key;
            shared.tokens[place] = first + j;
        }
    });
    __syncthreads();
}

// The same where they are too many: exactly the `wanted` likeliest.
template <int N>
__device__ __forceinline__ void note_exactly(ScoreShared& shared, const ScoreRow& row, int wanted) {
    constexpr uint32_t kLast = 0xffffffu;
    const uint32_t border = select<4>(shared.bins, wanted, [&](const auto& add) {
        row.each<N>([&](const Vector<float, N>& logits, int) {
            for (int j = 0; j < N; ++j) add(score_key(logits.values[j]), Mass{1});
        });
    });
    note_likely<N>(shared, row, [&](uint32_t key, int) { return key > border; });
    const int left = wanted - static_cast<int>(shared.num_likely);
    const uint32_t last = select<3>(shared.bins, left, [&](const auto& add) {
        row.each<N>([&](const Vector<float, N>& logits, int first) {
            for (int j = 0; j < N; ++j) {
                if (score_key(logits.values[j]) == border) add(kLast - (first + j), Mass{1});
            }
        });
    });
    note_likely<N>(shared, row, [&](uint32_t key, int token) {
        return key > border || (key == border && kLast - token >= last);
    });
}

template <int N>
__global__ void __launch_bounds__(kScoreThreads) score_kernel(const streamcore_score args) {
    __shared__ ScoreShared shared;
    begin_after_launch_before();
    const int number = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int place = args.samples != nullptr ? args.samples[number] : number;
    const ScoreRow row{args.logits + place * args.logits_stride, static_cast<int>(args.vocab_size)};

    float greatest = -INFINITY, sum = 0.0f;
    row.each<N>([&](const Vector<float, N>& logits, int) {
        float most = greatest;
#pragma unroll
        for (int j = 0; j < N; ++j) most = fmaxf(most, logits.values[j]);
        if (most > greatest) {
            // The sum begins at 0, and stays there.
            sum *= exp2_fast((greatest - most) * kLog2E);
            greatest = most;
        }
        // Before the first finite number there is nothing to add, unless it is none at all.
        const float from = most == -INFINITY ? 0.0f : most;
#pragma unroll
        for (int j = 0; j < N; ++j) sum += exp2_fast((logits.values[j] - from) * kLog2E);
    });
    float most = greatest;
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, distance));
    if (lane == 0) shared.greatest[warp] = most;
    __syncthreads();
    for (int w = 0; w < kScoreWarps; ++w) most = fmaxf(most, shared.greatest[w]);
    // A sum of 0 is one of no logits: its thread's maximum may have no distance to the others.
    const float own = sum == 0.0f ? 0.0f : sum * exp2_fast((greatest - most) * kLog2E);
    const float log_sum = logf(block_total(shared.sums, own));
    const auto logprob = [&](float logit) {
        const float value = logit - most - log_sum;
        // Also where it is no number.
        return value > args.least ? value : args.least;
    };
    if (threadIdx.x == 0) args.logprobs[number] = logprob(row.logits[args.targets[place]]);

    const int num_top = static_cast<int>(args.num_top);
    if (num_top == 0) return;
    const uint32_t from = select<4>(shared.bins, num_top, [&](const auto& add) { add(score_key(greatest), Mass{1}); });
    note_likely<N>(shared, row, [&](uint32_t key, int) { return key >= from; });
    if (shared.num_likely > kLikely) note_exactly<N>(shared, row, num_top);
    const int count = static_cast<int>(shared.num_likely);
    for (int i = threadIdx.x; i < count; i += kScoreThreads) {
        const uint32_t key = shared.keys[i];
        const int token = shared.tokens[i];
        int rank = 0;
        for (int j = 0; j < count; ++j) rank += shared.keys[j] > key || (shared.keys[j] == key && shared.tokens[j] < token);
        if (rank >= num_top) continue;
        args.top_ids[number * args.num_top + rank] = token;
        args.top_logprobs[number * args.num_top + rank] = logprob(row.logits[token]);
    }
}

}  // namespace streamcore
