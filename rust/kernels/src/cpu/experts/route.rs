//! Routes tokens to experts, and finds their rows.

use std::cmp::Ordering;
use std::ops::Range;

use super::Experts;

/// The choices of all tokens. A choice is a token's place among those of its experts, in the order
/// of their numbers; it has a row among those of its expert.
pub(super) struct Routes {
    num_used: usize,
    /// Of each choice, those of one token together.
    weights: Vec<f32>,
    /// Of each choice.
    rows: Vec<usize>,
    /// Of each row.
    tokens: Vec<usize>,
    /// The experts that have rows, in order, with these.
    used: Vec<(usize, Range<usize>)>,
}

impl Routes {
    /// Chooses by the scores.
    ///
    /// # Safety
    /// As for [`experts`](super::experts).
    pub(super) unsafe fn of(args: &Experts) -> Self {
        let num_choices = args.num_tokens * args.num_used;
        let (mut chosen, mut weights) = (vec![0; num_choices], vec![0.0; num_choices]);
        let places = chosen.chunks_exact_mut(args.num_used).zip(weights.chunks_exact_mut(args.num_used));
        for (token, (chosen, weights)) in places.enumerate() {
            let first = (args.scores as *const f32).wrapping_add(token * args.num_experts);
            // SAFETY: the caller's promise.
            let scores = unsafe { std::slice::from_raw_parts(first, args.num_experts) };
            choose(scores, chosen);
            weigh(scores, chosen, args.over_chosen == 1, weights);
        }
        Self::sorted(args, &chosen, weights)
    }

    /// Gives each choice a row: experts in order, and the tokens of each.
    fn sorted(args: &Experts, chosen: &[usize], weights: Vec<f32>) -> Self {
        let mut counts = vec![0; args.num_experts];
        for &expert in chosen {
            counts[expert] += 1;
        }
        let mut used = Vec::with_capacity(args.num_experts.min(chosen.len()));
        let mut end = 0;
        for (expert, count) in counts.iter_mut().enumerate() {
            let start = end;
            end += *count;
            if *count > 0 {
                used.push((expert, start..end));
            }
            *count = start;
        }
        let mut next = counts;
        let mut tokens = vec![0; chosen.len()];
        let rows = chosen.iter().enumerate().map(|(choice, &expert)| {
            let row = next[expert];
            next[expert] += 1;
            tokens[row] = choice / args.num_used;
            row
        });
        let rows = rows.collect();
        Self { num_used: args.num_used, weights, rows, tokens, used }
    }

    pub(super) fn num_rows(&self) -> usize {
        self.tokens.len()
    }

    /// Returns the experts that have rows, in order, with these.
    pub(super) fn used(&self) -> &[(usize, Range<usize>)] {
        &self.used
    }

    pub(super) fn token_of(&self, row: usize) -> usize {
        self.tokens[row]
    }

    /// Returns the rows of a token with their weights, in the order of its experts.
    pub(super) fn rows_of(&self, token: usize) -> impl Iterator<Item = (usize, f32)> {
        let choices = token * self.num_used..(token + 1) * self.num_used;
        self.rows[choices.clone()].iter().copied().zip(self.weights[choices].iter().copied())
    }
}

/// The experts of the greatest scores, in the order of their numbers; of equal ones the lower.
///
/// Scores that are not numbers still choose as many different experts.
fn choose(scores: &[f32], chosen: &mut [usize]) {
    let mut num_kept = 0;
    for (number, score) in scores.iter().enumerate() {
        let is_kept_before = |&other: &usize| score.partial_cmp(&scores[other]) != Some(Ordering::Greater);
        let place = chosen[..num_kept].iter().rposition(is_kept_before).map_or(0, |before| before + 1);
        if place < chosen.len() {
            num_kept = chosen.len().min(num_kept + 1);
            chosen[place..num_kept].rotate_right(1);
            chosen[place] = number;
        }
    }
    chosen.sort_unstable();
}

/// The softmax over the chosen scores, or the part of theirs in that over all.
fn weigh(scores: &[f32], chosen: &[usize], over_chosen: bool, weights: &mut [f32]) {
    let greatest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponential = |score: f32| (score - greatest).exp();
    for (weight, &expert) in weights.iter_mut().zip(chosen) {
        *weight = exponential(scores[expert]);
    }
    let total: f32 =
        if over_chosen { weights.iter().sum() } else { scores.iter().copied().map(exponential).sum() };
    for weight in weights {
        *weight /= total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen<const N: usize>(scores: &[f32]) -> [usize; N] {
        let mut chosen = [0; N];
        choose(scores, &mut chosen);
        chosen
    }

    #[test]
    fn a_token_takes_the_best_experts_once_each() {
        // An expert that is taken twice would count twice, and its rival not at all.
        assert_eq!(chosen([0.5, 2.0, -1.0, 1.0].as_slice()), [1, 3]);
        assert_eq!(chosen([1.0, 1.0, 2.0, 1.0].as_slice()), [0, 1, 2]);
        assert_eq!(chosen([3.0, 2.0, 1.0].as_slice()), [0, 1, 2]);
        assert_eq!(chosen([f32::NAN, 1.0, f32::NAN, 2.0].as_slice()), [0, 3]);
        assert_eq!(chosen([f32::NEG_INFINITY; 4].as_slice()), [0, 1, 2]);
    }

    #[test]
    fn weights_are_shares_of_the_softmax() {
        // A wrong share scales what a layer adds, which no token shows at once.
        let scores = [1.0_f32.ln(), 2.0_f32.ln(), 5.0_f32.ln()];
        let mut weights = [0.0; 2];
        weigh(&scores, &[0, 2], false, &mut weights);
        assert!((weights[0] - 0.125).abs() < 1e-6 && (weights[1] - 0.625).abs() < 1e-6);
        weigh(&scores, &[0, 2], true, &mut weights);
        assert!((weights[0] - 1.0 / 6.0).abs() < 1e-6 && (weights[1] - 5.0 / 6.0).abs() < 1e-6);
    }
}
