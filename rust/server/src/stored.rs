//! Responses that are kept for their clients: in memory, within the pools of the ledger, for a day.

mod kept;
mod record;
mod replay;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::kept::KeptFor;
pub use self::record::{Events, Recording, StoredResponse};
pub use self::replay::replay;
use crate::ledger::{Charge, Full, Ledger, Pool};

/// How long a response is kept, from the last time that it was asked for.
pub const MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The owner of a response: the number of an API key.
pub type Owner = u32;

/// A response at its start.
#[derive(Debug)]
pub struct NewResponse {
    /// The id, which cannot be guessed.
    pub id: String,
    /// The client that may read it.
    pub owner: Owner,
    /// The response that it follows.
    pub previous: Option<String>,
    /// The input items, as a list in JSON.
    pub input: Vec<u8>,
    /// Whether its events are kept, so that a stream can be resumed.
    pub keeps_events: bool,
    /// Whether it goes on when its client leaves.
    pub is_background: bool,
}

/// All stored responses. Running ones are never evicted for others.
#[derive(Debug)]
pub struct ResponseStore {
    ledger: Arc<Ledger>,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_id: HashMap<String, Entry>,
    /// Those of each owner, from the one that was asked for first to the last.
    by_use: BTreeMap<Owner, BTreeMap<u64, String>>,
    num_uses: u64,
}

#[derive(Debug)]
struct Entry {
    response: Arc<StoredResponse>,
    nth_use: u64,
    used_at: Instant,
    _place: Charge,
}

impl ResponseStore {
    /// Creates an empty store.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self { ledger, entries: Mutex::default() })
    }

    /// Begins to keep a response.
    ///
    /// # Errors
    /// There is no room beside the responses that run, and those within the parts of other keys.
    pub fn open(self: &Arc<Self>, mut new: NewResponse, now: Instant) -> Result<Recording, Full> {
        new.input.shrink_to_fit();
        let (owner, num_bytes) = (new.owner, record::num_bytes(&new));
        let mut entries = lock(&self.entries);
        entries.expire(now);
        let _place = self.take(&mut entries, Pool::StoredResponses, owner, 1)?;
        let bytes = self.take(&mut entries, Pool::StoredBytes, owner, num_bytes)?;
        let response = Arc::new(StoredResponse::new(new, bytes));
        let nth_use = entries.use_now(response.id(), owner);
        let entry = Entry { response: Arc::clone(&response), nth_use, used_at: now, _place };
        entries.by_id.insert(response.id().to_owned(), entry);
        Ok(Recording::new(Arc::clone(self), response))
    }

    /// Returns the response of this id, if it belongs to this client.
    pub fn find(&self, id: &str, owner: Owner, now: Instant) -> Option<Arc<StoredResponse>> {
        let mut entries = lock(&self.entries);
        entries.expire(now);
        entries.by_id.get(id).filter(|entry| entry.response.owner() == owner)?;
        let nth_use = entries.use_now(id, owner);
        let entry = entries.by_id.get_mut(id)?;
        entry.used_at = now;
        let before = std::mem::replace(&mut entry.nth_use, nth_use);
        let response = Arc::clone(&entry.response);
        entries.unlist(owner, before);
        Some(response)
    }

    /// Deletes a response. Returns whether it was there.
    pub fn delete(&self, id: &str, owner: Owner) -> bool {
        let mut entries = lock(&self.entries);
        let is_theirs = entries.by_id.get(id).is_some_and(|entry| entry.response.owner() == owner);
        if is_theirs {
            entries.forget(id);
        }
        is_theirs
    }

    /// Returns the number of stored responses.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.entries).by_id.len()
    }

    /// Returns whether the store is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take(&self, entries: &mut Entries, pool: Pool, owner: Owner, amount: usize) -> Result<Charge, Full> {
        loop {
            match self.ledger.charge(pool, owner, amount) {
                Err(full) if !self.forget_one(entries, pool, owner, amount) => return Err(full),
                Err(_) => {}
                Ok(charge) => return Ok(charge),
            }
        }
    }

    /// Makes some room for a response that grows to this many bytes. Returns whether anything could
    /// be forgotten.
    fn make_room(&self, owner: Owner, num_bytes: usize) -> bool {
        self.forget_one(&mut lock(&self.entries), Pool::StoredBytes, owner, num_bytes)
    }

    /// Forgets the response that has not been asked for the longest, of those that have ended: one
    /// of the owner's, or else one of a key that has more than its part. None for what never fits.
    fn forget_one(&self, entries: &mut Entries, pool: Pool, owner: Owner, wanted: usize) -> bool {
        if wanted > self.ledger.most_of_one_key(pool) {
            return false;
        }
        let id = entries.oldest(|other| other == owner).or_else(|| {
            entries.oldest(|other| other != owner && self.ledger.has_more_than_part(pool, other))
        });
        id.inspect(|id| entries.forget(id)).is_some()
    }
}

impl Entries {
    /// The response of these owners that has not been asked for the longest, of those that have
    /// ended.
    fn oldest(&self, is_of: impl Fn(Owner) -> bool) -> Option<String> {
        let lists = self.by_use.iter().filter(|(owner, _)| is_of(**owner));
        let of_each = lists.filter_map(|(_, list)| list.iter().find(|(_, id)| self.has_ended(id)));
        of_each.min_by_key(|(nth_use, _)| **nth_use).map(|(_, id)| id.clone())
    }

    fn has_ended(&self, id: &str) -> bool {
        self.by_id.get(id).is_some_and(|entry| entry.response.is_over())
    }

    /// Notes that a response is asked for. Returns where it is in the list.
    fn use_now(&mut self, id: &str, owner: Owner) -> u64 {
        self.num_uses += 1;
        self.by_use.entry(owner).or_default().insert(self.num_uses, id.to_owned());
        self.num_uses
    }

    fn unlist(&mut self, owner: Owner, nth_use: u64) {
        if let Some(list) = self.by_use.get_mut(&owner) {
            list.remove(&nth_use);
        }
    }

    fn expire(&mut self, now: Instant) {
        let is_old = |id: &&String| {
            let entry = self.by_id.get(*id)?;
            Some(now.saturating_duration_since(entry.used_at) > MAX_AGE)
        };
        let of_each = |list: &BTreeMap<u64, String>| {
            let old = list.values().take_while(|id| is_old(id) == Some(true));
            old.filter(|id| self.has_ended(id)).cloned().collect::<Vec<_>>()
        };
        let old: Vec<_> = self.by_use.values().flat_map(of_each).collect();
        old.iter().for_each(|id| self.forget(id));
    }

    fn forget(&mut self, id: &str) {
        if let Some(entry) = self.by_id.remove(id) {
            self.unlist(entry.response.owner(), entry.nth_use);
            entry.response.forget();
        }
    }
}

/// Locks, also after a panic elsewhere: what these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
