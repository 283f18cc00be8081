//! Turns for work that only a few may do at a time: keys alternate, so that a busy key delays
//! another by at most one piece of its work.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// A fixed number of turns, and the waiting keys.
#[derive(Debug)]
pub(crate) struct Turns(Mutex<State>);

#[derive(Debug)]
struct State {
    num_free: usize,
    /// In order of arrival.
    waiting: VecDeque<(u32, oneshot::Sender<Turn>)>,
    /// When each key had its last turn, for as long as any key waits.
    last: HashMap<u32, u64>,
    num_given: u64,
}

/// A turn to work, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Option<Arc<Turns>>);

impl Turns {
    pub(crate) fn new(num_turns: usize) -> Arc<Self> {
        let (waiting, last) = (VecDeque::new(), HashMap::new());
        Arc::new(Self(Mutex::new(State { num_free: num_turns, waiting, last, num_given: 0 })))
    }

    /// Waits for the turn of this key.
    pub(crate) async fn take(self: &Arc<Self>, key: u32) -> Turn {
        let waits = {
            let mut state = self.lock();
            if state.num_free > 0 {
                state.num_free -= 1;
                state.note(key);
                return Turn(Some(Arc::clone(self)));
            }
            let (sender, waits) = oneshot::channel();
            state.waiting.push_back((key, sender));
            waits
        };
        waits.await.expect("those who wait stand in line until they get their turn")
    }

    /// Hands a free turn to the waiting key whose last turn is the longest ago.
    fn pass_on(self: Arc<Self>) {
        let mut turn = Turn(Some(Arc::clone(&self)));
        let mut state = self.lock();
        while let Some((key, sender)) = state.take_next() {
            state.note(key);
            match sender.send(turn) {
                Ok(()) => return,
                // The waiting client has left.
                Err(unwanted) => turn = unwanted,
            }
        }
        turn.0 = None;
        state.num_free += 1;
        state.last.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn num_free(&self) -> usize {
        self.lock().num_free
    }
}

impl State {
    fn note(&mut self, key: u32) {
        self.num_given += 1;
        self.last.insert(key, self.num_given);
    }

    fn take_next(&mut self) -> Option<(u32, oneshot::Sender<Turn>)> {
        let last = |key: u32| self.last.get(&key).copied().unwrap_or(0);
        let places = self.waiting.iter().enumerate();
        let (at, _) = places.min_by_key(|(at, (key, _))| (last(*key), *at))?;
        self.waiting.remove(at)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// The long prompts of one customer, a thousand of them, would all be tokenised before the
    /// first of another.
    #[test]
    fn keys_take_turns_and_those_who_have_left_are_passed_over() {
        let turns = Turns::new(1);
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(first) = pin!(turns.take(1)).poll(&mut cx) else { panic!("it is free") };
        let keys = [1, 1, 1, 2, 3, 2];
        let mut waiting: Vec<_> = keys.iter().map(|key| (*key, Box::pin(turns.take(*key)))).collect();
        assert!(waiting.iter_mut().all(|(_, waits)| waits.as_mut().poll(&mut cx).is_pending()));
        drop(waiting.remove(4));
        drop(first);
        let mut order = Vec::new();
        while !waiting.is_empty() {
            let ready = waiting.iter_mut().position(|(_, waits)| waits.as_mut().poll(&mut cx).is_ready());
            let (key, turn) = waiting.remove(ready.expect("a turn is given on"));
            order.push(key);
            drop(turn);
        }
        assert_eq!(order, [2, 1, 2, 1, 1]);
        assert_eq!(turns.num_free(), 1);
    }
}
