//! The requests of a load and their arrivals: generated from a few numbers, or from a trace.

use serde::Deserialize;
use streamcore_engine::{Request, RequestId};

use super::SettingError;
use super::rng::Rng;
use crate::recording::Recording;

/// The arrival of one request.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// When it arrives, unless that depends on the answers to others.
    pub(crate) at_ns: u64,
    /// The request without an id; `max_tokens` is the number of tokens that it draws.
    pub(crate) request: Request,
    /// Its drawn tokens; beyond them, and in generated loads, any token.
    pub(crate) output: Vec<u32>,
}

/// A length, drawn evenly from a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lengths {
    /// The shortest.
    pub min: usize,
    /// The longest.
    pub max: usize,
}

impl Lengths {
    fn draw(self, rng: &mut Rng) -> usize {
        self.min + rng.below((self.max - self.min) as u64 + 1) as usize
    }

    fn validate(self, name: &str) -> Result<(), SettingError> {
        let Self { min, max } = self;
        if min == 0 || max < min {
            return Err(SettingError::new(format!(
                "`{name}` is {min} to {max}, it must be at least 1 and grow"
            )));
        }
        Ok(())
    }
}

/// A generated load.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratedLoad {
    /// Number of requests.
    pub num_requests: u64,
    /// The pace of arrivals.
    pub pace: Pace,
    /// Tokens of each prompt, those of a shared prefix not counted.
    pub prompt_len: Lengths,
    /// Tokens of each answer.
    pub output_len: Lengths,
    /// Prompts begin with one of this many prefixes.
    pub num_prefixes: usize,
    /// Tokens of a prefix.
    pub prefix_len: usize,
    /// The part of each key in the requests; the keys are numbered from 1. None: all are of key 0.
    pub key_weights: Vec<f64>,
    /// The seed: the same seed gives the same requests.
    pub seed: u64,
}

/// The pace of arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Independently of each other, this many a second on average.
    Rate(f64),
    /// From this many clients, each of which waits for its answer before its next request.
    Concurrency(usize),
}

impl GeneratedLoad {
    /// Checks every number.
    ///
    /// # Errors
    /// Names the invalid value.
    pub fn validate(&self) -> Result<(), SettingError> {
        self.prompt_len.validate("prompt_len")?;
        self.output_len.validate("output_len")?;
        let wrong = match self.pace {
            Pace::Rate(rate) if !(rate.is_finite() && rate > 0.0) => {
                format!("`rate` is {rate}, it must be more than 0")
            }
            Pace::Concurrency(0) => "`concurrency` is 0, it must be at least 1".to_owned(),
            _ if self.key_weights.iter().any(|weight| !(weight.is_finite() && *weight > 0.0)) => {
                format!("`key_weights` is {:?}, each must be more than 0", self.key_weights)
            }
            _ => return Ok(()),
        };
        Err(SettingError::new(wrong))
    }

    /// Returns the tokens of the longest request, prompt and answer.
    #[must_use]
    pub fn max_len(&self) -> usize {
        self.longest_prompt() + self.output_len.max
    }

    /// Returns the tokens of the longest prompt.
    #[must_use]
    pub fn longest_prompt(&self) -> usize {
        let prefix_len = if self.num_prefixes > 0 { self.prefix_len } else { 0 };
        prefix_len + self.prompt_len.max
    }
}

/// Makes the requests of a [`GeneratedLoad`] one by one.
#[derive(Debug)]
pub(crate) struct Generator {
    load: GeneratedLoad,
    prefixes: Vec<Vec<u32>>,
    rng: Rng,
    num_left: u64,
    at_s: f64,
}

impl Generator {
    pub(crate) fn new(load: GeneratedLoad) -> Self {
        let mut rng = Rng::new(load.seed);
        let prefixes = (0..load.num_prefixes).map(|_| rng.tokens(load.prefix_len).collect()).collect();
        Self { num_left: load.num_requests, prefixes, rng, at_s: 0.0, load }
    }

    fn next(&mut self) -> Option<Arrival> {
        self.num_left = self.num_left.checked_sub(1)?;
        let rng = &mut self.rng;
        if let Pace::Rate(rate) = self.load.pace {
            self.at_s += rng.exponential() / rate;
        }
        let own_len = self.load.prompt_len.draw(rng);
        let mut prompt = Vec::with_capacity(self.load.longest_prompt());
        if !self.prefixes.is_empty() {
            prompt.extend_from_slice(&self.prefixes[rng.below(self.prefixes.len() as u64) as usize]);
        }
        prompt.extend(rng.tokens(own_len));
        let output_len = self.load.output_len.draw(rng);
        let key = draw_key(&self.load.key_weights, rng);
        let request = Request { key, ..Request::new(RequestId(0), prompt, output_len) };
        Some(Arrival { at_ns: (self.at_s * 1e9) as u64, request, output: Vec::new() })
    }
}

fn draw_key(weights: &[f64], rng: &mut Rng) -> u32 {
    let mut left = weights.iter().sum::<f64>() * rng.fraction();
    let keys = (1..).zip(weights);
    let drawn = keys.clone().find(|(_, weight)| {
        left -= **weight;
        left < 0.0
    });
    // Rounding may pass the last key.
    drawn.or_else(|| keys.last()).map_or(0, |(key, _)| key)
}

/// The source of a simulation's requests.
#[derive(Debug)]
pub(crate) enum Load {
    Generated(Box<Generator>),
    Recorded(Recording),
}

impl Load {
    /// Returns the next arrival, in order.
    pub(crate) fn next(&mut self) -> Option<Arrival> {
        match self {
            Self::Generated(generator) => generator.next(),
            Self::Recorded(recording) => recording.next_arrival(),
        }
    }

    /// Returns the maximum concurrent requests.
    pub(crate) fn concurrency(&self) -> Option<usize> {
        match self {
            Self::Generated(generator) => match generator.load.pace {
                Pace::Concurrency(limit) => Some(limit),
                Pace::Rate(_) => None,
            },
            Self::Recorded(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> GeneratedLoad {
        GeneratedLoad {
            num_requests: 20_000,
            pace: Pace::Rate(50.0),
            prompt_len: Lengths { min: 3, max: 5 },
            output_len: Lengths { min: 1, max: 2 },
            num_prefixes: 2,
            prefix_len: 4,
            key_weights: vec![3.0, 1.0],
            seed: 7,
        }
    }

    #[test]
    fn a_load_is_what_its_numbers_say() {
        // A load simulated at half its size makes half the machines look enough.
        let mut generator = Generator::new(load());
        let arrivals: Vec<Arrival> = std::iter::from_fn(|| generator.next()).collect();
        assert_eq!(arrivals.len(), 20_000);
        let seconds = arrivals.last().map_or(0.0, |last| last.at_ns as f64 / 1e9);
        assert!((380.0..420.0).contains(&seconds), "50 a second, not 20000 in {seconds} s");
        assert!(arrivals.is_sorted_by_key(|arrival| arrival.at_ns));
        let requests: Vec<&Request> = arrivals.iter().map(|arrival| &arrival.request).collect();
        let num_of = |is: &dyn Fn(&Request) -> bool| requests.iter().filter(|request| is(request)).count();
        for len in 7..=9 {
            assert!((6400..6900).contains(&num_of(&|request| request.prompt.len() == len)), "{len}");
        }
        assert!((9700..10300).contains(&num_of(&|request| request.max_tokens == 2)));
        assert!((14700..15300).contains(&num_of(&|request| request.key == 1)));
        assert_eq!(num_of(&|request| !(1..=2).contains(&request.key)), 0);
        let first = &requests[0].prompt[..4];
        assert!((9700..10300).contains(&num_of(&|request| request.prompt.starts_with(first))));
        assert_eq!(
            requests.iter().map(|request| &request.prompt).collect::<std::collections::HashSet<_>>().len(),
            20_000
        );
    }

    #[test]
    fn numbers_that_no_load_has_are_named() {
        // An endless or empty load would show as a simulation that hangs.
        let refused = |load: GeneratedLoad| load.validate().map_err(|error| error.to_string());
        assert_eq!(refused(load()), Ok(()));
        let rate = GeneratedLoad { pace: Pace::Rate(0.0), ..load() };
        assert_eq!(refused(rate), Err("`rate` is 0, it must be more than 0".to_owned()));
        let lens = GeneratedLoad { output_len: Lengths { min: 4, max: 3 }, ..load() };
        assert_eq!(refused(lens), Err("`output_len` is 4 to 3, it must be at least 1 and grow".to_owned()));
        let weights = GeneratedLoad { key_weights: vec![1.0, -1.0], ..load() };
        assert_eq!(
            refused(weights),
            Err("`key_weights` is [1.0, -1.0], each must be more than 0".to_owned())
        );
        assert!(refused(GeneratedLoad { pace: Pace::Concurrency(0), ..load() }).is_err());
    }
}
