//! The deadlines of requests.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::sequence::SequenceKey;

/// The deadlines of the requests that have one and have not finished, the earliest first.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    by_time: BTreeSet<(Duration, SequenceKey)>,
}

impl Deadlines {
    pub(crate) fn insert(&mut self, deadline: Duration, key: SequenceKey) {
        self.by_time.insert((deadline, key));
    }

    pub(crate) fn remove(&mut self, deadline: Duration, key: SequenceKey) {
        self.by_time.remove(&(deadline, key));
    }

    /// Returns a sequence whose deadline has passed.
    pub(crate) fn first_until(&self, now: Duration) -> Option<SequenceKey> {
        let (deadline, key) = self.by_time.first()?;
        (*deadline <= now).then_some(*key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Duration, SequenceKey)> {
        self.by_time.iter().copied()
    }
}
