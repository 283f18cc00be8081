//! Log-probabilities that are easy to tell apart: the token that is there has that of its rank, and
//! the tokens behind it are the next likely ones.

use streamcore_engine::{OwnedStepBuffers, Scores, StepPlan};

use super::model::END_TOKEN;

/// The scores of a step: one row for each scored sample, then one for each scored prompt token.
#[derive(Default)]
pub struct OwnedScores {
    logprobs: Vec<f32>,
    top_ids: Vec<i32>,
    top_logprobs: Vec<f32>,
}

impl OwnedScores {
    pub fn new(plan: &StepPlan, buffers: &OwnedStepBuffers, sampled: &[i32]) -> Self {
        let mut scores = Self::default();
        for sample in &buffers.scored_samples[..plan.num_scored_samples] {
            scores.add(sampled[usize::try_from(*sample).unwrap()], plan.max_top_logprobs);
        }
        for target in &buffers.scored_targets[..plan.num_scored_tokens] {
            scores.add(*target, plan.max_top_logprobs);
        }
        scores
    }

    /// Even tokens are the likeliest; odd ones are behind all reported ones.
    fn add(&mut self, token: i32, num_top: usize) {
        let is_likeliest = token % 2 == 0;
        self.logprobs.push(if is_likeliest { -0.5 } else { -9.5 });
        for rank in 0..num_top {
            let candidate = token + i32::try_from(rank).unwrap() + i32::from(!is_likeliest);
            self.top_ids.push(candidate % (END_TOKEN + 1).cast_signed());
            self.top_logprobs.push(-0.5 - rank as f32);
        }
    }

    pub fn borrow(&self) -> Scores<'_> {
        Scores::new(&self.logprobs, &self.top_ids, &self.top_logprobs).unwrap()
    }
}
