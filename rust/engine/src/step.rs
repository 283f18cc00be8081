//! A step's plan, as flat columns in buffers that the runner owns.
//!
//! ```text
//! num_seqs = 3, num_tokens = 6: a prefill of four tokens between two decodes
//!
//! query_starts   0 1         5 6          one more than sequences
//! token_ids      a b0 b1 b2 b3 c
//! positions      7  0  1  2  3 9
//! slot_mapping   one slot per token: block_id * block_size + offset
//! context_lens   8  4 10                  tokens in the KV cache once the step has run
//! seq_rows       2  0  5                  where the runner keeps what it knows of each sequence
//! logits_indices 0           4 5          the tokens whose logits are sampled: one per sample
//! ```
//!
//! A sequence keeps its row, below `max_num_seqs`, while it runs. What stays the same from step to
//! step is written once, and kept by the runner in that row:
//!
//! ```text
//! block_tables   [max_num_seqs + 1, max_blocks_per_seq], on the runner's device, never reset
//! block_places   row * max_blocks_per_seq + index of each block that is new
//! block_ids      what to write there
//! new_rows       rows that another sequence has from now on
//! temperature, top_p, ...   how its tokens are drawn
//! ```
//!
//! So a runner carries out every plan, in the order in which it got them, and takes what is new out
//! of a plan before its forward pass. A device with two steps in flight does so by itself: it works
//! in the order of its queue. What a row held for its last sequence stays there until it is written
//! over; no plan reads it.
//!
//! Where [`EngineConfig::capture_sizes`] are given, a step of one token for each sequence is filled
//! up to the next of these sizes, so that a runner can replay a graph that it captured for that
//! size. `num_padding` sequences of one token each follow behind the others: token 0 at position 0,
//! slot -1 (nothing is stored), a context of 1, in the row `max_num_seqs`, which
//! belongs to no sequence. Nothing is sampled from them.
//!
//! Columns that only some requests need, to be looked at only where the plan's count is not 0:
//!
//! ```text
//! penalties      num_counted_tokens, num_penalised_samples
//! masks          num_masked_samples
//! bias           num_biases
//! likelihoods    num_scored_samples, num_scored_tokens
//! ```
//!
//! The runner keeps for each row how often each token is in the sequence. It forgets that of the
//! new rows, then adds the counted tokens of the step, then applies the penalties: so the token
//! that a step draws is counted in the next step, whose input it is.

use crate::config::EngineConfig;
use crate::plan_hash::{Element, hash};
use crate::request::MAX_STOP_TOKEN_IDS;
use crate::sampling::{MAX_LOGIT_BIAS, RowNumber, SamplingParams};

/// In the place of a drawn token: this sequence draws none this time and takes part in the next
/// step as it did in this one, its last token computed again. Only with one step in flight: a
/// second one has been planned on the token already.
pub const NO_TOKEN: i32 = -1;

/// In the place of a drawn token: a logit of this sample was NaN or infinite, so there is nothing
/// to draw from. The sequence ends with
/// [`FinishReason::NotFinite`](crate::FinishReason::NotFinite).
pub const NOT_FINITE: i32 = -2;

/// Names a step. Steps are numbered from 0 in the order of their plans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub u64);

/// Calls a macro with what is given and, in braces behind it, the table of the sizes of a plan.
/// [`StepPlan`] is made of it, and what other languages see of a plan.
#[macro_export]
macro_rules! plan_sizes {
    ($callback:ident! { $($given:tt)* }) => {
        $callback! { $($given)* {
            /// Tokens to compute.
            num_tokens,
            /// Sequences that take part.
            num_seqs,
            /// Padding behind them, see `EngineConfig::capture_sizes`: this many sequences of one
            /// token each.
            num_padding,
            /// Tokens to sample.
            num_samples,
            /// Tokens whose id is known only to the device, see `device_token_indices`.
            num_device_tokens,
            /// Blocks that are new in the block tables, see `block_places`.
            num_block_updates,
            /// Rows that have another sequence than before, see `new_rows`.
            num_new_rows,
            /// Tokens that are counted, see `counted_indices`.
            num_counted_tokens,
            /// Samples with a penalty, see `penalised_samples`.
            num_penalised_samples,
            /// Samples with a mask, see `masked_samples`.
            num_masked_samples,
            /// Logits that are changed by a bias or forbidden, see `bias_samples`.
            num_biases,
            /// Samples whose log-probability is wanted, see `scored_samples`.
            num_scored_samples,
            /// Prompt tokens whose log-probability is wanted, see `scored_indices`.
            num_scored_tokens,
            /// Maximum number of likely tokens that one of these gets.
            max_top_logprobs,
        } }
    };
}

macro_rules! step_plan {
    ({ $($(#[doc = $about:literal])* $name:ident,)* }) => {
        /// The sizes of a plan: how much of each column of [`StepBuffers`] it fills.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct StepPlan {
            /// Its name, to be handed back with the sampled tokens.
            pub id: StepId,
            $($(#[doc = $about])* pub $name: usize,)*
        }

        impl StepPlan {
            /// The names of [`StepPlan::sizes`].
            pub const SIZE_NAMES: [&'static str; [$(stringify!($name)),*].len()] = [$(stringify!($name)),*];
            /// The meaning of each size.
            pub const SIZES_ABOUT: [&'static str; Self::SIZE_NAMES.len()] = [$(concat!($($about),*)),*];

            /// Returns every number of the plan but its name.
            #[must_use]
            pub fn sizes(&self) -> [usize; Self::SIZE_NAMES.len()] {
                [$(self.$name),*]
            }
        }
    };
}

plan_sizes! { step_plan! {} }

/// The type of a column's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// Signed, 32 bits.
    Int32,
    /// Signed, 64 bits.
    Int64,
    /// IEEE single precision.
    Float32,
}

/// One column of [`StepBuffers`]: what a runner must allocate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// The name of the field.
    pub name: &'static str,
    /// The type of its elements.
    pub column_type: ColumnType,
    /// Elements that it must hold.
    pub len: usize,
}

/// The part of a column that plans fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnUse {
    /// The name of the field of [`StepBuffers`].
    pub name: &'static str,
    /// The type of its elements.
    pub column_type: ColumnType,
    /// The sizes of a plan that say together how many elements it fills; none for a column that the
    /// engine leaves alone.
    pub sizes: &'static [&'static str],
    /// Further elements that it fills.
    pub more: usize,
    /// The meaning of its elements.
    pub about: &'static str,
}

/// One column's memory, as a runner in another language lends it.
#[derive(Debug)]
pub enum ColumnSlice<'a> {
    /// A column of [`ColumnType::Int32`].
    Int32(&'a mut [i32]),
    /// A column of [`ColumnType::Int64`].
    Int64(&'a mut [i64]),
    /// A column of [`ColumnType::Float32`].
    Float32(&'a mut [f32]),
}

/// Maximum biases of one sample: the client's, and its stop tokens while they are forbidden.
const MAX_BIASES: usize = MAX_LOGIT_BIAS + MAX_STOP_TOKEN_IDS;

/// Each column with the elements that it must hold, and the sizes of a plan that say how many of
/// them it fills. The parameters of new rows come between what is before and behind them.
macro_rules! step_buffers {
    ($config:ident { $($before:tt)* } { $($behind:tt)* }
     { $($(#[doc = $about:literal])* $name:ident: $type:ident = $neutral:expr, $range:ident;)* }) => {
        step_buffers! { $config;
            $($before)*
            $($(#[doc = $about])* $name: <$type as RowNumber>::Element [$config.max_num_seqs] [num_new_rows],)*
            $($behind)*
        }

        /// Writes what the plans say of a new row, whose parameters these are, to this place in
        /// the columns.
        pub(crate) fn write_parameters(buffers: &mut StepBuffers<'_>, index: usize, sampling: &SamplingParams) {
            $(buffers.$name[index] = sampling.$name.element();)*
        }
    };
    ($config:ident; $($(#[doc = $about:literal])* $name:ident: $rust:ty [$len:expr] [$($size:ident),* $(; $more:literal)?],)*) => {
        /// The columns that a plan is written into. The runner owns them; the engine writes a
        /// prefix of each.
        #[derive(Debug)]
        pub struct StepBuffers<'a> {
            $($(#[doc = $about])* pub $name: &'a mut [$rust],)*
        }

        impl<'a> StepBuffers<'a> {
            /// Puts columns together that come one by one, in the order and of the types of
            /// [`step_columns`].
            ///
            /// # Panics
            /// If a column is missing or of another type.
            pub fn from_columns(columns: impl IntoIterator<Item = ColumnSlice<'a>>) -> Self {
                let mut columns = columns.into_iter();
                Self {
                    $($name: columns
                        .next()
                        .and_then(<$rust as Element>::of)
                        .unwrap_or_else(|| panic!("column `{}` is missing or of another type", stringify!($name))),)*
                }
            }
        }

        /// Returns the columns that a runner must allocate for an engine of this configuration, in
        /// the order of the fields.
        #[must_use]
        pub fn step_columns($config: &EngineConfig) -> Vec<Column> {
            vec![$(Column {
                name: stringify!($name),
                column_type: <$rust as Element>::COLUMN_TYPE,
                len: $len,
            },)*]
        }

        /// The same columns, with what plans fill of them.
        pub const COLUMNS: &[ColumnUse] = &[$(ColumnUse {
            name: stringify!($name),
            column_type: <$rust as Element>::COLUMN_TYPE,
            sizes: &[$(stringify!($size)),*],
            more: 0 $(+ $more)?,
            about: concat!($($about),*),
        },)*];

        /// The same columns as plain vectors, for runners in Rust and for tests.
        #[derive(Debug, Clone)]
        pub struct OwnedStepBuffers {
            $($(#[doc = $about])* pub $name: Vec<$rust>,)*
        }

        impl OwnedStepBuffers {
            /// Allocates every column for an engine of this configuration.
            #[must_use]
            pub fn new($config: &EngineConfig) -> Self {
                Self { $($name: vec![<$rust>::default(); $len],)* }
            }

            /// Lends the columns to the engine.
            pub fn borrow(&mut self) -> StepBuffers<'_> {
                StepBuffers { $($name: &mut self.$name,)* }
            }
        }

        impl StepPlan {
            /// The names of the columns, in the order of [`StepPlan::column_hashes`].
            pub const COLUMN_NAMES: [&'static str; [$(stringify!($name)),*].len()] = [$(stringify!($name)),*];

            /// Returns a hash of what this plan uses of each column; 0 where it uses nothing. It is
            /// the same on every machine and in every build. The columns must be as
            /// [`Engine::schedule`](crate::Engine::schedule) has left them.
            #[must_use]
            pub fn column_hashes(&self, columns: &StepBuffers<'_>) -> [u32; Self::COLUMN_NAMES.len()] {
                [$(hash(&columns.$name[..0 $(+ self.$size)* $(+ $more)?])),*]
            }
        }
    };
}

row_parameters! { step_buffers! {
    config
    {
        /// Input tokens, `[num_tokens + num_padding]`. 0 where the token is known only to the
        /// device.
        token_ids: i32 [config.max_num_batched_tokens] [num_tokens, num_padding],
        /// Position of each token in its sequence, `[num_tokens + num_padding]`.
        positions: i32 [config.max_num_batched_tokens] [num_tokens, num_padding],
        /// Slot that each token's key and value are written to, `[num_tokens + num_padding]`; -1
        /// for nowhere.
        slot_mapping: i64 [config.max_num_batched_tokens] [num_tokens, num_padding],
        /// Where each sequence's tokens begin, `[num_seqs + num_padding + 1]`.
        query_starts: i32 [config.max_num_seqs + 1] [num_seqs, num_padding; 1],
        /// Tokens of each sequence in the KV cache once the step has run,
        /// `[num_seqs + num_padding]`.
        context_lens: i32 [config.max_num_seqs] [num_seqs, num_padding],
        /// The row of each sequence, `[num_seqs + num_padding]`.
        seq_rows: i32 [config.max_num_seqs] [num_seqs, num_padding],
        /// Where the block tables change, `[num_block_updates]`: the row times
        /// `max_blocks_per_seq`, plus the block's number in its sequence.
        block_places: i32 [config.max_num_seqs * config.max_blocks_per_seq()] [num_block_updates],
        /// The block that is there from now on, `[num_block_updates]`.
        block_ids: i32 [config.max_num_seqs * config.max_blocks_per_seq()] [num_block_updates],
        /// Index of the token whose logits are sampled, `[num_samples]`.
        logits_indices: i32 [config.max_num_seqs] [num_samples],
        /// Row of the sequence that each sample belongs to, `[num_samples]`. The runner leaves the
        /// sampled token there, on the device, for the next step.
        sample_rows: i32 [config.max_num_seqs] [num_samples],
        /// Tokens of that sequence in the KV cache once the step has run, `[num_samples]`: what the
        /// sampled token attends to.
        sample_context_lens: i32 [config.max_num_seqs] [num_samples],
        /// Rows that belong to another sequence from now on, or to one that comes back after a
        /// preemption, `[num_new_rows]`.
        new_rows: i32 [config.max_num_seqs] [num_new_rows],
    }
    {
        /// The random number in `[0, 1)` that decides each draw, `[num_samples]`.
        uniform: f32 [config.max_num_seqs] [num_samples],
        /// Which of `token_ids` must be replaced by a token that only the device knows,
        /// `[num_device_tokens]`.
        device_token_indices: i32 [config.max_num_seqs] [num_device_tokens],
        /// The row that holds each of those tokens, `[num_device_tokens]`.
        device_token_rows: i32 [config.max_num_seqs] [num_device_tokens],
        /// Which of `token_ids` are counted, `[num_counted_tokens]`: all of the sequences that have
        /// a penalty.
        counted_indices: i32 [config.max_num_batched_tokens] [num_counted_tokens],
        /// The row that each of them is counted in, `[num_counted_tokens]`.
        counted_rows: i32 [config.max_num_batched_tokens] [num_counted_tokens],
        /// 1 for a token of the output, 0 for one of the prompt, `[num_counted_tokens]`.
        counted_as_output: i32 [config.max_num_batched_tokens] [num_counted_tokens],
        /// Which samples have a penalty, `[num_penalised_samples]`.
        penalised_samples: i32 [config.max_num_seqs] [num_penalised_samples],
        /// Which samples have a mask, `[num_masked_samples]`.
        masked_samples: i32 [config.max_num_seqs] [num_masked_samples],
        /// The masks, `[num_masked_samples, num_mask_words]`: a token may be drawn if bit
        /// `token % 32` of its row's word `token / 32` is set. The engine leaves this column alone:
        /// what makes the masks writes them before the plan is carried out, those of
        /// `Engine::masked_requests` in their order.
        mask_words: i32 [config.max_num_seqs * config.num_mask_words] [],
        /// The sample of each bias, `[num_biases]`.
        bias_samples: i32 [config.max_num_seqs * MAX_BIASES] [num_biases],
        /// The token that it is for, `[num_biases]`. A stop token may lie beyond the model's
        /// vocabulary.
        bias_tokens: i32 [config.max_num_seqs * MAX_BIASES] [num_biases],
        /// What is added to the logit, `[num_biases]`; negative infinity forbids the token.
        bias_values: f32 [config.max_num_seqs * MAX_BIASES] [num_biases],
        /// Which samples' log-probabilities are wanted, `[num_scored_samples]`.
        scored_samples: i32 [config.max_num_seqs] [num_scored_samples],
        /// Which of the step's tokens are followed by a prompt token whose log-probability is
        /// wanted, `[num_scored_tokens]`.
        scored_indices: i32 [config.max_num_batched_tokens] [num_scored_tokens],
        /// The prompt token that follows each of them, `[num_scored_tokens]`.
        scored_targets: i32 [config.max_num_batched_tokens] [num_scored_tokens],
    }
} }
