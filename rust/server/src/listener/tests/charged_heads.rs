//! What heads are charged for, by connections that come, go on and go at random.
#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use axum::http::Request;

use super::super::progress::Progress;
use crate::ledger::{Ledger, Pool};

/// The generator of Lehmer.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0 * 48_271 % 0x7fff_ffff;
        self.0 as usize % limit
    }
}

/// One connection, and the bytes of its head that have come.
struct Client {
    progress: Arc<Progress>,
    num_bytes: usize,
    is_refused: bool,
}

/// What a head takes that is not short, in our buffer and in hyper's: both grow by doubling.
fn charge_of(num_bytes: usize) -> usize {
    if num_bytes > 4096 { 2 * num_bytes.next_power_of_two() } else { 0 }
}

/// Bytes of heads need no key: what is forgotten of them fills the pool, and then no long head is
/// read any more.
#[test]
fn heads_are_charged_for_as_long_as_they_are_held() {
    for seed in 1..=300 {
        let mut dice = Dice(seed);
        let limit = 1 << 18;
        let ledger = Ledger::with_limits(|_| limit);
        let mut clients: Vec<Client> = Vec::new();
        for _ in 0..200 {
            let at = dice.below(clients.len() + 1);
            match (clients.get_mut(at), dice.below(4)) {
                (None, _) => {
                    let progress = Progress::new(Arc::clone(&ledger), false);
                    clients.push(Client { progress, num_bytes: 0, is_refused: false });
                }
                (Some(client), 0) => {
                    // The head is complete, or the connection ends.
                    let _ = client.progress.request_has_come(&Request::new(()));
                    clients.swap_remove(at);
                }
                (Some(_), 1) => drop(clients.swap_remove(at)),
                (Some(client), _) => {
                    let num_more = dice.below(20_000);
                    let before = ledger.held(Pool::Heads);
                    client.progress.bytes_have_come(&vec![b'x'; num_more]);
                    let charged = charge_of(client.num_bytes);
                    client.num_bytes += num_more;
                    client.is_refused =
                        charge_of(client.num_bytes) > charged && ledger.held(Pool::Heads) == before;
                }
            }
            // A connection that is refused is closed.
            clients.retain(|client| !client.is_refused);
            let held: usize = clients.iter().map(|client| charge_of(client.num_bytes)).sum();
            assert_eq!(ledger.held(Pool::Heads), held, "seed {seed}");
            assert!(held <= limit, "seed {seed}");
        }
        clients.clear();
        assert_eq!(ledger.held(Pool::Heads), 0, "seed {seed}");
    }
}
