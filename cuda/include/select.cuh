// The place in an order at which weights reach a wanted sum, found digit by digit without a sort.
#pragma once

#include <cstdint>

namespace streamcore {

// Weights are whole numbers, so that their sums depend on no order of threads: 2^-38 of the
// likeliest token's probability.
using Mass = unsigned long long;
constexpr int kMassBits = 38, kBins = 256, kLimbBits = 13, kLimbs = 3;

// Sums by digit. A mass is added in limbs, each by a 32-bit addition: there is no 64-bit one in
// shared memory, only a loop that tries. A limb of half a million masses does not overflow.
struct Bins {
    uint32_t limbs[kLimbs][kBins];
    uint32_t digit;
    Mass above;

    __device__ __forceinline__ void clear() {
        for (int i = threadIdx.x; i < kLimbs * kBins; i += blockDim.x) limbs[i / kBins][i % kBins] = 0;
    }
    __device__ __forceinline__ void add(uint32_t bin, Mass mass) {
#pragma unroll
        for (int i = 0; i < kLimbs; ++i) {
            const uint32_t limb = static_cast<uint32_t>(mass >> i * kLimbBits) & ((1u << kLimbBits) - 1);
            if (limb != 0) atomicAdd(&limbs[i][bin], limb);
        }
    }
    __device__ __forceinline__ Mass sum(int bin) const {
        Mass total = 0;
#pragma unroll
        for (int i = 0; i < kLimbs; ++i) total += Mass{limbs[i][bin]} << i * kLimbBits;
        return total;
    }

    // The digit at which the bins from the highest down reach `wanted`, or the lowest; warp 0
    // looks, all wait.
    __device__ __forceinline__ void find(Mass wanted) {
        constexpr int kEach = kBins / 32;
        __syncthreads();
        if (threadIdx.x < 32) {
            const int lane = threadIdx.x, top = kBins - 1 - lane * kEach;
            Mass mine = 0;
#pragma unroll
            for (int j = 0; j < kEach; ++j) mine += sum(top - j);
            Mass through = mine;
#pragma unroll
            for (int distance = 1; distance < 32; distance *= 2) {
                const Mass before = __shfl_up_sync(0xffffffffu, through, distance);
                if (lane >= distance) through += before;
            }
            const unsigned reached = __ballot_sync(0xffffffffu, through >= wanted);
            if (lane == (reached ? __ffs(static_cast<int>(reached)) - 1 : 31)) {
                Mass before = through - mine;
                int bin = top;
                while (bin > top - kEach + 1 && before + sum(bin) < wanted) before += sum(bin--);
                digit = bin;
                above = before;
            }
        }
        __syncthreads();
    }
};

// The greatest key such that the weights of it and of all greater keys reach `wanted`. `for_each`
// calls its argument with the key and the weight of each element of this thread; keys have 8
// kDigits bits.
template <int kDigits, typename ForEach>
__device__ uint32_t select(Bins& bins, Mass wanted, const ForEach& for_each) {
    uint32_t prefix = 0;
#pragma unroll 1
    for (int level = kDigits - 1; level >= 0; --level) {
        const int shift = 8 * level;
        bins.clear();
        __syncthreads();
        for_each([&](uint32_t key, Mass weight) {
            // The digits above must be those that were found; the first level has none.
            if (level < kDigits - 1 && key >> (shift + 8) != prefix) return;
            bins.add(key >> shift & (kBins - 1), weight);
        });
        bins.find(wanted);
        prefix = prefix << 8 | bins.digit;
        wanted -= bins.above;
        __syncthreads();
    }
    return prefix;
}

}  // namespace streamcore
