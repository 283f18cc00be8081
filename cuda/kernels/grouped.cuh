// Products with weights of four or eight bits in groups of inputs that share a scale:
//   output[r, o] = bias[o] + sum over the groups, in order, of
//                  scale[o] sum_i x[r, i] table[code[o, i]] + offset[o] sum_i x[r, i]
// and the weights themselves, rounded once: scale table[code] + offset.
//
// Shapes: output [num_rows, num_outputs] at a stride; x [num_rows, num_inputs], rows contiguous at
// a stride that is a multiple of 8; num_inputs is a multiple of 8, and x and weight begin at
// multiples of 16 bytes. docs/decisions/0048-packed-weights.md has the layout of the weight.
// Layout: blockIdx.x is two tiles of 32 outputs, blockIdx.y a stretch of the inputs, blockIdx.z a
// stretch of 32 rows. A tile is read once and in its order, 16 bytes a lane, straight into
// fragments of m16n8k16, whose rows and columns may be any (g = lane / 4, t = lane % 4):
//   words   lane (g, t) loads the words of outputs 4 g .. + 3 of the t-th inputs of a chunk; those
//           of 4 g + 2 m are row g of fragment m, those of 4 g + 2 m + 1 are row g + 8
//   x       lane (g, t) loads the inputs of such a word of row 8 n + g
// Codes become numbers of the type of x, exactly; the sums of a group are in float32, and only they
// meet its scale. A fragment of ones sums x where there are offsets.
// Every number of rows adds up in one order, as in `product.cuh`, but that more than 32 are never
// split over their inputs.
// Block size: as there; a warp has 2 KB of words under way, and more blocks fit.
#pragma once

#include "divisor.cuh"
#include "linear.cuh"

namespace streamcore {

// What codes of a weight are: 0 to 15 and a number, any 16 numbers of 8 bits, numbers of 8 bits.
enum Codes { kShifted, kChosen, kWhole };

// The form of a weight, and where everything lies in it.
struct GroupedForm {
    int group_size, span, span_groups, num_spans, span_bytes, head_bytes, scales_begin, scale_bytes, bits, offsets;
    bool is_nested, has_halves;
    float values[16];   // what codes of 4 bits stand for
    uint32_t bytes[4];  // the same as numbers of 8 bits that are multiplied with `unit`
    float unit;
    Divisor chunks_of_span, chunks_of_group;

    // That of a weight; a chunk is the inputs of four words.
    GroupedForm(const streamcore_form& form, int64_t num_inputs)
        : group_size(form.group_size),
          span(form.is_nested ? 256 : form.group_size),
          span_groups(span / group_size),
          num_spans(static_cast<int>((num_inputs + span - 1) / span)),
          scale_bytes(form.is_nested ? 32 : 64),
          bits(form.bits),
          offsets(form.offsets),
          is_nested(form.is_nested != 0),
          has_halves(form.dtype == STREAMCORE_F16),
          unit(1.0f),
          chunks_of_span(span * bits / 128),
          chunks_of_group(group_size * bits / 128 > 0 ? group_size * bits / 128 : 1) {
        const int kinds = offsets > 0 ? 2 : 1;
        scales_begin = is_nested ? kinds * 64 : 0;
        head_bytes = scales_begin + kinds * span_groups * scale_bytes;
        span_bytes = head_bytes + span * 4 * bits;
        for (int i = 0; i < 16; ++i) values[i] = form.table[i];
    }

    // Whether codes of 4 bits stand for themselves and one whole number.
    bool is_shifted() const {
        for (int i = 0; i < 16; ++i) {
            if (values[i] != values[0] + static_cast<float>(i)) return false;
        }
        return values[0] >= -64.0f && values[0] <= 64.0f && values[0] == static_cast<float>(static_cast<int>(values[0]));
    }

    // Finds the bytes that codes stand for; returns whether there are such.
    bool choose_bytes() {
        for (unit = 1.0f; unit >= 0.25f; unit /= 2) {
            bool is_exact = true;
            for (int i = 0; i < 16; ++i) {
                const float number = values[i] / unit;
                const bool is_byte = number >= -128.0f && number <= 127.0f;
                const int byte = is_byte ? static_cast<int>(number) : 0;
                is_exact = is_exact && is_byte && static_cast<float>(byte) == number;
                if (i % 4 == 0) bytes[i / 4] = 0;
                bytes[i / 4] |= static_cast<uint32_t>(byte & 0xff) << 8 * (i % 4);
            }
            if (is_exact) return true;
        }
        return false;
    }

    // Four neighbours from an output of a tile on.
    __device__ __forceinline__ void wide(float (&numbers)[4], const unsigned char* source) const {
        const auto pairs = load<2>(reinterpret_cast<const uint32_t*>(source));
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            const uint32_t bits16 = pairs.values[i / 2] >> 16 * (i % 2) & 0xffff;
            __half half;
            const uint16_t short_bits = static_cast<uint16_t>(bits16);
            memcpy(static_cast<void*>(&half), &short_bits, 2);
            numbers[i] = has_halves ? widen(half) : __uint_as_float(bits16 << 16);
        }
    }
    __device__ __forceinline__ void numbers(float (&found)[4], const unsigned char* span_start, int outer, int inner,
                                            int output) const {
        if (!is_nested) {
            wide(found, span_start + inner + 2 * output);
            return;
        }
        wide(found, span_start + outer + 2 * output);
        const uint32_t four = *reinterpret_cast<const uint32_t*>(span_start + inner + output);
#pragma unroll
        for (int i = 0; i < 4; ++i) found[i] *= static_cast<float>(static_cast<int>(four << (24 - 8 * i)) >> 24);
    }
    // The scales of outputs `output` to + 3, a multiple of four, of a group of a span, and what is
    // added for each unit of its inputs.
    __device__ __forceinline__ void scales(float (&scale)[4], float (&offset)[4], const unsigned char* span_start,
                                           int group, int output) const {
        const int inner = scales_begin + group * scale_bytes;
        numbers(scale, span_start, 0, inner, output);
        if (offsets == 0) {
#pragma unroll
            for (int i = 0; i < 4; ++i) offset[i] = 0.0f;
            return;
        }
        numbers(offset, span_start, 64, inner + span_groups * scale_bytes, output);
        if (offsets != 1) return;
#pragma unroll
        for (int i = 0; i < 4; ++i) offset[i] *= -scale[i];
    }
};

// Constants of a type of 16 bits: one, twice, and numbers whose last bits of mantissa are a code's.
template <typename T>
struct Pairs;
template <>
struct Pairs<__half> {
    static constexpr uint32_t kOnes = 0x3c003c00u, kMagic = 0x64006400u;
    static constexpr float kMagicValue = 1024.0f;
};
template <>
struct Pairs<__nv_bfloat16> {
    static constexpr uint32_t kOnes = 0x3f803f80u, kMagic = 0x43004300u;
    static constexpr float kMagicValue = 128.0f;
};

// How the words of a weight become numbers.
template <typename T, int kCodes>
struct Words {
    static constexpr int kInputs = kCodes == kWhole ? 4 : 8;

    // Two signed bytes, in the low halves of both halves.
    static __device__ __forceinline__ uint32_t of_bytes(uint32_t pair) {
        if constexpr (std::is_same_v<T, __half>) {
            return subtract_pair<T>((pair ^ 0x00800080u) | Pairs<T>::kMagic, 0x64806480u);
        } else {
            // Seven bits of mantissa: the sign says whether 128 or 256 is taken off.
            return subtract_pair<T>((pair & 0x007f007fu) | Pairs<T>::kMagic, (pair & 0x00800080u) | Pairs<T>::kMagic);
        }
    }
    // The bytes that four codes in the low half stand for.
    static __device__ __forceinline__ uint32_t chosen(const GroupedForm& form, uint32_t codes) {
        const uint32_t low = permute_bytes(form.bytes[0], form.bytes[1], codes & 0x7777u),
                       high = permute_bytes(form.bytes[2], form.bytes[3], codes & 0x7777u);
        return permute_bytes(low, high, 0x3210u | (codes & 0x8888u) >> 1);
    }
    // Neighbours 2 i and 2 i + 1 of a word.
    static __device__ __forceinline__ uint32_t pair(const GroupedForm& form, uint32_t base, uint32_t word, int i) {
        if constexpr (kCodes == kShifted) {
            return subtract_pair<T>((word >> 4 * i & 0x000f000fu) | Pairs<T>::kMagic, base);
        } else if constexpr (kCodes == kChosen) {
            const uint32_t even = chosen(form, word), odd = chosen(form, word >> 16);
            return of_bytes((even >> 8 * i & 0xffu) | (odd >> 8 * i & 0xffu) << 16);
        } else {
            return of_bytes(word >> 8 * i & 0x00ff00ffu);
        }
    }
};

// What a warp has of the inputs: neighbouring chunks, the words of two tiles.
template <typename T, int kCodes, int kRowTiles>
struct GroupedWarp {
    using Word = Words<T, kCodes>;
    static constexpr int kChunk = 4 * Word::kInputs, kChunks = 2;
    static constexpr int kChunkBytes = kChunk * 32 * (kCodes == kWhole ? 8 : 4) / 8;
    using Inputs = Vector<uint32_t, Word::kInputs / 2>;
    const GroupedForm& form;
    const unsigned char* tiles[2];
    int num_inputs, g, t;
    uint32_t base;
    Vector<uint32_t, 4> words[2][kChunks];
    float totals[4][kRowTiles][4], sums[4][kRowTiles][4], of_inputs[kRowTiles][4];

    __device__ __forceinline__ GroupedWarp(const GroupedForm& form, const unsigned char* weight, int first, int num_tiles,
                                           int num_inputs)
        : form(form), num_inputs(num_inputs), totals{}, sums{}, of_inputs{} {
        g = threadIdx.x % kWarp / 4;
        t = threadIdx.x % 4;
        base = pack<T>(Pairs<T>::kMagicValue - form.values[0], Pairs<T>::kMagicValue - form.values[0]);
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const int tile = first + i < num_tiles ? first + i : num_tiles - 1;
            tiles[i] = weight + int64_t{tile} * form.num_spans * form.span_bytes;
        }
    }

    __device__ __forceinline__ void load_words(int step, int end) {
#pragma unroll
        for (int c = 0; c < kChunks; ++c) {
            const int chunk = step * kChunks + c;
            if (chunk >= end) break;
            const int span = form.chunks_of_span.quotient(chunk);
            const int within = chunk - span * static_cast<int>(form.chunks_of_span.divisor);
            const int64_t place = int64_t{span} * form.span_bytes + form.head_bytes + within * kChunkBytes + 128 * t + 16 * g;
#pragma unroll
            for (int i = 0; i < 2; ++i) words[i][c] = load_once(tiles[i] + place);
        }
    }

    __device__ __forceinline__ void multiply_chunk(int c, const Inputs (&inputs)[kRowTiles]) {
#pragma unroll
        for (int q = 0; q < Word::kInputs / 4; ++q) {
#pragma unroll
            for (int m = 0; m < 4; ++m) {
                const uint32_t one = words[m / 2][c].values[m % 2 * 2], two = words[m / 2][c].values[m % 2 * 2 + 1];
                const uint32_t a[4] = {Word::pair(form, base, one, 2 * q), Word::pair(form, base, two, 2 * q),
                                       Word::pair(form, base, one, 2 * q + 1), Word::pair(form, base, two, 2 * q + 1)};
#pragma unroll
                for (int n = 0; n < kRowTiles; ++n) {
                    mma_16x8x16<T>(sums[m][n], a, inputs[n].values[2 * q], inputs[n].values[2 * q + 1]);
                }
            }
            if (form.offsets == 0) continue;
            const uint32_t ones[4] = {Pairs<T>::kOnes, Pairs<T>::kOnes, Pairs<T>::kOnes, Pairs<T>::kOnes};
#pragma unroll
            for (int n = 0; n < kRowTiles; ++n) {
                mma_16x8x16<T>(of_inputs[n], ones, inputs[n].values[2 * q], inputs[n].values[2 * q + 1]);
            }
        }
    }

    // Adds what a group has come to so far.
    __device__ __forceinline__ void end_group(int group) {
        const int span = group / form.span_groups;
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            float scale[4], offset[4];
            form.scales(scale, offset, tiles[i] + int64_t{span} * form.span_bytes, group - span * form.span_groups, 4 * g);
#pragma unroll
            for (int j = 0; j < 8 * kRowTiles; ++j) {
                const int m = j / (4 * kRowTiles), n = j / 4 % kRowTiles, k = j % 4;
                float &total = totals[2 * i + m][n][k], &sum = sums[2 * i + m][n][k];
                const float unit = kCodes == kChosen ? scale[2 * m + k / 2] * form.unit : scale[2 * m + k / 2];
                total = fmaf(unit, sum, total);
                if (form.offsets != 0) total = fmaf(offset[2 * m + k / 2], of_inputs[n][k], total);
                sum = 0.0f;
            }
        }
#pragma unroll
        for (int i = 0; i < 4 * kRowTiles; ++i) of_inputs[i / 4][i % 4] = 0.0f;
    }

    // `rows[n]` is row 8 n + g of x, null where there is none.
    __device__ __forceinline__ void multiply(const T* const (&rows)[kRowTiles], int step, int end) {
#pragma unroll
        for (int c = 0; c < kChunks; ++c) {
            const int chunk = step * kChunks + c, input = chunk * kChunk + t * Word::kInputs;
            if (chunk >= end) break;
            Inputs inputs[kRowTiles];
#pragma unroll
            for (int n = 0; n < kRowTiles; ++n) {
                inputs[n] = {};
                if (rows[n] == nullptr || input >= num_inputs) continue;
                inputs[n] = load<Word::kInputs / 2>(reinterpret_cast<const uint32_t*>(rows[n] + input));
            }
            multiply_chunk(c, inputs);
            const int group = form.chunks_of_group.quotient(chunk);
            const bool is_whole = (group + 1) * static_cast<int>(form.chunks_of_group.divisor) == chunk + 1;
            if (is_whole || chunk + 1 == end) end_group(group);
        }
    }

    __device__ __forceinline__ void keep(ProductShared<kRowTiles>& shared) const {
#pragma unroll
        for (int i = 0; i < 16 * kRowTiles; ++i) {
            const int m = i / (4 * kRowTiles), n = i / 4 % kRowTiles, k = i % 4;
            const int place = m / 2 * 32 + 4 * g + m % 2 * 2 + k / 2;
            shared.sums[threadIdx.x / kWarp][n * kRowsOfTile + 2 * t + k % 2][place] = totals[m][n][k];
        }
    }
};

template <typename T, int kCodes, int kRowTiles>
__global__ void __launch_bounds__(kProductThreads, kRowTiles == 1 ? 4 : kRowTiles == 2 ? 3 : 2)
    grouped_linear_kernel(const streamcore_grouped_linear args, const GroupedForm form) {
    __shared__ ProductShared<kRowTiles> shared;
    let_next_launch_begin();
    using Warp = GroupedWarp<T, kCodes, kRowTiles>;
    const int first_row = blockIdx.z * kMaxRows, num_outputs = static_cast<int>(args.num_outputs);
    const int num_rows = args.num_rows - first_row < kMaxRows ? static_cast<int>(args.num_rows) - first_row : kMaxRows;
    Warp warp(form, static_cast<const unsigned char*>(args.weight), 2 * blockIdx.x, (num_outputs + 31) / 32,
              static_cast<int>(args.num_inputs));
    const int chunks = form.num_spans * static_cast<int>(form.chunks_of_span.divisor);
    const int steps = (chunks + Warp::kChunks - 1) / Warp::kChunks, splits = gridDim.y;
    // A warp has neighbouring chunks: those of a group meet its scale once.
    const int stretch = blockIdx.y * kProductWarps + threadIdx.x / kWarp;
    int step = steps * stretch / (kProductWarps * splits);
    const int end_step = steps * (stretch + 1) / (kProductWarps * splits);
    const int end = end_step * Warp::kChunks < chunks ? end_step * Warp::kChunks : chunks;
    if (step < end_step) warp.load_words(step, end);
    wait_for_launch_before();
    const T* rows[kRowTiles];
#pragma unroll
    for (int n = 0; n < kRowTiles; ++n) {
        const int row = n * kRowsOfTile + warp.g;
        rows[n] = row < num_rows ? static_cast<const T*>(args.x) + (first_row + row) * args.x_stride : nullptr;
    }
    while (step < end_step) {
        warp.multiply(rows, step++, end);
        if (step < end_step) warp.load_words(step, end);
    }
    warp.keep(shared);
    __syncthreads();
    const auto finish = [&](const auto& total) {
#pragma unroll 1
        for (int i = threadIdx.x; i < num_rows * kOutputs; i += kProductThreads) {
            const int row = i / kOutputs, place = i % kOutputs, output = blockIdx.x * kOutputs + place;
            if (output >= num_outputs) continue;
            const T* bias = static_cast<const T*>(args.bias);
            const float value = total(row, place) + (bias == nullptr ? 0.0f : widen(bias[output]));
            static_cast<T*>(args.output)[(first_row + row) * args.output_stride + output] = narrow<T>(value);
        }
    };
    if (splits > 1) {
        merge(args, shared, finish);
    } else {
        finish([&](int row, int place) { return shared.total(row, place); });
    }
}

constexpr int kWidenThreads = 128, kWidenWords = 32;

// A block has 32 outputs of a tile and kWidenWords words of each; four lanes have neighbouring
// words of an output, so that they store neighbours.
template <typename T>
__global__ void __launch_bounds__(kWidenThreads)
    widen_groups_kernel(const streamcore_widen_groups args, const GroupedForm form) {
    begin_after_launch_before();
    const int in_word = 32 / form.bits, in_tile = threadIdx.x / 4;
    const int output = (static_cast<int>(args.first_output) / 32 + blockIdx.y) * 32 + in_tile;
    const int row = output - static_cast<int>(args.first_output), num_inputs = static_cast<int>(args.num_inputs);
    if (row >= args.num_outputs) return;
    const unsigned char* tile = static_cast<const unsigned char*>(args.weight) +
                                int64_t{output / 32} * form.num_spans * form.span_bytes;
    for (int w = 0; w < kWidenWords; w += 4) {
        const int first = (static_cast<int>(blockIdx.x) * kWidenWords + w + threadIdx.x % 4) * in_word;
        if (first >= num_inputs) break;
        const int span = first / form.span, within = first - span * form.span;
        const unsigned char* start = tile + int64_t{span} * form.span_bytes;
        float scale[4], offset[4];
        form.scales(scale, offset, start, within / form.group_size, in_tile & ~3);
        const uint32_t word = reinterpret_cast<const uint32_t*>(start + form.head_bytes)[within / in_word * 32 + in_tile];
        float own_scale = scale[0], own_offset = offset[0];
#pragma unroll
        for (int i = 1; i < 4; ++i) {
            if (in_tile % 4 == i) own_scale = scale[i], own_offset = offset[i];
        }
        T* target = static_cast<T*>(args.output) + int64_t{row} * num_inputs + first;
#pragma unroll
        for (int four = 0; four < 8; four += 4) {
            if (four >= in_word) break;
            Vector<T, 4> numbers;
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int at = i % 2 * 16 + (four + i) / 2 * form.bits;
                const float number = form.bits == 4 ? form.values[word >> at & 15]
                                                    : static_cast<float>(static_cast<int>(word << (24 - at)) >> 24);
                numbers.values[i] = narrow<T>(fmaf(own_scale, number, own_offset));
            }
            store<4>(target + four, numbers);
        }
    }
}

}  // namespace streamcore
