//! One stored response: its input, its present object, and its events so far.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::{NewResponse, Owner, ResponseStore, lock};
use crate::openai::responses::Status;

/// Approximate bytes of a response beside its texts: its entry, its id, its names.
const BYTES_OF_ENTRY: usize = 1024;
/// Bytes of an event's end in the list of ends.
const BYTES_OF_EVENT: usize = size_of::<usize>();

/// A stored response.
#[derive(Debug)]
pub struct StoredResponse {
    new: NewResponse,
    state: Mutex<State>,
    /// Notifies readers of changes.
    changed: watch::Sender<()>,
}

#[derive(Debug)]
struct State {
    status: Status,
    /// The object in JSON.
    body: Vec<u8>,
    /// Events, one behind the other.
    events: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// Events before these that were dropped.
    num_gone: u64,
    /// Whether the response has ended.
    is_over: bool,
    is_forgotten: bool,
    /// The task that runs it in the background.
    task: Option<AbortHandle>,
}

/// A part of a response's events, for a reader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Events {
    /// Events, and the number of the next.
    Some(Vec<u8>, u64),
    /// None so far.
    NotYet,
    /// No more events follow.
    Over,
    /// The events were dropped.
    Gone,
}

impl StoredResponse {
    pub(super) fn new(new: NewResponse) -> Self {
        let state = State {
            status: Status::Queued,
            body: Vec::new(),
            events: Vec::new(),
            ends: Vec::new(),
            num_gone: 0,
            is_over: false,
            is_forgotten: false,
            task: None,
        };
        Self { new, state: Mutex::new(state), changed: watch::Sender::new(()) }
    }

    /// Returns its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.new.id
    }

    /// Returns the client that may read it.
    #[must_use]
    pub fn owner(&self) -> Owner {
        self.new.owner
    }

    /// Returns the response that it follows.
    #[must_use]
    pub fn previous(&self) -> Option<&str> {
        self.new.previous.as_deref()
    }

    /// Returns its own input: a list of items in JSON.
    #[must_use]
    pub fn input(&self) -> &[u8] {
        &self.new.input
    }

    /// Returns whether it goes on when its client leaves.
    #[must_use]
    pub fn is_background(&self) -> bool {
        self.new.is_background
    }

    /// Returns whether its events are kept.
    #[must_use]
    pub fn keeps_events(&self) -> bool {
        self.new.keeps_events
    }

    /// Returns the present object.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        lock(&self.state).body.clone()
    }

    /// Returns whether the response has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        lock(&self.state).is_over
    }

    /// Returns the number of dropped events, the first ones.
    #[must_use]
    pub fn num_gone(&self) -> u64 {
        lock(&self.state).num_gone
    }

    /// Returns the events from `next` on: at least one, up to `max_bytes`.
    #[must_use]
    pub fn events_from(&self, next: u64, max_bytes: usize) -> Events {
        let state = lock(&self.state);
        if state.is_forgotten || next < state.num_gone {
            return Events::Gone;
        }
        let first = usize::try_from(next - state.num_gone).unwrap_or(usize::MAX);
        if first >= state.ends.len() {
            return if state.is_over { Events::Over } else { Events::NotYet };
        }
        let start = if first == 0 { 0 } else { state.ends[first - 1] };
        let fits = |end: &&usize| **end - start <= max_bytes;
        let num_fitting = state.ends[first..].iter().take_while(fits).count().max(1);
        let bytes = state.events[start..state.ends[first + num_fitting - 1]].to_vec();
        Events::Some(bytes, next + num_fitting as u64)
    }

    /// Returns a receiver of notifications of changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Sets the task that runs it.
    pub fn run_by(&self, task: AbortHandle) {
        lock(&self.state).task = Some(task);
    }

    /// Cancels it if it runs in the background. Its output so far stays.
    pub async fn cancel(&self) {
        let mut changed = self.watch();
        let Some(task) = lock(&self.state).task.take() else { return };
        task.abort();
        while !self.is_over() && changed.changed().await.is_ok() {}
    }

    pub(super) fn num_bytes(&self) -> usize {
        lock(&self.state).num_bytes(&self.new)
    }

    /// Drops its texts. Returns their bytes.
    pub(super) fn forget(&self) -> usize {
        let mut state = lock(&self.state);
        let num_bytes = state.num_bytes(&self.new);
        state.is_forgotten = true;
        (state.body, state.events, state.ends) = (Vec::new(), Vec::new(), Vec::new());
        if let Some(task) = state.task.take() {
            task.abort();
        }
        drop(state);
        self.changed.send_replace(());
        num_bytes
    }
}

impl State {
    fn num_bytes(&self, new: &NewResponse) -> usize {
        BYTES_OF_ENTRY
            + new.input.len()
            + self.body.len()
            + self.events.len()
            + self.ends.len() * BYTES_OF_EVENT
    }

    /// Drops all events so far. Returns their bytes.
    fn drop_events(&mut self) -> usize {
        let num_bytes = self.events.len() + self.ends.len() * BYTES_OF_EVENT;
        self.num_gone += self.ends.len() as u64;
        (self.events, self.ends) = (Vec::new(), Vec::new());
        num_bytes
    }
}

/// Records a response while it is generated.
#[derive(Debug)]
pub struct Recording {
    store: Arc<ResponseStore>,
    response: Arc<StoredResponse>,
}

impl Recording {
    pub(super) fn new(store: Arc<ResponseStore>, response: Arc<StoredResponse>) -> Self {
        Self { store, response }
    }

    /// Returns the response that it records.
    #[must_use]
    pub fn response(&self) -> Arc<StoredResponse> {
        Arc::clone(&self.response)
    }

    /// Adds an event. Without room, all events so far are dropped.
    pub fn add(&self, event: &[u8]) {
        if !self.response.keeps_events() {
            return;
        }
        let num_bytes = event.len() + BYTES_OF_EVENT;
        let has_room = self.store.grow(num_bytes);
        let mut state = lock(&self.response.state);
        if state.is_forgotten {
            drop(state);
            return self.store.shrink(if has_room { num_bytes } else { 0 });
        }
        if has_room {
            state.events.extend_from_slice(event);
            let end = state.events.len();
            state.ends.push(end);
        } else {
            let num_freed = state.drop_events();
            state.num_gone += 1;
            self.store.shrink(num_freed);
        }
        drop(state);
        self.response.changed.send_replace(());
    }

    /// Sets the present object.
    pub fn set(&self, status: Status, body: &[u8]) {
        let has_room = self.store.grow(body.len());
        let mut state = lock(&self.response.state);
        if state.is_forgotten {
            drop(state);
            return self.store.shrink(if has_room { body.len() } else { 0 });
        }
        state.status = status;
        let before = std::mem::take(&mut state.body);
        if has_room {
            state.body = body.to_vec();
        }
        drop(state);
        self.store.shrink(before.len());
        if !has_room {
            // Without its object the response is useless.
            self.store.delete(self.response.id(), self.response.owner());
        }
    }

    /// Ends the response.
    pub fn end(&self) {
        let mut state = lock(&self.response.state);
        state.is_over = true;
        state.task = None;
        state.events.shrink_to_fit();
        drop(state);
        self.response.changed.send_replace(());
    }
}

impl Drop for Recording {
    /// Deletes an unfinished response: it will never end.
    fn drop(&mut self) {
        if !self.response.is_over() {
            self.store.delete(self.response.id(), self.response.owner());
        }
    }
}
