// A layer of experts (Shazeer et al. 2017, arXiv:1701.06538), in four launches that need nothing of
// the host:
//   route     each token's experts and their shares, and a row for each choice, grouped by expert
//   gate, up  active[row] = activation(gate) * up of the token of the row
//   down      outputs[row] = the expert's output
//   sum       output[token] = sum over its experts, by their numbers, of share * outputs[row]
//
// Shapes: x and output [num_tokens, hidden]; scores [num_tokens, num_experts]; experts
// [num_experts, 4] addresses: weight and bias of gate and up [2 * inter, hidden], weight and bias
// of down [hidden, inter]; all contiguous, weights in fp8 followed by their scales. A choice is a
// token's place among those of its experts: there are num_tokens * num_used. Rows are dealt to
// parts of up to 8 * kRowTiles rows of one expert, [num_parts, 3]: expert, first row, rows; as many
// parts are launched as there can be, and one without rows ends at once. An expert that no token
// takes is not read.
// Layout: products as in `product.cuh`, all inputs in one block. The router is one block with a
// warp for each token: what token has which row follows from bits, expert by token, that are
// counted, so that no order of threads matters.
#pragma once

#include "gated.cuh"
#include "product.cuh"

namespace streamcore {

constexpr int kMostTokens = 256, kMostExperts = 512, kTokenWords = kMostTokens / 32, kScores = kMostExperts / kWarp;

struct RouteShared {
    uint32_t takes[kMostExperts][kTokenWords];  // bit by token
    int first_row[kMostExperts], first_part[kMostExperts];
    int num_parts;

    __device__ __forceinline__ int count(int expert) const {
        int sum = 0;
#pragma unroll
        for (int i = 0; i < kTokenWords; ++i) sum += __popc(takes[expert][i]);
        return sum;
    }
    // How many tokens before this one take the expert.
    __device__ __forceinline__ int before(int expert, int token) const {
        int sum = __popc(takes[expert][token / 32] & ((1u << token % 32) - 1));
        for (int i = 0; i < token / 32; ++i) sum += __popc(takes[expert][i]);
        return sum;
    }
};

// The order of numbers as one of whole numbers above 0; what is no number is below all.
__device__ __forceinline__ uint32_t order_of(float x) {
    const uint32_t bits = __float_as_uint(x);
    if (x != x) return 1;
    return bits >> 31 ? ~bits : bits | 1u << 31;
}

// Chooses for a token: lane j has the expert that is number j by its score, and the share of it.
template <typename T>
__device__ __forceinline__ void choose(const streamcore_experts& args, const T* scores, int& expert, float& share) {
    const int lane = threadIdx.x % kWarp, num_experts = static_cast<int>(args.num_experts);
    constexpr uint32_t kAll = 0xffffffffu;
    uint32_t keys[kScores];
    float greatest = 0.0f, mine = 0.0f, all = 0.0f;
#pragma unroll
    for (int i = 0; i < kScores; ++i) {
        const int number = i * kWarp + lane;
        keys[i] = number < num_experts ? order_of(widen(scores[number])) : 0;
    }
    for (int j = 0; j < args.num_used; ++j) {
        uint32_t key = 0;
        int number = 0;
#pragma unroll
        for (int i = kScores - 1; i >= 0; --i) {
            if (keys[i] >= key && keys[i] != 0) {
                key = keys[i];
                number = i * kWarp + lane;
            }
        }
        const uint32_t most = __reduce_max_sync(kAll, key);
        const int chosen =
            static_cast<int>(__reduce_min_sync(kAll, key == most ? static_cast<unsigned>(number) : kAll));
        const float score = widen(scores[chosen]);
        if (j == 0) greatest = score;
        if (lane == j) {
            expert = chosen;
            mine = __expf(score - greatest);
        }
#pragma unroll
        for (int i = 0; i < kScores; ++i) {
            if (i * kWarp + lane == chosen) keys[i] = 0;
        }
    }
    if (args.over_chosen) {
        all = mine;
    } else {
        for (int number = lane; number < num_experts; number += kWarp) all += __expf(widen(scores[number]) - greatest);
    }
    share = mine / warp_sum(all);
}

// First rows and first parts of all experts, by warp 0.
__device__ __forceinline__ void deal(RouteShared& shared, int num_experts, int part_rows) {
    const int lane = threadIdx.x % kWarp;
    int row = 0, part = 0;
    for (int first = 0; first < num_experts; first += kWarp) {
        const int expert = first + lane, count = expert < num_experts ? shared.count(expert) : 0;
        const int parts = (count + part_rows - 1) / part_rows;
        int rows_through = count, parts_through = parts;
#pragma unroll
        for (int distance = 1; distance < kWarp; distance *= 2) {
            const int rows_before = __shfl_up_sync(0xffffffffu, rows_through, distance),
                      parts_before = __shfl_up_sync(0xffffffffu, parts_through, distance);
            if (lane >= distance) {
                rows_through += rows_before;
                parts_through += parts_before;
            }
        }
        if (expert < num_experts) {
            shared.first_row[expert] = row + rows_through - count;
            shared.first_part[expert] = part + parts_through - parts;
        }
        row += __shfl_sync(0xffffffffu, rows_through, kWarp - 1);
        part += __shfl_sync(0xffffffffu, parts_through, kWarp - 1);
    }
    if (lane == 0) shared.num_parts = part;
}

// One block with a warp for each token, up to 32 at a time.
template <typename T>
__global__ void __launch_bounds__(1024) route_kernel(const streamcore_experts args, int part_rows, int num_parts) {
    __shared__ RouteShared shared;
    const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
    const int num_experts = static_cast<int>(args.num_experts), num_used = static_cast<int>(args.num_used);
    let_next_launch_begin();
    for (int i = threadIdx.x; i < num_experts * kTokenWords; i += blockDim.x) {
        shared.takes[i / kTokenWords][i % kTokenWords] = 0;
    }
    __syncthreads();
    wait_for_launch_before();
    for (int token = warp; token < args.num_tokens; token += warps) {
        int expert = 0;
        float share = 0.0f;
        choose<T>(args, static_cast<const T*>(args.scores) + token * args.num_experts, expert, share);
        int place = 0;
        for (int j = 0; j < num_used; ++j) place += __shfl_sync(0xffffffffu, expert, j) < expert;
        if (lane >= num_used) continue;
        args.rows[token * num_used + place] = expert;
        args.shares[token * num_used + place] = share;
        atomicOr(&shared.takes[expert][token / 32], 1u << token % 32);
    }
    __syncthreads();
    if (warp == 0) deal(shared, num_experts, part_rows);
    __syncthreads();
    for (int expert = threadIdx.x; expert < num_experts; expert += blockDim.x) {
        int left = shared.count(expert), row = shared.first_row[expert];
        for (int32_t* part = args.parts + 3 * shared.first_part[expert]; left > 0; part += 3) {
            part[0] = expert;
            part[1] = row;
            part[2] = left < part_rows ? left : part_rows;
            row += part_rows;
            left -= part_rows;
        }
    }
    for (int i = shared.num_parts + threadIdx.x; i < num_parts; i += blockDim.x) args.parts[3 * i + 2] = 0;
    for (int choice = threadIdx.x; choice < args.num_tokens * num_used; choice += blockDim.x) {
        const int expert = args.rows[choice], token = choice / num_used;
        const int row = shared.first_row[expert] + shared.before(expert, token);
        args.rows[choice] = row;
        args.tokens[row] = token;
    }
}

// Gate and up of one part: blockIdx.x is a tile of 32 of the activated numbers, blockIdx.y the
// part.
template <typename T, typename Weights, int kRowTiles>
__global__ void __launch_bounds__(kProductThreads, kProductBlocks<Weights, kRowTiles>)
    gate_up_of_experts_kernel(const streamcore_experts args) {
    __shared__ ProductShared<kRowTiles> shared;
    begin_after_launch_before();
    const int32_t* part = args.parts + 3 * blockIdx.y;
    const int count = part[2], inter = static_cast<int>(args.inter);
    if (count == 0) return;
    const int first = part[1];
    const int64_t* expert = args.experts + 4 * part[0];
    const auto weights = Weights::of(reinterpret_cast<const void*>(expert[0]), 2 * inter, static_cast<int>(args.hidden),
                                     static_cast<int>(args.gate_up_groups));
    const T *bias = reinterpret_cast<const T*>(expert[1]), *x = static_cast<const T*>(args.x);
    constexpr int kStep = ProductWarp<T, Weights, kRowTiles>::kStep;
    multiply_rows<T, Weights, kRowTiles>(
        weights, OutputRange::gated(blockIdx.x, inter), 0, (weights.num_inputs + kStep - 1) / kStep,
        [&](int row) { return x + args.tokens[first + (row < count ? row : count - 1)] * args.hidden; }, shared);
    constexpr int kHalf = kOutputs / 2;
    for (int i = threadIdx.x; i < count * kHalf; i += kProductThreads) {
        const int row = i / kHalf, place = i % kHalf, output = blockIdx.x * kHalf + place;
        if (output >= inter) continue;
        const float gate = shared.total(row, place) + (bias == nullptr ? 0.0f : widen(bias[output]));
        const float up = shared.total(row, kHalf + place) + (bias == nullptr ? 0.0f : widen(bias[inter + output]));
        static_cast<T*>(args.active)[int64_t{first + row} * inter + output] =
            narrow<T>(gate_times_up(static_cast<int>(args.activation), gate, up));
    }
}

// Down of one part: blockIdx.x is a tile of 64 outputs, blockIdx.y the part.
template <typename T, typename Weights, int kRowTiles>
__global__ void __launch_bounds__(kProductThreads, kProductBlocks<Weights, kRowTiles>)
    down_of_experts_kernel(const streamcore_experts args) {
    __shared__ ProductShared<kRowTiles> shared;
    begin_after_launch_before();
    const int32_t* part = args.parts + 3 * blockIdx.y;
    const int count = part[2], hidden = static_cast<int>(args.hidden);
    if (count == 0) return;
    const int first = part[1];
    const int64_t* expert = args.experts + 4 * part[0];
    const auto weights = Weights::of(reinterpret_cast<const void*>(expert[2]), hidden, static_cast<int>(args.inter),
                                     static_cast<int>(args.down_groups));
    const T *bias = reinterpret_cast<const T*>(expert[3]), *active = static_cast<const T*>(args.active);
    constexpr int kStep = ProductWarp<T, Weights, kRowTiles>::kStep;
    multiply_rows<T, Weights, kRowTiles>(
        weights, OutputRange::plain(blockIdx.x, hidden), 0, (weights.num_inputs + kStep - 1) / kStep,
        [&](int row) { return active + int64_t{first + (row < count ? row : count - 1)} * args.inter; }, shared);
    for (int i = threadIdx.x; i < count * kOutputs; i += kProductThreads) {
        const int row = i / kOutputs, place = i % kOutputs, output = blockIdx.x * kOutputs + place;
        if (output >= hidden) continue;
        args.outputs[int64_t{first + row} * hidden + output] =
            shared.total(row, place) + (bias == nullptr ? 0.0f : widen(bias[output]));
    }
}

constexpr int kSumThreads = 128;

// blockIdx.x is the token, blockIdx.y a stretch of its row.
template <typename T>
__global__ void __launch_bounds__(kSumThreads) sum_of_experts_kernel(const streamcore_experts args) {
    const int i = blockIdx.y * kSumThreads + threadIdx.x, num_used = static_cast<int>(args.num_used);
    begin_after_launch_before();
    if (i >= args.hidden) return;
    float sum = 0.0f;
    for (int choice = blockIdx.x * num_used; choice < static_cast<int>(blockIdx.x + 1) * num_used; ++choice) {
        sum += args.shares[choice] * args.outputs[args.rows[choice] * args.hidden + i];
    }
    static_cast<T*>(args.output)[blockIdx.x * args.hidden + i] = narrow<T>(sum);
}

}  // namespace streamcore
