//! All sequences that the engine knows, by key and by request.

use std::ops::{Index, IndexMut};

use rustc_hash::FxHashMap;

use crate::request::RequestId;
use crate::sequence::{Sequence, SequenceKey};

/// A slab: keys index a vector, so that a step touches no hash table. A finished sequence has a key
/// as long as a step in flight uses its blocks, and no entry under its request's name any more.
#[derive(Debug, Default)]
pub(crate) struct Sequences {
    slots: Vec<Option<Sequence>>,
    free: Vec<SequenceKey>,
    live: FxHashMap<RequestId, SequenceKey>,
}

impl Sequences {
    /// Returns the sequence of a request that has not finished.
    pub(crate) fn find(&self, id: RequestId) -> Option<SequenceKey> {
        self.live.get(&id).copied()
    }

    pub(crate) fn insert(&mut self, sequence: Sequence) -> SequenceKey {
        let key = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            SequenceKey(
                u32::try_from(self.slots.len() - 1).expect("sequences fill the memory before 32 bits"),
            )
        });
        self.live.insert(sequence.id, key);
        self.slots[key.0 as usize] = Some(sequence);
        key
    }

    /// Forgets a request's id: it can no longer be aborted.
    pub(crate) fn forget_request(&mut self, key: SequenceKey) {
        let id = self[key].id;
        self.live.remove(&id);
    }

    /// Removes a sequence and frees its key for another.
    pub(crate) fn remove(&mut self, key: SequenceKey) {
        self.slots[key.0 as usize] = None;
        self.free.push(key);
    }

    pub(crate) fn get(&self, key: SequenceKey) -> Option<&Sequence> {
        self.slots[key.0 as usize].as_ref()
    }

    /// Returns all sequences with their keys, those that have finished included.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (SequenceKey, &Sequence)> {
        (0..).map(SequenceKey).zip(&self.slots).filter_map(|(key, slot)| Some((key, slot.as_ref()?)))
    }

    /// Returns a bound above every key.
    pub(crate) fn num_keys(&self) -> usize {
        self.slots.len()
    }

    /// Returns the number of requests that have not finished.
    pub(crate) fn num_live(&self) -> usize {
        self.live.len()
    }
}

impl Index<SequenceKey> for Sequences {
    type Output = Sequence;

    fn index(&self, key: SequenceKey) -> &Sequence {
        self.slots[key.0 as usize].as_ref().expect("a key outlives its sequence in no queue")
    }
}

impl IndexMut<SequenceKey> for Sequences {
    fn index_mut(&mut self, key: SequenceKey) -> &mut Sequence {
        self.slots[key.0 as usize].as_mut().expect("a key outlives its sequence in no queue")
    }
}
