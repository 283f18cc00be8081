// Draws one token for each row of logits: penalties, biases, masks, temperature, top_n_sigma,
// min_p, top_k, top_p, then the inverse of the cumulative distribution in the order of the
// vocabulary. A threshold on the logits decides which are kept, so that equal ones are kept
// together.
//
// Shapes: logits [num_rows, vocab_size], float, rows contiguous at any stride.
// Layout: one block for each row; a warp has a contiguous part of the vocabulary. One pass over the
// row finds the greatest logit and the sum of the exponentials (Milakov and Gimelshein 2018), and
// notes the logits within kWindow temperatures of the greatest so far. Where a row keeps few
// tokens, everything else happens among those notes, in shared memory; where it keeps all, a
// sixteenth of the row is read once more. Only rows whose notes do not suffice (flat distributions
// under a top_p near 1, a top_k of thousands) are read again for each digit of their thresholds. A
// row's draw depends on that row alone: sums are of whole numbers, or in one order.
// Block size: 512 threads, so that a row's loads are many and two rows share a multiprocessor.
#pragma once

#include <stdint.h>

#include "launch_order.cuh"
#include "order.cuh"
#include "sample_row.cuh"
#include "select.cuh"
#include "streamcore_kernels.h"
#include "tensor_core.cuh"
#include "vector.cuh"

namespace streamcore {

constexpr int kNotes = 2048;
constexpr float kWindow = 10.0f;

struct SampleShared {
    Bins bins;
    float noted[kNotes];
    int noted_index[kNotes];
    unsigned num_noted, bound;  // bound: ordered bits of the greatest logit so far
    unsigned long long best[kSampleWarps];
    double parts[kSampleWarps], squares[kSampleWarps];
    Mass masses[kSampleWarps];
    int is_bad[kSampleWarps];
};

// What a thread has seen of its part of the row.
struct Seen {
    float greatest = -INFINITY, sum = 0.0f;
    float poison = 0.0f;  // NaN once a logit was no finite number
    int token = 0;
};

// Notes the logits from `noted_from` on: few, once the greatest ones have been seen.
template <int N>
__device__ __noinline__ void note(SampleShared& shared, const float (&values)[N], int first, float noted_from) {
#pragma unroll 1
    for (int j = 0; j < N; ++j) {
        if (values[j] < noted_from) continue;
        const unsigned place = atomicAdd(&shared.num_noted, 1u);
        if (place >= kNotes) continue;
        shared.noted[place] = values[j];
        shared.noted_index[place] = first + j;
    }
}

template <int N, bool kChanged>
__device__ __forceinline__ void see(Seen& seen, SampleShared& shared, const SampleRow<kChanged>& row, int first, float noted_from) {
    const Vector<float, N> loaded = load<N>(row.logits + first);
    float values[N], greatest = -INFINITY;
#pragma unroll
    for (int j = 0; j < N; ++j) {
        values[j] = loaded.values[j];
        seen.poison = fmaf(values[j], 0.0f, seen.poison);
    }
    if constexpr (kChanged) row.template change<N>(values, first);
    if (row.mask != nullptr) {
        // N neighbours from a multiple of N on have their bits in one word.
        const uint32_t bits = row.mask[first / 32] >> first % 32;
#pragma unroll
        for (int j = 0; j < N; ++j) values[j] = bits >> j & 1 ? values[j] : -INFINITY;
    }
#pragma unroll
    for (int j = 0; j < N; ++j) greatest = fmaxf(greatest, values[j]);
    if (greatest >= noted_from) note<N>(shared, values, first, noted_from);
    if (greatest > seen.greatest) {
        // The sum begins at 0, and stays there.
        seen.sum *= exp2_fast((seen.greatest - greatest) * row.factor);
        seen.greatest = greatest;
#pragma unroll
        for (int j = N - 1; j >= 0; --j) seen.token = values[j] == greatest ? first + j : seen.token;
    }
    if (seen.greatest == -INFINITY) return;
    // The difference first: with a small temperature the products are too great for their
    // difference to be exact.
#pragma unroll
    for (int j = 0; j < N; ++j) seen.sum += exp2_fast((values[j] - seen.greatest) * row.factor);
}

// One pass over the row.
template <int N, bool kChanged>
__device__ __forceinline__ Seen see_part(SampleShared& shared, const SampleRow<kChanged>& row, int begin, int end) {
    const int lane = threadIdx.x % 32;
    const bool takes_notes = row.temperature > 0.0f && row.is_filtered();
    const float window = kWindow * row.temperature;
    Seen seen;
    for (int base = begin; base < end; base += 32 * N) {
        const int first = base + lane * N;
        float noted_from = INFINITY;
        if (takes_notes) {
            // The greatest of all warps so far; a note too many does no harm.
            const uint32_t mine = __reduce_max_sync(0xffffffffu, ordered_bits(seen.greatest));
            uint32_t bound = 0;
            if (lane == 0) bound = atomicMax(&shared.bound, mine);
            bound = __shfl_sync(0xffffffffu, bound, 0);
            noted_from = fmaxf(from_ordered_bits(bound > mine ? bound : mine) - window, -3.0e38f);
        }
        if (first < end) see<N>(seen, shared, row, first, noted_from);
    }
    return seen;
}

// How far below the greatest the row's tokens may lie by their deviation; the possible ones count.
template <bool kChanged>
__device__ __forceinline__ float deviation_of(SampleShared& shared, const SampleRow<kChanged>& row, float greatest) {
    double sum = 0.0, squares = 0.0, count = 0.0;
    for (int i = threadIdx.x; i < row.vocab; i += kSampleThreads) {
        const float logit = row.at(i);
        if (logit == -INFINITY) continue;
        const double below = logit - greatest;
        sum += below;
        squares += below * below;
        count += 1.0;
    }
    sum = block_total(shared.parts, sum);
    squares = block_total(shared.squares, squares);
    count = block_total(shared.parts, count);
    const double mean = sum / count, variance = squares / count - mean * mean;
    return static_cast<float>(sqrt(variance > 0.0 ? variance : 0.0));
}

// The elements that thresholds are looked for among: the notes, or the whole row.
template <bool kChanged>
struct Elements {
    const SampleShared& shared;
    const SampleRow<kChanged>& row;
    float greatest;
    bool are_notes;

    __device__ __forceinline__ Mass mass(float logit) const {
        return static_cast<Mass>(exp2_fast((logit - greatest) * row.factor) * static_cast<float>(Mass{1} << kMassBits));
    }
    template <typename Visit>
    __device__ __forceinline__ void each(const Visit& visit) const {
        if (are_notes) {
            const int count = static_cast<int>(shared.num_noted);
            for (int i = threadIdx.x; i < count; i += kSampleThreads) visit(shared.noted[i], shared.noted_index[i]);
        } else if constexpr (kChanged) {
#pragma unroll 1
            for (int i = threadIdx.x; i < row.vocab; i += kSampleThreads) visit(row.at(i), i);
        } else {
#pragma unroll 2
            for (int i = threadIdx.x; i < row.vocab; i += kSampleThreads) visit(row.at(i), i);
        }
    }
    // The mass of the elements from a threshold on.
    __device__ __forceinline__ Mass total(SampleShared& space, uint32_t lowest) const {
        Mass mine = 0;
        each([&](float logit, int) { mine += ordered_bits(logit) >= lowest ? mass(logit) : 0; });
        return block_total(space.masses, mine);
    }
};

// Whether everything that the row keeps is among the notes.
template <bool kChanged>
__device__ __forceinline__ bool notes_suffice(SampleShared& shared, const Elements<kChanged>& notes, uint32_t lowest, double sum) {
    const SampleRow<kChanged>& row = notes.row;
    if (shared.num_noted > kNotes) return false;
    const uint32_t border = ordered_bits(notes.greatest - kWindow * row.temperature);
    if (lowest >= border) return true;
    Mass mine = 0;
    notes.each([&](float logit, int) { mine += ordered_bits(logit) >= border ? 1 : 0; });
    const Mass count = block_total(shared.masses, mine);
    if (row.top_k > 0 && static_cast<Mass>(row.top_k) <= count) return true;
    // With a top_k beyond them, or a threshold below, the whole that top_p is of is not known from
    // the notes.
    if (row.top_k > 0 || lowest > 0 || row.top_p >= 1.0f) return false;
    const double mass = static_cast<double>(notes.total(shared, border)) / static_cast<double>(Mass{1} << kMassBits);
    return mass >= static_cast<double>(row.top_p) * sum * 1.0001;
}

// The ordered bits of the least logit that the row keeps. `sum` is the mass of the whole row.
template <bool kChanged>
__device__ __forceinline__ uint32_t threshold_of(SampleShared& shared, const Elements<kChanged>& elements, uint32_t lowest,
                                                 double sum) {
    const SampleRow<kChanged>& row = elements.row;
    if (row.top_k > 0) {
        const uint32_t kth = select<4>(shared.bins, row.top_k, [&](const auto& add) {
            elements.each([&](float logit, int) { add(ordered_bits(logit), Mass{1}); });
        });
        lowest = kth > lowest ? kth : lowest;
    }
    if (row.top_p >= 1.0f) return lowest;
    const double whole = lowest > 0 || !elements.are_notes ? static_cast<double>(elements.total(shared, lowest))
                                                           : sum * static_cast<double>(Mass{1} << kMassBits);
    const Mass wanted = static_cast<Mass>(static_cast<double>(row.top_p) * whole);
    const uint32_t last = select<4>(shared.bins, wanted < 1 ? 1 : wanted, [&](const auto& add) {
        elements.each([&](float logit, int) {
            if (ordered_bits(logit) >= lowest) add(ordered_bits(logit), elements.mass(logit));
        });
    });
    return last > lowest ? last : lowest;
}

// The token at which the kept masses, in the order of the vocabulary, pass the uniform number.
template <bool kChanged>
__device__ __forceinline__ int draw_kept(SampleShared& shared, const Elements<kChanged>& elements, uint32_t lowest, float uniform) {
    constexpr uint32_t kLast = 0xffffffu;
    const Mass all = elements.total(shared, lowest);
    // The product with the 24 bits of the number, without loss.
    const Mass bits = static_cast<Mass>(uniform * 16777216.0f);
    const Mass target = (all >> 24) * bits + ((all & 0xffffffu) * bits >> 24);
    const uint32_t key = select<3>(shared.bins, target + 1, [&](const auto& add) {
        elements.each([&](float logit, int token) {
            if (ordered_bits(logit) >= lowest) add(kLast - token, elements.mass(logit));
        });
    });
    return static_cast<int>(kLast - key);
}

// The same where everything is kept: the part of the row, a warp's share of it, then the token.
template <bool kChanged>
__device__ __forceinline__ int draw_any(SampleShared& shared, const SampleRow<kChanged>& row, float greatest, float uniform) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    double target = 0.0;
    for (int w = 0; w < kSampleWarps; ++w) target += shared.parts[w];
    target *= static_cast<double>(uniform);
    int part = 0;
    while (part < kSampleWarps - 1 && target >= shared.parts[part]) target -= shared.parts[part++];
    while (part > 0 && part * row.part >= row.vocab) --part;
    const int begin = part * row.part, end = begin + row.part < row.vocab ? begin + row.part : row.vocab;
    const int share = row.part / kSampleWarps, first = begin + warp * share;
    const int last = first + share < end ? first + share : end;
    const auto mass = [&](int token) {
        return token < last ? static_cast<double>(exp2_fast((row.at(token) - greatest) * row.factor)) : 0.0;
    };
    double mine = 0.0;
    for (int i = first + lane; i < last; i += 32) mine += mass(i);
    mine = warp_total(mine);
    if (lane == 0) shared.squares[warp] = mine;
    __syncthreads();
    // The warp whose share it is; the last one with a mass, if rounding has left the target beyond
    // all of them.
    int chosen = 0, fullest = 0;
    for (int w = 0; w < kSampleWarps; ++w) fullest = shared.squares[w] > 0.0 ? w : fullest;
    while (chosen < fullest && target >= shared.squares[chosen]) target -= shared.squares[chosen++];
    if (warp != chosen) return -1;
    int token = -1;
    for (int base = first; base < last; base += 32) {
        const double own = mass(base + lane);
        double through = own;
#pragma unroll
        for (int distance = 1; distance < 32; distance *= 2) {
            const double before = __shfl_up_sync(0xffffffffu, through, distance);
            if (lane >= distance) through += before;
        }
        const unsigned possible = __ballot_sync(0xffffffffu, own > 0.0);
        const unsigned beyond = __ballot_sync(0xffffffffu, own > 0.0 && through > target);
        if (possible) token = base + 31 - __clz(static_cast<int>(possible));
        if (beyond) return base + __ffs(static_cast<int>(beyond)) - 1;
        target -= __shfl_sync(0xffffffffu, through, 31);
    }
    return token;
}

template <int N, bool kChanged>
__global__ void __launch_bounds__(kSampleThreads) sample_kernel(const streamcore_sample args) {
    __shared__ SampleShared shared;
    begin_after_launch_before();
    const int number = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    SampleRow<kChanged> row(args, number);
    if constexpr (kChanged) {
        row.has_biases = args.num_biases > 0;
        if (row.has_biases) biases_of_block().take(args, number);
    }
    if (threadIdx.x == 0) shared.num_noted = shared.bound = 0;
    __syncthreads();
    const int begin = warp * row.part, end = begin + row.part < row.vocab ? begin + row.part : row.vocab;
    const Seen seen = see_part<N>(shared, row, begin, end);

    // The greatest, and of equal ones the first.
    unsigned long long best = static_cast<unsigned long long>(ordered_bits(seen.greatest)) << 32 |
                              static_cast<uint32_t>(~seen.token);
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        const unsigned long long other = __shfl_xor_sync(0xffffffffu, best, distance);
        best = other > best ? other : best;
    }
    const bool is_bad = __any_sync(0xffffffffu, !(seen.poison == 0.0f));
    if (lane == 0) {
        shared.best[warp] = best;
        shared.is_bad[warp] = is_bad;
    }
    __syncthreads();
    bool is_finite = true;
    for (int w = 0; w < kSampleWarps; ++w) {
        best = shared.best[w] > best ? shared.best[w] : best;
        is_finite = is_finite && !shared.is_bad[w];
    }
    int token = static_cast<int>(~static_cast<uint32_t>(best));
    const float greatest = from_ordered_bits(static_cast<uint32_t>(best >> 32));
    const bool is_drawn = row.temperature > 0.0f && is_finite && greatest > -INFINITY;
    if (is_drawn) {
        const float shrunk = seen.sum > 0.0f ? seen.sum * exp2_fast((seen.greatest - greatest) * row.factor) : 0.0f;
        const double mine = warp_total(static_cast<double>(shrunk));
        if (lane == 0) shared.parts[warp] = mine;
        __syncthreads();
        if (!row.is_filtered()) {
            token = draw_any(shared, row, greatest, args.uniform[number]);
        } else {
            double sum = 0.0;
            for (int w = 0; w < kSampleWarps; ++w) sum += shared.parts[w];
            __syncthreads();
            uint32_t lowest = 0;
            if (row.min_p > 0.0f) lowest = ordered_bits(greatest + __logf(row.min_p) * row.temperature);
            if (row.top_n_sigma > 0.0f) {
                const float from = greatest - row.top_n_sigma * deviation_of(shared, row, greatest);
                lowest = ordered_bits(from) > lowest ? ordered_bits(from) : lowest;
            }
            Elements<kChanged> elements{shared, row, greatest, true};
            elements.are_notes = notes_suffice(shared, elements, lowest, sum);
            lowest = threshold_of(shared, elements, lowest, sum);
            token = draw_kept(shared, elements, lowest, args.uniform[number]);
            if (threadIdx.x != 0) token = -1;
        }
    } else if (threadIdx.x != 0) {
        token = -1;
    }
    // One thread, or one warp of which all lanes agree, has the token.
    if (token >= 0 && lane == 0) {
        args.tokens[number] = token;
        args.results[number] = is_finite ? token : args.not_finite;
    }
}

}  // namespace streamcore
