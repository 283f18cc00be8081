// A row of logits as it is drawn from: its parameters, and what changes its logits. Penalties come
// first, then biases, then the mask, as on the CPU; the model's own logits stay as they are, and
// each reader changes what it reads.
#pragma once

#include <stdint.h>

#include "order.cuh"
#include "streamcore_kernels.h"
#include "vector.cuh"

namespace streamcore {

constexpr int kSampleThreads = 512, kSampleWarps = kSampleThreads / 32;
// What a warp reads at once, and the tokens that one bit of `Biases::chunks` stands for.
constexpr int kChunk = 128;
// Biases of one row, and tokens that they may be of: the launcher refuses more.
constexpr int kMaxBiases = 640, kMaxVocabulary = 1 << 19;

// The biases of a row in the order of their tokens, in shared memory. Few chunks of the vocabulary
// have any.
struct Biases {
    uint32_t chunks[kMaxVocabulary / kChunk / 32];
    int tokens[kMaxBiases];
    float values[kMaxBiases];
    int count;

    // Takes those of a row; all threads of the block call it, and a barrier follows.
    __device__ __forceinline__ void take(const streamcore_sample& args, int row) {
        const int number = static_cast<int>(args.num_biases);
        const int first = first_from(args.bias_samples, number, row);
        const int end = first_from(args.bias_samples, number, row + 1);
        const int of_row = end - first < kMaxBiases ? end - first : kMaxBiases;
        for (int i = threadIdx.x; i < kMaxVocabulary / kChunk / 32; i += kSampleThreads) chunks[i] = 0;
        __syncthreads();
        for (int i = threadIdx.x; i < of_row; i += kSampleThreads) {
            const uint32_t token = static_cast<uint32_t>(args.bias_tokens[first + i]);
            int place = 0;
            for (int j = 0; j < of_row; ++j) {
                const uint32_t other = static_cast<uint32_t>(args.bias_tokens[first + j]);
                place += other < token || (other == token && j < i);
            }
            tokens[place] = static_cast<int>(token);
            values[place] = args.bias_values[first + i];
            // Which tokens a request stops at is not the model's to limit.
            if (token < static_cast<uint32_t>(args.vocab_size)) {
                atomicOr(&chunks[token / kChunk / 32], 1u << token / kChunk % 32);
            }
        }
        if (threadIdx.x == 0) count = of_row;
    }
    __device__ __forceinline__ bool has(int token) const {
        return (chunks[static_cast<unsigned>(token) / kChunk / 32] >> static_cast<unsigned>(token) / kChunk % 32 & 1) != 0;
    }
    // The place of the first bias of a token from this one on; tokens beyond the vocabulary come
    // last.
    __device__ __forceinline__ int place_of(int token) const {
        return first_from(reinterpret_cast<const uint32_t*>(tokens), count, static_cast<uint32_t>(token));
    }
};

// Their place; in the launches that have none there is no such place either.
__device__ __forceinline__ Biases& biases_of_block() {
    __shared__ Biases biases;
    return biases;
}

// The row of a block, and its parameters. `kChanged`: some row of the launch has penalties or
// biases.
template <bool kChanged>
struct SampleRow {
    const float* logits;
    const uint32_t* mask;  // bits of the tokens that may be drawn, or null
    int vocab, part;
    float temperature, top_p, min_p, top_n_sigma, factor;
    int top_k;
    bool has_biases, is_penalised;
    float repetition, frequency, presence;
    const uint8_t* is_there;  // of all rows: whether a token is in the sequence
    const int* counts;        // of all rows: how often it is in the output
    int64_t offset;           // of this row in both

    __device__ __forceinline__ SampleRow(const streamcore_sample& args, int row)
        : logits(args.logits + row * args.logits_stride), mask(nullptr), vocab(static_cast<int>(args.vocab_size)) {
        const int parameters = args.sample_rows[row];
        temperature = args.temperature[parameters];
        top_k = args.top_k[parameters] < vocab ? args.top_k[parameters] : 0;
        top_p = args.top_p[parameters];
        min_p = args.min_p[parameters];
        top_n_sigma = args.top_n_sigma[parameters];
        factor = temperature > 0.0f ? __fdividef(1.4426950408889634f, temperature) : 0.0f;
        // A whole number of what a warp loads at once.
        part = ((vocab + kSampleWarps - 1) / kSampleWarps + kChunk - 1) / kChunk * kChunk;
        const int num_masked = static_cast<int>(args.num_masked);
        const int masked = first_from(args.masked_samples, num_masked, row);
        if (masked < num_masked && args.masked_samples[masked] == row) mask = args.mask_words + masked * args.mask_stride;
        if constexpr (kChanged) take_penalties(args, parameters);
    }
    __device__ __forceinline__ void take_penalties(const streamcore_sample& args, int parameters) {
        is_penalised = false;
        if (args.is_there == nullptr) return;
        repetition = args.repetition_penalty[parameters];
        frequency = args.frequency_penalty[parameters];
        presence = args.presence_penalty[parameters];
        is_penalised = repetition != 1.0f || frequency != 0.0f || presence != 0.0f;
        is_there = args.is_there;
        counts = args.counts;
        offset = parameters * args.vocab_size;
    }
    __device__ __forceinline__ bool is_filtered() const {
        return top_k > 0 || top_p < 1.0f || min_p > 0.0f || top_n_sigma > 0.0f;
    }
    __device__ __forceinline__ bool may_be(int token) const {
        return mask == nullptr || (mask[token / 32] >> token % 32 & 1) != 0;
    }
    // The logit of a token that is in the sequence, rounded after each operation as on the CPU. A
    // quotient by the inverse and the remainder is the rounded one (Markstein 1990), without a
    // division's slow path.
    __device__ __forceinline__ float penalised(float logit, int count) const {
        const float rough = __fdividef(1.0f, repetition), inverse = fmaf(fmaf(-repetition, rough, 1.0f), rough, rough);
        const float nearly = logit * inverse, quotient = fmaf(fmaf(-nearly, repetition, logit), inverse, nearly);
        logit = logit > 0.0f ? quotient : logit * repetition;
        logit = __fadd_rn(logit, -__fmul_rn(frequency, static_cast<float>(count)));
        return count > 0 ? __fadd_rn(logit, -presence) : logit;
    }
    // The logit of a token, negative infinity for one that may not be drawn.
    __device__ __forceinline__ float at(int token) const {
        float logit = logits[token];
        if constexpr (kChanged) {
            if (is_penalised && is_there[offset + token] != 0) logit = penalised(logit, counts[offset + token]);
            const Biases& biases = biases_of_block();
            if (has_biases && biases.has(token)) {
#pragma unroll 1
                for (int i = biases.place_of(token); i < biases.count && biases.tokens[i] == token; ++i) {
                    logit += biases.values[i];
                }
            }
        }
        return may_be(token) ? logit : -INFINITY;
    }
    // The same for N neighbours that were read: penalties and biases.
    template <int N>
    __device__ __forceinline__ void change(float (&values)[N], int first) const {
        if (is_penalised) {
            const Vector<uint8_t, N> there = load<N>(is_there + offset + first);
            bool is_any = false;
#pragma unroll
            for (int j = 0; j < N; ++j) is_any = is_any || there.values[j] != 0;
            if (is_any) {
#pragma unroll
                for (int j = 0; j < N; ++j) {
                    if (there.values[j] != 0) values[j] = penalised(values[j], counts[offset + first + j]);
                }
            }
        }
        const Biases& biases = biases_of_block();
        if (has_biases && biases.has(first)) {
#pragma unroll 1
            for (int i = biases.place_of(first); i < biases.count; ++i) {
                const int token = biases.tokens[i];
                if (static_cast<uint32_t>(token) >= static_cast<uint32_t>(first + N)) break;
#pragma unroll
                for (int j = 0; j < N; ++j) values[j] = token == first + j ? values[j] + biases.values[i] : values[j];
            }
        }
    }
};

}  // namespace streamcore
