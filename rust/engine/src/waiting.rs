//! The queue of the sequences that wait: one line for each priority and key, in the order of
//! precedence and arrival.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::policy::Rank;
use crate::sequence::SequenceKey;
use crate::shares::Shares;

/// The waiting sequences, by rank.
#[derive(Debug, Default)]
pub(crate) struct WaitingQueue {
    sequences: BTreeMap<Rank, SequenceKey>,
}

impl WaitingQueue {
    pub(crate) fn insert(&mut self, rank: Rank, key: SequenceKey) {
        self.sequences.insert(rank, key);
    }

    pub(crate) fn remove(&mut self, rank: Rank) {
        self.sequences.remove(&rank);
    }

    pub(crate) fn len(&self) -> usize {
        self.sequences.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Rank, SequenceKey)> {
        self.sequences.iter().map(|(rank, key)| (*rank, *key))
    }

    /// Returns the last sequence of the last line.
    pub(crate) fn last(&self) -> Option<(Rank, SequenceKey)> {
        self.sequences.last_key_value().map(|(rank, key)| (*rank, *key))
    }

    /// Returns the next sequence: of the most urgent priority, the first in line of the least
    /// served key.
    pub(crate) fn next(&self, shares: &Shares) -> Option<(Rank, SequenceKey)> {
        let (first, _) = self.sequences.first_key_value()?;
        let heads = self.heads().take_while(|(rank, _)| rank.priority == first.priority);
        heads.min_by_key(|(rank, _)| {
            let share = shares.get(rank.key);
            (share.num_tokens, share.num_running, rank.arrival)
        })
    }

    /// Returns the first of each line.
    fn heads(&self) -> impl Iterator<Item = (Rank, SequenceKey)> {
        let head_after = |bound| self.sequences.range((bound, Bound::Unbounded)).next();
        let next_head = move |(rank, _): &(&Rank, &SequenceKey)| {
            head_after(Bound::Excluded(Rank { precedence: i32::MAX, arrival: u64::MAX, ..**rank }))
        };
        std::iter::successors(head_after(Bound::Unbounded), next_head).map(|(rank, key)| (*rank, *key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(ranks: &[(i32, u32)]) -> WaitingQueue {
        let mut queue = WaitingQueue::default();
        for (arrival, (priority, key)) in (0..).zip(ranks) {
            let rank = Rank { priority: *priority, key: *key, precedence: 0, arrival };
            queue.insert(rank, SequenceKey(arrival as u32));
        }
        queue
    }

    #[test]
    fn the_least_served_key_comes_first_within_a_priority() {
        // The keys in front would each have to be served to the end before the others get anything.
        let mut shares = Shares::default();
        (1..=3).for_each(|key| shares.join(key));
        let mut queue = queue(&[(1, 2), (0, 1), (0, 1), (0, 2), (0, 3), (0, 2)]);
        let mut order = vec![];
        while let Some((rank, key)) = queue.next(&shares) {
            queue.remove(rank);
            shares.charge(rank.key, 10);
            order.push(key.0);
        }
        assert_eq!(order, [1, 3, 4, 2, 5, 0]);
    }
}
