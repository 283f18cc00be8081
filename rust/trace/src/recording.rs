//! The requests of a trace, each with the tokens that it drew.

use std::collections::HashMap;
use std::io::BufRead;
use std::vec::IntoIter;

use streamcore_engine::{EngineConfig, EventKind, FinishReason, Request, RequestId};

use crate::format::Call;
use crate::replay::{Replay, ReplayError};
use crate::simulation::Arrival;

/// The requests of a trace, to be played to another engine.
#[derive(Debug)]
pub struct Recording {
    config: EngineConfig,
    arrivals: IntoIter<Arrival>,
    /// Factor by which time runs faster.
    speed: f64,
    num_left_out: u64,
}

impl Recording {
    /// Reads a whole trace. A request draws as many tokens as it did, be it ended by a stop token,
    /// its length or its client; requests that never drew one are left out. The first of the others
    /// arrives at 0: the idle time before it is not part of the load.
    ///
    /// # Errors
    /// [`ReplayError`]: the trace must be readable and replay, since only the engine knows which
    /// requests a step's tokens belong to.
    pub fn read(lines: impl BufRead, speed: f64) -> Result<Self, ReplayError> {
        let mut replay = Replay::new(lines)?;
        let config = replay.config().clone();
        let mut reading = Reading::default();
        while let Some(events) = replay.make_next(|call| reading.see(call))? {
            for event in events {
                reading.draw(event.request_id, &event.kind);
            }
        }
        let num_requests = reading.arrivals.len();
        reading.arrivals.retain(|arrival| !arrival.output.is_empty());
        let num_left_out = (num_requests - reading.arrivals.len()) as u64;
        let first_ns = reading.arrivals.first().map_or(0, |first| first.at_ns);
        reading
            .arrivals
            .iter_mut()
            .for_each(|arrival| arrival.at_ns = arrival.at_ns.saturating_sub(first_ns));
        Ok(Self { config, arrivals: reading.arrivals.into_iter(), speed, num_left_out })
    }

    /// Returns the limits of the engine that it was recorded with.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Returns the number of requests that ended before their first token.
    #[must_use]
    pub fn num_left_out(&self) -> u64 {
        self.num_left_out
    }

    pub(crate) fn next_arrival(&mut self) -> Option<Arrival> {
        let mut arrival = self.arrivals.next()?;
        arrival.at_ns = (arrival.at_ns as f64 / self.speed) as u64;
        arrival.request.max_tokens = arrival.output.len();
        Some(arrival)
    }
}

#[derive(Debug, Default)]
struct Reading {
    arrivals: Vec<Arrival>,
    live: HashMap<RequestId, usize>,
}

impl Reading {
    fn see(&mut self, call: &Call) {
        if let Call::Add { at_us, request } = call {
            self.live.insert(request.id, self.arrivals.len());
            // It ends by length at the recorded end, and there are no masks.
            let request = Request {
                stop_token_ids: Vec::new(),
                min_tokens: 0,
                is_constrained: false,
                ..request.clone()
            };
            self.arrivals.push(Arrival { at_ns: at_us.saturating_mul(1000), request, output: Vec::new() });
        }
    }

    fn draw(&mut self, id: RequestId, kind: &EventKind) {
        let Some(arrival) = self.live.get(&id).map(|index| &mut self.arrivals[*index]) else { return };
        match kind {
            EventKind::Token { token, .. } => arrival.output.push(*token),
            // A step draws the stop token like the others.
            EventKind::Finished { reason: FinishReason::Stop { token_id }, .. } => {
                arrival.output.push(*token_id);
            }
            EventKind::Finished { .. } | EventKind::Scheduled { .. } | EventKind::PromptLogprobs(_) => {}
        }
        if matches!(kind, EventKind::Finished { .. }) {
            self.live.remove(&id);
        }
    }
}
