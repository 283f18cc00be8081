//! The masks of constrained requests, which are made some time after each token.

use streamcore_engine::{RequestId, StepPlan};

use super::World;
use crate::common::model::expected_output;

impl World {
    /// A mask is done, perhaps after some that allowed one token only.
    pub(super) fn make_mask(&mut self) {
        let waiting: Vec<_> = self.awaiting_masks().collect();
        if waiting.is_empty() {
            return;
        }
        let id = waiting[self.dice.between(0, waiting.len() - 1)];
        let client = &self.clients[&id];
        let most =
            if client.request.logprobs.is_some() { 0 } else { self.dice.between(0, 5).saturating_sub(2) };
        let (tokens, _) = expected_output(&client.request);
        let forced: Vec<u32> = tokens.into_iter().skip(client.tokens.len()).take(most).collect();
        assert!(self.engine.resume(id, &forced), "{id:?} has waited for its mask");
        assert!(!self.engine.resume(id, &forced), "{id:?} has its mask");
        self.num_drawn += forced.len();
        self.count("forced tokens", forced.len());
        let client = self.clients.get_mut(&id).unwrap();
        (client.awaits_mask, client.num_forced) = (false, forced.len());
    }

    pub(super) fn awaiting_masks(&self) -> impl Iterator<Item = RequestId> {
        self.clients.iter().filter(|(_, client)| client.awaits_mask).map(|(id, _)| *id)
    }

    /// Each sample of a constrained request has a mask, and none is drawn without.
    pub(super) fn check_masks(&mut self, plan: &StepPlan) {
        let sampled: Vec<_> = self.engine.sampled_requests(plan.id).collect();
        let masked = &self.columns.masked_samples[..plan.num_masked_samples];
        let masked: Vec<_> = masked.iter().map(|sample| sampled[*sample as usize]).collect();
        assert!(self.engine.masked_requests(plan.id).eq(masked.iter().copied()));
        for id in sampled {
            let client = &self.clients[&id];
            assert_eq!(masked.contains(&id), client.request.is_constrained, "the mask of {id:?}");
            assert!(!client.awaits_mask, "{id:?} is drawn for without its mask");
        }
        self.count("masked samples", masked.len());
    }
}
