//! One stored response: its input, its present object, and its events so far.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::{NewResponse, Owner, ResponseStore, lock};
use crate::ledger::Charge;
use crate::openai::responses::Status;

/// Approximate bytes of a response beside its texts: its entry, its id, its names.
const BYTES_OF_ENTRY: usize = 1024;
/// What each event takes beside its text, about: its place in the list of them, which grows by
/// doubling, and what the allocator adds.
const BYTES_OF_EVENT: usize = 64;

/// What a response takes before anything is said.
pub(super) fn num_bytes(new: &NewResponse) -> usize {
    BYTES_OF_ENTRY + new.input.len()
}

/// A response that is kept. What it takes is charged to its key until its last reader has gone.
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
    events: Vec<Box<[u8]>>,
    /// Bytes of the events.
    num_event_bytes: usize,
    /// Events before these that were dropped.
    num_gone: u64,
    /// Whether the response has ended.
    is_over: bool,
    is_forgotten: bool,
    /// The task that runs it in the background.
    task: Option<AbortHandle>,
    charge: Charge,
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
    /// One for which as much is charged as it takes now.
    pub(super) fn new(new: NewResponse, charge: Charge) -> Self {
        let state = State {
            status: Status::Queued,
            body: Vec::new(),
            events: Vec::new(),
            num_event_bytes: 0,
            num_gone: 0,
            is_over: false,
            is_forgotten: false,
            task: None,
            charge,
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
        let Some(rest @ [_, ..]) = state.events.get(first..) else {
            return if state.is_over { Events::Over } else { Events::NotYet };
        };
        let mut num_bytes = 0;
        let fits = |len: &usize| {
            num_bytes += len;
            num_bytes <= max_bytes
        };
        let num_fitting = rest.iter().map(|event| event.len()).take_while(fits).count();
        let fitting = &rest[..num_fitting.max(1)];
        Events::Some(fitting.concat(), next + fitting.len() as u64)
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

    /// Gives its texts back; its input stays for those who still read it.
    pub(super) fn forget(&self) {
        let mut state = lock(&self.state);
        state.is_forgotten = true;
        state.body = Vec::new();
        state.drop_events();
        if let Some(task) = state.task.take() {
            task.abort();
        }
        state.settle(&self.new);
        drop(state);
        self.changed.send_replace(());
    }
}

impl State {
    fn num_bytes(&self, new: &NewResponse) -> usize {
        num_bytes(new) + self.body.len() + self.num_event_bytes
    }

    /// Charges what it takes and no more.
    fn settle(&mut self, new: &NewResponse) {
        let num_bytes = self.num_bytes(new);
        self.charge.record(num_bytes);
    }

    /// Gives all events so far back.
    fn drop_events(&mut self) {
        self.num_gone += self.events.len() as u64;
        (self.events, self.num_event_bytes) = (Vec::new(), 0);
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
        let Some((mut state, has_room)) = self.make_room(num_bytes) else { return };
        if has_room {
            state.events.push(event.into());
            state.num_event_bytes += num_bytes;
        } else {
            state.drop_events();
            state.num_gone += 1;
            state.settle(&self.response.new);
        }
        drop(state);
        self.response.changed.send_replace(());
    }

    /// Sets the present object.
    pub fn set(&self, status: Status, body: &[u8]) {
        let Some((mut state, has_room)) = self.make_room(body.len()) else { return };
        state.status = status;
        state.body = if has_room { body.to_vec() } else { Vec::new() };
        state.settle(&self.response.new);
        drop(state);
        if !has_room {
            // Without its object the response is useless.
            self.store.delete(self.response.id(), self.response.owner());
        }
    }

    /// Charges this much more, evicting other responses for it. Returns the state, and whether
    /// there is room; `None` if the response itself has been forgotten.
    fn make_room(&self, num_bytes: usize) -> Option<(MutexGuard<'_, State>, bool)> {
        let StoredResponse { new, state, .. } = &*self.response;
        let mut is_in_vain = false;
        loop {
            let mut state = lock(state);
            if state.is_forgotten {
                return None;
            }
            let wanted = state.num_bytes(new) + num_bytes;
            let has_room = state.charge.resize(wanted).is_ok();
            if has_room || is_in_vain {
                return Some((state, has_room));
            }
            // The store locks its entries before the states of those that it forgets.
            drop(state);
            is_in_vain = !self.store.make_room(new.owner, wanted);
        }
    }

    /// Ends the response.
    pub fn end(&self) {
        let mut state = lock(&self.response.state);
        state.is_over = true;
        state.task = None;
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
