//! Sampling parameters. One table lists the numeric ones; everything that repeats them is made from
//! it.

use crate::error::EngineError;
use crate::plan_hash::Element;
use crate::step::ColumnType;

/// Maximum entries of [`SamplingParams::logit_bias`].
pub const MAX_LOGIT_BIAS: usize = 300;

/// Calls a macro with what is given and, in braces behind it, the table of the numbers that a row
/// of the runner keeps: name, type, value that changes nothing, and what it may be.
///
/// One entry gives the field of [`SamplingParams`], its check, the column for new rows, the keyword
/// argument in Python, and the default that a model may set.
#[macro_export]
macro_rules! row_parameters {
    ($callback:ident! { $($given:tt)* }) => {
        $callback! { $($given)* {
            /// Divides the logits; 0 takes the most likely token.
            temperature: f32 = 0.0, NOT_NEGATIVE;
            /// Keeps the smallest set of tokens whose probability reaches this; 1 keeps all.
            top_p: f32 = 1.0, FRACTION;
            /// Keeps this many of the most likely tokens; 0 keeps all.
            top_k: u32 = 0, ANY;
            /// Keeps tokens that are at least this fraction as likely as the most likely one; 0
            /// keeps all.
            min_p: f32 = 0.0, FRACTION;
            /// Keeps tokens whose logits are within this many standard deviations of the greatest;
            /// 0 and below keep all.
            top_n_sigma: f32 = 0.0, FINITE;
            /// Divides logits of tokens in the prompt or the output if positive, multiplies them
            /// otherwise; 1 changes nothing.
            repetition_penalty: f32 = 1.0, POSITIVE;
            /// Is subtracted from a token's logit once for each time it is in the output; 0 changes
            /// nothing.
            frequency_penalty: f32 = 0.0, FINITE;
            /// Is subtracted from a token's logit if it is in the output; 0 changes nothing.
            presence_penalty: f32 = 0.0, FINITE;
        } }
    };
}

/// The range of a number, in words and as a test.
struct Range(&'static str, fn(f64) -> bool);

const ANY: Range = Range("a number", |_| true);
const FINITE: Range = Range("a number", f64::is_finite);
const NOT_NEGATIVE: Range = Range("a number that is not negative", |value| value.is_finite() && value >= 0.0);
const POSITIVE: Range = Range("a number above 0", |value| value.is_finite() && value > 0.0);
const FRACTION: Range = Range("from 0 to 1", |value| (0.0..=1.0).contains(&value));

/// A type of the table.
pub trait RowNumber: Copy {
    /// An element of its column.
    type Element;

    /// Returns the number in its column, the nearest one if that cannot hold it.
    fn element(self) -> Self::Element;
    /// Returns the nearest number of this type.
    fn nearest(value: f64) -> Self;
}

impl RowNumber for f32 {
    type Element = f32;

    fn element(self) -> f32 {
        self
    }

    fn nearest(value: f64) -> Self {
        value as f32
    }
}

impl RowNumber for u32 {
    type Element = i32;

    fn element(self) -> i32 {
        i32::try_from(self).unwrap_or(i32::MAX)
    }

    fn nearest(value: f64) -> Self {
        value as u32
    }
}

/// One entry of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowParameter {
    /// Of the field and of the column.
    pub name: &'static str,
    /// The type of the column.
    pub column_type: ColumnType,
    /// Its effect, and the value without one.
    pub about: &'static str,
}

macro_rules! sampling_params {
    ({ $($(#[doc = $about:literal])* $name:ident: $type:ident = $neutral:expr, $range:ident;)* }) => {
        /// How the next token is drawn: penalties and biases change the logits, `temperature`
        /// divides them, then `top_n_sigma`, `min_p`, `top_k` and `top_p` choose among the tokens,
        /// in this order.
        ///
        /// Start from [`SamplingParams::greedy`] and change what matters: fields may be added.
        #[derive(Debug, Clone, PartialEq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
        pub struct SamplingParams {
            $($(#[doc = $about])* pub $name: $type,)*
            /// Tokens, each at most once, and what is added to their logits; at most
            /// [`MAX_LOGIT_BIAS`].
            pub logit_bias: Vec<(u32, f32)>,
            /// Decides every draw, together with the position: the same seed gives the same tokens
            /// in any batch.
            pub seed: u64,
        }

        impl SamplingParams {
            /// Takes the most likely token, and changes no logits.
            #[must_use]
            pub fn greedy() -> Self {
                Self { $($name: $neutral,)* logit_bias: Vec::new(), seed: 0 }
            }

            /// Checks that a runner can work with every number.
            ///
            /// # Errors
            /// [`EngineError::OutOfRange`].
            pub(crate) fn check_ranges(&self) -> Result<(), EngineError> {
                $(if !$range.1(f64::from(self.$name)) {
                    return Err(out_of_range(stringify!($name), &self.$name, $range.0));
                })*
                // Negative infinity forbids a token.
                match self.logit_bias.iter().find(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY) {
                    Some((_, bias)) => Err(out_of_range("logit_bias", bias, FINITE.0)),
                    None => Ok(()),
                }
            }
        }

        /// The numbers of [`SamplingParams`] that a request or model sets.
        #[derive(Debug, Clone, Copy, Default, PartialEq)]
        pub struct GivenParameters {
            $($(#[doc = $about])* pub $name: Option<$type>,)*
        }

        impl GivenParameters {
            /// Reads each number by its name.
            pub fn by_name(mut number: impl FnMut(&'static str) -> Option<f64>) -> Self {
                Self { $($name: number(stringify!($name)).map(RowNumber::nearest),)* }
            }

            /// Returns what is given here, else there.
            #[must_use]
            pub fn or(self, other: Self) -> Self {
                Self { $($name: self.$name.or(other.$name),)* }
            }
        }

        impl From<GivenParameters> for SamplingParams {
            /// Fills missing numbers with values that change nothing.
            fn from(given: GivenParameters) -> Self {
                Self { $($name: given.$name.unwrap_or($neutral),)* ..Self::greedy() }
            }
        }

        /// The table, in the order of the columns.
        pub const ROW_PARAMETERS: &[RowParameter] = &[$(RowParameter {
            name: stringify!($name),
            column_type: <<$type as RowNumber>::Element as Element>::COLUMN_TYPE,
            about: concat!($($about),*),
        },)*];
    };
}

row_parameters! { sampling_params! {} }

fn out_of_range(field: &'static str, value: &impl ToString, range: &'static str) -> EngineError {
    EngineError::OutOfRange { field, value: value.to_string(), range }
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self::greedy()
    }
}

impl SamplingParams {
    /// Returns whether the tokens of the sequence change the logits.
    #[must_use]
    pub fn is_penalised(&self) -> bool {
        self.repetition_penalty != 1.0 || self.frequency_penalty != 0.0 || self.presence_penalty != 0.0
    }

    /// Returns the number in `[0, 1)` that decides the draw of the output token at this position, 0
    /// for the first.
    ///
    /// It is a pure function, so that neither the batch, nor a preemption, nor the number of steps
    /// in flight changes an answer: of [`split_mix_64`] the upper 24 bits, all that single
    /// precision holds, are the fraction.
    #[must_use]
    pub fn uniform(&self, position: usize) -> f32 {
        unit_interval(split_mix_64(self.seed, position as u64))
    }
}

/// Returns the upper 24 bits as a fraction: exact in single precision, and never rounded up to 1.
fn unit_interval(bits: u64) -> f32 {
    (bits >> 40) as f32 / (1_u32 << 24) as f32
}

/// Returns output `index`, from 0, of the `SplitMix64` generator (Steele, Lea, Flood, 2014) that
/// starts from `seed`. Its state grows by a constant per output, so it needs none of those before
/// it.
#[must_use]
pub fn split_mix_64(seed: u64, index: u64) -> u64 {
    let state = seed.wrapping_add((index.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_the_published_numbers() {
        // A silent change of the generator changes every recorded answer that has a seed.
        let outputs: Vec<u64> = (0..4).map(|index| split_mix_64(1_234_567, index)).collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
            4_593_380_528_125_082_431,
        ];
        assert_eq!(outputs, published);
    }

    #[test]
    fn a_draw_is_below_one_and_fills_the_range() {
        // A draw of exactly 1 lies beyond every cumulative probability: the sampler would pick past
        // the vocabulary.
        let sampling = SamplingParams { seed: u64::MAX, ..SamplingParams::greedy() };
        let draws: Vec<f32> = (0..10_000).map(|position| sampling.uniform(position)).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        let mean = draws.iter().sum::<f32>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "mean of the draws is {mean}");
        assert!(draws.iter().any(|draw| *draw < 0.001) && draws.iter().any(|draw| *draw > 0.999));
        assert!(unit_interval(u64::MAX) < 1.0);
    }
}
