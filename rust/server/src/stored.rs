//! Stored responses: in memory, bounded by number, bytes and age.

mod kept;
mod record;
mod replay;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use self::kept::KeptFor;
pub use self::record::{Events, Recording, StoredResponse};
pub use self::replay::replay;

/// Limits of the stored responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreLimits {
    /// Responses.
    pub max_responses: usize,
    /// Bytes that they take, without the fixed part of each.
    pub max_bytes: usize,
    /// Maximum age since a response was last requested.
    pub max_age: Duration,
}

impl StoreLimits {
    /// Limits the number of responses, and their bytes to a small part of a machine's memory.
    #[must_use]
    pub fn of(max_responses: usize) -> Self {
        Self { max_responses, max_bytes: 256 << 20, max_age: Duration::from_secs(24 * 60 * 60) }
    }
}

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
    limits: StoreLimits,
    /// Bytes of all responses. Changed without the entries' lock while a response grows.
    num_bytes: AtomicUsize,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    by_id: HashMap<String, Entry>,
    /// Ids from the least to the most recently requested.
    by_use: BTreeMap<u64, String>,
    num_uses: u64,
}

#[derive(Debug)]
struct Entry {
    response: Arc<StoredResponse>,
    nth_use: u64,
    used_at: Instant,
}

impl ResponseStore {
    /// Creates an empty store.
    #[must_use]
    pub fn new(limits: StoreLimits) -> Arc<Self> {
        Arc::new(Self { limits, num_bytes: AtomicUsize::new(0), entries: Mutex::default() })
    }

    /// Starts to store a response, unless running ones leave no room.
    pub fn open(self: &Arc<Self>, new: NewResponse, now: Instant) -> Option<Recording> {
        let response = Arc::new(StoredResponse::new(new));
        let mut entries = lock(&self.entries);
        self.expire(&mut entries, now);
        let num_bytes = response.num_bytes();
        while entries.by_id.len() >= self.limits.max_responses {
            self.forget_oldest(&mut entries)?;
        }
        while !self.take_room(num_bytes) {
            self.forget_oldest(&mut entries)?;
        }
        let nth_use = entries.next_use(response.id());
        let entry = Entry { response: Arc::clone(&response), nth_use, used_at: now };
        entries.by_id.insert(response.id().to_owned(), entry);
        Some(Recording::new(Arc::clone(self), response))
    }

    /// Returns the response of this id, if it belongs to this client.
    pub fn find(&self, id: &str, owner: Owner, now: Instant) -> Option<Arc<StoredResponse>> {
        let mut entries = lock(&self.entries);
        self.expire(&mut entries, now);
        entries.by_id.get(id).filter(|entry| entry.response.owner() == owner)?;
        let nth_use = entries.next_use(id);
        let entry = entries.by_id.get_mut(id)?;
        entry.used_at = now;
        let before = std::mem::replace(&mut entry.nth_use, nth_use);
        let response = Arc::clone(&entry.response);
        entries.by_use.remove(&before);
        Some(response)
    }

    /// Deletes a response. Returns whether it was there.
    pub fn delete(&self, id: &str, owner: Owner) -> bool {
        let mut entries = lock(&self.entries);
        let is_theirs = entries.by_id.get(id).is_some_and(|entry| entry.response.owner() == owner);
        if is_theirs {
            self.forget(&mut entries, id);
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

    /// Returns the bytes of all responses.
    #[must_use]
    pub fn num_bytes(&self) -> usize {
        self.num_bytes.load(Relaxed)
    }

    /// Takes room for a growing response, evicting others. Returns whether there was room.
    fn grow(&self, num_bytes: usize) -> bool {
        while !self.take_room(num_bytes) {
            if self.forget_oldest(&mut lock(&self.entries)).is_none() {
                return false;
            }
        }
        true
    }

    fn take_room(&self, num_bytes: usize) -> bool {
        let sum = |taken: usize| {
            let sum = taken.saturating_add(num_bytes);
            (sum <= self.limits.max_bytes).then_some(sum)
        };
        self.num_bytes.fetch_update(Relaxed, Relaxed, sum).is_ok()
    }

    fn shrink(&self, num_bytes: usize) {
        self.num_bytes.fetch_sub(num_bytes, Relaxed);
    }

    /// Evicts the least recently requested of the finished responses.
    fn forget_oldest(&self, entries: &mut Entries) -> Option<()> {
        let has_ended = |id: &&String| entries.by_id.get(*id).is_some_and(|entry| entry.response.is_over());
        let id = entries.by_use.values().find(has_ended)?.clone();
        self.forget(entries, &id);
        Some(())
    }

    fn expire(&self, entries: &mut Entries, now: Instant) {
        let is_old = |entry: &Entry| now.saturating_duration_since(entry.used_at) > self.limits.max_age;
        while let Some((_, id)) = entries.by_use.first_key_value() {
            if !entries.by_id.get(id).is_some_and(|entry| is_old(entry) && entry.response.is_over()) {
                return;
            }
            let id = id.clone();
            self.forget(entries, &id);
        }
    }

    fn forget(&self, entries: &mut Entries, id: &str) {
        if let Some(entry) = entries.by_id.remove(id) {
            entries.by_use.remove(&entry.nth_use);
            self.shrink(entry.response.forget());
        }
    }
}

impl Entries {
    fn next_use(&mut self, id: &str) -> u64 {
        self.num_uses += 1;
        self.by_use.insert(self.num_uses, id.to_owned());
        self.num_uses
    }
}

/// Locks, also after a panic elsewhere: what these locks guard is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
