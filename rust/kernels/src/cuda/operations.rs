//! The operations of a device, and the structs of those whose arguments differ from the CPU's.

use crate::cpu::{self, norm_arguments, rope_arguments};
use crate::ops::{Layout, arguments};

arguments! {
    /// The arguments of attention; the same as on the CPU, and memory for contexts that are split.
    pub struct PagedAttention, rows num_seqs {
        /// \[num_tokens, num_heads, head_dim\], contiguous.
        output: usize,
        /// \[num_tokens, num_heads, head_dim\], heads adjacent.
        query: usize,
        /// \[num_blocks, block_size, num_kv_heads, head_dim\], contiguous.
        key_cache: usize,
        /// As `key_cache`.
        value_cache: usize,
        /// \[num_rows, stride\] `i32`.
        block_tables: usize,
        /// \[num_seqs\] `i32`: which row of `block_tables` is whose.
        rows: usize,
        /// \[num_seqs\] `i32`.
        context_lens: usize,
        /// \[num_seqs + 1\] `i32`.
        query_starts: usize,
        /// Sequences of the step.
        num_seqs: usize,
        /// Query heads, a multiple of `num_kv_heads`.
        num_heads: usize,
        /// Key and value heads.
        num_kv_heads: usize,
        /// Elements per head.
        head_dim: usize,
        /// Slots per block.
        block_size: usize,
        /// Elements from one token's query to the next one's.
        query_stride: usize,
        /// Entries from one row of `block_tables` to the next.
        block_table_stride: usize,
        /// Multiplies the scores.
        scale: f32,
        /// Maximum keys that a token sees, its own among them; 0 for all.
        window: usize,
        /// \[num_heads\] of `dtype`: one more score of each head, without a value; 0 for none.
        sinks: usize,
        /// Bends scores to within this; 0 for not at all.
        soft_cap: f32,
        /// Of query, output and sinks.
        dtype: u32,
        /// Of the caches: the same.
        cache_dtype: u32,
        /// Tokens of the step.
        num_tokens: usize,
        /// Parts that a context is split into, at most.
        num_splits: usize,
        /// \[num_seqs, num_heads, num_splits, head_dim\] `f32`; unused with one split.
        partial_output: usize,
        /// \[num_seqs, num_heads, num_splits, 2\] `f32`: maximum and sum.
        partial_stats: usize,
        /// \[num_seqs, num_heads\] `i32`, zero before and after.
        tickets: usize,
        /// Whether sequences with one query token are attended to (1), those with more (2), or
        /// both (3).
        parts: u32,
    }
}

norm_arguments! {
    /// The arguments of a norm; the same as on the CPU, but nothing is rounded for a product.
    {}
}

rope_arguments! {
    /// The arguments of `rope_and_store_kv`; the same as on the CPU, for contiguous caches.
    {
        /// Slots of each cache.
        num_slots: usize,
    }
}

arguments! {
    /// The arguments of a product of few rows: those of the CPU's, its end, and memory for inputs
    /// that are split.
    pub struct Linear, rows num_rows {
        /// \[num_rows, num_outputs\], or with an activation \[num_rows, num_outputs / 2\].
        output: usize,
        /// \[num_rows, num_inputs\], rows contiguous.
        x: usize,
        /// \[num_outputs, num_inputs\], contiguous; in `float8_e4m3fn` followed by its scales,
        /// `f32` \[num_groups, num_outputs\].
        weight: usize,
        /// \[num_outputs\], added to each row; 0 for none.
        bias: usize,
        /// Rows.
        num_rows: usize,
        /// Elements per row of `x`, a multiple of 8; of 16 with weights in `float8_e4m3fn`.
        num_inputs: usize,
        /// Rows of the weight.
        num_outputs: usize,
        /// Elements from one row of `x` to the next, a multiple of 8.
        x_stride: usize,
        /// Elements from one row of `output` to the next.
        output_stride: usize,
        /// Scales of an output: 1, or one for each 128 inputs; 0 if the weight has none.
        num_groups: usize,
        /// 0 for none; else 1 and that of `Gated`, and the outputs are a gate, then what it
        /// multiplies.
        activation: u32,
        /// Of all tensors but the weight: `bfloat16` or `float16`.
        dtype: u32,
        /// Of the weight: the same, or `float8_e4m3fn`.
        weight_dtype: u32,
        /// Stretches that the inputs are split into; 1 for more than 32 rows.
        num_splits: usize,
        /// \[tiles of 64 outputs, num_splits, num_rows, 64\] `f32`; unused with one stretch.
        partial: usize,
        /// \[tiles of 64 outputs\] `i32`, zero before and after.
        tickets: usize,
    }
}

arguments! {
    /// The arguments of a layer of experts: those of the CPU's, and memory for its launches.
    pub struct Experts, rows num_tokens {
        /// \[num_tokens, hidden\], contiguous.
        output: usize,
        /// As `output`.
        x: usize,
        /// \[num_tokens, num_experts\], contiguous: what the router makes of `x`.
        scores: usize,
        /// \[num_experts, 4\] addresses on the device: the gate and up projection, its bias, the
        /// down projection, its bias; 0 for no bias.
        experts: usize,
        /// Tokens, at most 256.
        num_tokens: usize,
        /// Elements per row of `x`, a multiple of 8; of 16 with weights in `float8_e4m3fn`.
        hidden: usize,
        /// Inputs of the down projection, likewise.
        inter: usize,
        /// Experts, at most 512.
        num_experts: usize,
        /// Experts that each token takes, at most `num_experts` and 32.
        num_used: usize,
        /// Scales of an output of the gate and up projections, as in [`Linear`].
        gate_up_groups: usize,
        /// The same of the down projections.
        down_groups: usize,
        /// 1 for a softmax over the scores of the experts that a token takes, 0 for one over all.
        over_chosen: u32,
        /// As in `Gated`.
        activation: u32,
        /// Of all tensors but the weights: `bfloat16` or `float16`.
        dtype: u32,
        /// Of the weights: the same, or `float8_e4m3fn`.
        weight_dtype: u32,
        /// \[num_tokens * num_used + num_experts, 3\] `i32`: some rows of one expert each.
        parts: usize,
        /// \[num_tokens * num_used\] `i32`: the token of each row.
        tokens: usize,
        /// \[num_tokens * num_used\] `i32`: the row of each choice.
        rows: usize,
        /// \[num_tokens * num_used\] `f32`: the share of each choice.
        shares: usize,
        /// \[num_tokens * num_used, inter\].
        active: usize,
        /// \[num_tokens * num_used, hidden\] `f32`.
        outputs: usize,
    }
}

arguments! {
    /// The arguments of a product with a weight of four or eight bits in groups.
    pub struct GroupedLinear, rows num_rows {
        /// \[num_rows, num_outputs\].
        output: usize,
        /// \[num_rows, num_inputs\], rows contiguous.
        x: usize,
        /// In groups.
        weight: usize,
        /// \[num_outputs\], added to each row; 0 for none.
        bias: usize,
        /// Rows.
        num_rows: usize,
        /// Elements per row of `x`, a multiple of 8.
        num_inputs: usize,
        /// Elements per row of `output`.
        num_outputs: usize,
        /// Elements from one row of `x` to the next, a multiple of 8.
        x_stride: usize,
        /// Elements from one row of `output` to the next.
        output_stride: usize,
        /// The form of the weight, on the host; groups of 32 inputs and more in 4 bits.
        form: usize,
        /// Of all other tensors: `bfloat16` or `float16`.
        dtype: u32,
        /// Stretches that the inputs are split into; 1 for more than 32 rows.
        num_splits: usize,
        /// \[tiles of 64 outputs, num_splits, num_rows, 64\] `f32`; unused with one stretch.
        partial: usize,
        /// \[tiles of 64 outputs\] `i32`, zero before and after.
        tickets: usize,
    }
}

arguments! {
    /// The arguments of widening some rows of a weight in groups.
    pub struct WidenGroups, rows num_outputs {
        /// \[num_outputs, num_inputs\], contiguous.
        output: usize,
        /// In groups.
        weight: usize,
        /// The first row, a multiple of 32.
        first_output: usize,
        /// Rows.
        num_outputs: usize,
        /// Elements per row, a multiple of 8.
        num_inputs: usize,
        /// The form of the weight, on the host.
        form: usize,
        /// Of the output: `bfloat16` or `float16`.
        dtype: u32,
    }
}

arguments! {
    /// The arguments of widening some rows of a weight in `float8_e4m3fn`.
    pub struct WidenFp8, rows num_outputs {
        /// \[num_outputs, num_inputs\], contiguous.
        output: usize,
        /// \[weight_outputs, num_inputs\], as in [`Linear`].
        weight: usize,
        /// The first row.
        first_output: usize,
        /// Rows.
        num_outputs: usize,
        /// Elements per row, a multiple of 16.
        num_inputs: usize,
        /// Rows of the whole weight.
        weight_outputs: usize,
        /// Scales of an output, as in [`Linear`].
        num_groups: usize,
        /// Of the output: `bfloat16` or `float16`.
        dtype: u32,
    }
}

arguments! {
    /// The arguments of what kernels are made of, for tests of a device.
    pub struct Primitives, rows num_rows {
        /// \[num_rows, words of the primitive\] `u32`.
        output: usize,
        /// Likewise.
        input: usize,
        /// \[num_rows + 1\] `u32`, zero before.
        memory: usize,
        /// Threads, a multiple of 128.
        num_rows: usize,
        /// Which, as the header numbers them.
        primitive: u32,
    }
}

/// Lists the operations: a name, its struct, and the function that launches it.
macro_rules! operations {
    ($($name:ident($arguments:ty) => $function:ident,)*) => {
        /// Every operation of a device, at the place of its number.
        pub const OPERATIONS: &[Layout] = &[$(Layout::of::<$arguments>(stringify!($name)),)*];

        #[cfg(cuda_kernels)]
        mod linked {
            unsafe extern "C" {
                $(pub(super) fn $function(device: i32, arguments: *const u8, stream: usize) -> i32;)*
            }
        }

        /// The functions of [`OPERATIONS`].
        #[cfg(cuda_kernels)]
        pub(super) const LAUNCHES: &[super::Launch] = &[$(linked::$function,)*];
    };
}

operations! {
    Embed(cpu::Embed) => streamcore_cuda_embed,
    Take(cpu::Take) => streamcore_cuda_take,
    AddInto(cpu::AddInto) => streamcore_cuda_add_into,
    Scale(cpu::Scale) => streamcore_cuda_scale,
    RmsNorm(RmsNorm) => streamcore_cuda_rms_norm,
    Gated(cpu::Gated) => streamcore_cuda_gated,
    RopeAndStore(RopeAndStore) => streamcore_cuda_rope_and_store,
    PagedAttention(PagedAttention) => streamcore_cuda_paged_attention,
    Linear(Linear) => streamcore_cuda_linear,
    Experts(Experts) => streamcore_cuda_experts,
    Sample(cpu::Sample) => streamcore_cuda_sample,
    Score(cpu::Score) => streamcore_cuda_score,
    GroupedLinear(GroupedLinear) => streamcore_cuda_grouped_linear,
    WidenGroups(WidenGroups) => streamcore_cuda_widen_groups,
    WidenFp8(WidenFp8) => streamcore_cuda_widen_fp8,
    Primitives(Primitives) => streamcore_cuda_primitives,
}
