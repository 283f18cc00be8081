//! A server in one thread, its clients, and what happens to them.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use http_body_util::BodyExt;
use streamcore_engine::{EngineConfig, OwnedStepBuffers, StepId};
use streamcore_server::driver::{Driver, DriverLimits, NextStep};
use streamcore_server::ledger::{Ledger, Pool};
use streamcore_server::routes::router;
use streamcore_server::{Access, App};
use tokio::runtime::Runtime;
use tokio::time::advance;

use crate::client::{Asked, Client, Phase};
use crate::common::model::{VOCAB_SIZE, text_model};
use crate::common::scores::OwnedScores;
use crate::common::{Dice, engine_config, naming, poll_once};
use crate::game::{Fault, Game};
use crate::gate::Gate;
use crate::shadow::{Held, POOLS, Sequence};

pub struct World {
    dice: Dice,
    fault: Option<Fault>,
    pub game: Game,
    num_keys: usize,
    is_tight: bool,
    ledger: Arc<Ledger>,
    pub driver: Arc<Driver>,
    router: Router,
    buffers: OwnedStepBuffers,
    in_flight: VecDeque<(StepId, Vec<i32>, OwnedScores, Vec<u64>)>,
    pub clients: Vec<Client>,
    /// What clients held that have left, until the server has noticed.
    leaving: Vec<(usize, Held)>,
    is_over: bool,
    gate: Option<Gate>,
    pub runtime: Runtime,
}

fn config() -> EngineConfig {
    EngineConfig {
        block_size: 16,
        num_blocks: 120,
        max_num_batched_tokens: 8192,
        max_num_seqs: 4,
        max_model_len: 1024,
        max_steps_in_flight: 2,
        ..engine_config()
    }
}

impl World {
    pub fn new(seed: u64, fault: Option<Fault>) -> Self {
        let mut dice = Dice(seed * 7919 % 0x7fff_ffff);
        let (num_keys, is_tight) = (dice.below(4), dice.below(2) == 0);
        let limit = move |pool| match pool {
            Pool::ShortBodies => 200_000,
            Pool::LongBodies => 2_000_000,
            Pool::Preparations => 6,
            Pool::Requests => 8,
            Pool::PromptTokens => 1500,
            Pool::Answers if is_tight => 1_500_000,
            _ => 1 << 30,
        };
        let ledger = Ledger::with_limits(limit);
        let limits = DriverLimits { max_waiting_requests: 8, ..DriverLimits::default() };
        let driver = Arc::new(Driver::with_ledger(config(), limits, Arc::clone(&ledger)).unwrap());
        let api_keys = (1..=num_keys).map(|key| format!("key-{key}")).collect();
        let access = Access { api_keys, ..Access::default() };
        let app = App::new(Arc::clone(&driver), text_model(), naming(), access, VOCAB_SIZE, None);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .max_blocking_threads(1)
            .build()
            .unwrap();
        let gate = Some(Gate::close(&runtime, None));
        Self {
            dice,
            fault,
            game: Game::default(),
            num_keys,
            is_tight,
            ledger,
            buffers: OwnedStepBuffers::new(driver.config()),
            driver,
            router: router(app),
            in_flight: VecDeque::new(),
            clients: Vec::new(),
            leaving: Vec::new(),
            is_over: false,
            gate,
            runtime,
        }
    }

    /// Plays to the end.
    ///
    /// # Errors
    /// What is charged is not what is held.
    pub fn play(mut self) -> Result<Game, String> {
        // Outside of it the clock would be that of the machine.
        let runtime = self.runtime.handle().clone();
        let _context = runtime.enter();
        for nth in 0..250 {
            let what = self.event(nth);
            self.check().map_err(|error| format!("event {nth}, {what}: {error}"))?;
        }
        while let Some(client) = self.clients.pop() {
            self.leave(client);
        }
        self.settle();
        self.check().map_err(|error| format!("at the end: {error}"))?;
        let stats = self.driver.stats();
        match (
            stats.num_running,
            stats.num_waiting,
            self.is_over || stats.num_free_blocks == stats.num_blocks,
        ) {
            (0, 0, true) => Ok(self.game),
            _ => Err(format!("something is left: {stats:?}")),
        }
    }

    fn event(&mut self, nth: usize) -> &'static str {
        match self.dice.below(24) {
            0..4 if self.clients.len() < 14 => self.arrive(),
            0..8 => self.feed(),
            8..10 => self.make_prompts(),
            10..13 => self.steps(),
            13..17 => self.read(),
            17..19 => self.write(),
            19 => self.leave_at_random(),
            20 => self.settle(),
            21 if self.dice.below(4) == 0 => self.wait(),
            22 if nth > 150 && self.dice.below(30) == 0 => self.end(),
            _ => self.poll_at_random(),
        }
    }

    fn arrive(&mut self) -> &'static str {
        let key = if self.num_keys == 0 { 0 } else { 1 + self.dice.below(self.num_keys) };
        let asked = Asked::at_random(&mut self.dice);
        self.clients.push(Client::new(self.router.clone(), key, asked));
        self.poll(self.clients.len() - 1);
        "a request comes"
    }

    fn one_of(&mut self, is_one: impl Fn(&Client) -> bool) -> Option<usize> {
        let those: Vec<_> = (0..self.clients.len()).filter(|at| is_one(&self.clients[*at])).collect();
        (!those.is_empty()).then(|| those[self.dice.below(those.len())])
    }

    fn feed(&mut self) -> &'static str {
        let Some(at) = self.one_of(|client| matches!(client.phase, Phase::Reading { .. })) else { return "" };
        if self.dice.below(12) == 0 {
            self.clients[at].break_off();
        } else if self.clients[at].feed(&mut self.dice) {
            self.clients[at].phase = Phase::Preparing;
        }
        self.poll(at);
        "a piece of a body"
    }

    /// All whose turn it is have their prompts made, and their answers written.
    fn make_prompts(&mut self) -> &'static str {
        self.gate = Some(Gate::close(&self.runtime, self.gate.take()));
        // The last takes the place of one that is refused.
        for at in (0..self.clients.len()).rev() {
            if matches!(self.clients[at].phase, Phase::Preparing | Phase::Open) {
                self.poll(at);
            }
        }
        "prompts are made"
    }

    fn steps(&mut self) -> &'static str {
        let most = [2, 20, 120][self.dice.below(3)];
        for _ in 0..self.dice.below(most) {
            self.step();
            if self.in_flight.len() == 2 {
                self.complete();
            }
        }
        "steps"
    }

    fn step(&mut self) {
        let next = self.driver.next_step(&mut self.buffers.borrow(), Duration::ZERO);
        let NextStep::Plan(plan) = next else { return self.complete() };
        let sampled: Vec<_> = (0..plan.num_samples).map(|_| 97 + self.dice.below(26) as i32).collect();
        let scores = OwnedScores::new(&plan, &self.buffers, &sampled);
        let mut ids = Vec::new();
        self.driver.for_each_sample(plan.id, |id| ids.push(id.0));
        for id in &ids {
            self.with_sequence(*id, |sequence, _| sequence.is_queued = false);
        }
        self.in_flight.push_back((plan.id, sampled, scores, ids));
    }

    fn complete(&mut self) {
        let Some((step, sampled, scores, ids)) = self.in_flight.pop_front() else { return };
        self.driver.complete_step(step, &sampled, scores.borrow()).unwrap();
        for id in ids {
            self.with_sequence(id, |sequence, asked| sequence.weight += asked.weight());
        }
    }

    fn with_sequence(&mut self, id: u64, change: impl FnOnce(&mut Sequence, &Asked)) {
        for client in &mut self.clients {
            let nth = id.wrapping_sub(client.first_id) as usize;
            if let Some(sequence) = client.sequences.get_mut(nth) {
                return change(sequence, &client.asked);
            }
        }
    }

    /// A client takes some of its stream, or all that is there.
    fn read(&mut self) -> &'static str {
        let Some(at) = self.one_of(|client| client.answer.is_some()) else { return "" };
        let mut num_frames = if self.dice.below(3) == 0 { 1 } else { usize::MAX };
        // Timers, and what is the time for them, are the runtime's.
        let _context = self.runtime.enter();
        let client = &mut self.clients[at];
        let Some(body) = &mut client.answer else { return "" };
        let is_over = loop {
            if num_frames == 0 {
                client.sequences.iter_mut().for_each(|sequence| sequence.is_partly_read = true);
                return "a frame is read";
            }
            num_frames -= 1;
            match poll_once(pin!(body.frame())) {
                Poll::Ready(Some(Ok(frame))) => {
                    client.num_untaken = 0;
                    client.unwritten.extend(frame.into_data().ok());
                }
                Poll::Ready(_) => break true,
                Poll::Pending => break false,
            }
        };
        // Behind the event that says why it has failed, a stream waits before it breaks off.
        let may_have_failed = !is_over && (self.is_over || self.is_tight);
        for sequence in &mut client.sequences {
            (sequence.weight, sequence.is_partly_read) = (0, false);
            sequence.may_have_failed = may_have_failed;
        }
        if is_over {
            (client.answer, client.phase) = (None, Phase::Answered);
        }
        "an answer is read"
    }

    fn write(&mut self) -> &'static str {
        let Some(at) = self.one_of(|client| !client.unwritten.is_empty()) else { return "" };
        let client = &mut self.clients[at];
        let piece = client.unwritten.remove(0);
        if self.fault == Some(Fault::ForgottenPiece) {
            std::mem::forget(piece);
        }
        if matches!(client.phase, Phase::Answered) && client.answer.is_none() && client.unwritten.is_empty() {
            self.clients.swap_remove(at);
        }
        "a piece is written"
    }

    fn poll_at_random(&mut self) -> &'static str {
        let Some(at) = self.one_of(|client| client.answering.is_some()) else { return "" };
        self.poll(at);
        "a request goes on"
    }

    fn leave_at_random(&mut self) -> &'static str {
        let Some(at) = self.one_of(|_| true) else { return "" };
        let client = self.clients.swap_remove(at);
        self.leave(client);
        "a client leaves"
    }

    fn leave(&mut self, mut client: Client) {
        self.game.num_left += 1;
        // What waits for nothing but its client goes with it.
        client.unwritten.clear();
        client.num_untaken = 0;
        if !matches!(client.phase, Phase::Reading { .. } | Phase::Answered) {
            self.leaving.push((client.key, client.held(true).perhaps()));
        }
        match self.fault {
            Some(Fault::ForgottenRequest) => std::mem::forget(client.answering.take()),
            Some(Fault::ForgottenAnswer) => std::mem::forget(client.answer.take()),
            _ => {}
        }
    }

    /// The server notices all that has happened.
    fn settle(&mut self) -> &'static str {
        for _ in 0..3 {
            self.make_prompts();
            self.step();
            while !self.in_flight.is_empty() {
                self.complete();
            }
        }
        self.leaving.clear();
        "all is noticed"
    }

    /// Bodies take too long.
    fn wait(&mut self) -> &'static str {
        self.runtime.block_on(advance(Duration::from_secs(61)));
        for at in (0..self.clients.len()).rev() {
            if matches!(self.clients[at].phase, Phase::Reading { .. }) {
                self.poll(at);
            }
        }
        "a minute passes"
    }

    /// The runner dies, or the server ends.
    fn end(&mut self) -> &'static str {
        self.is_over = true;
        match self.dice.below(3) {
            0 => self.driver.fail("the device is lost"),
            1 => self.driver.stop(),
            _ => {
                self.driver.drain(Duration::ZERO);
                self.step();
            }
        }
        for sequence in self.clients.iter_mut().flat_map(|client| &mut client.sequences) {
            sequence.is_queued = false;
        }
        "the engine ends"
    }

    /// Compares the account with what is held, key by key.
    fn check(&mut self) -> Result<(), String> {
        // With small pools those whose readers are slow are.
        let may_have_ended = self.is_tight || self.is_over;
        for key in 0..=self.num_keys {
            let mut held = Held::default();
            let own = self.clients.iter().filter(|client| client.key == key);
            own.for_each(|client| held.add_all(&client.held(may_have_ended)));
            let leaving = self.leaving.iter().filter(|(other, _)| *other == key);
            leaving.for_each(|(_, other)| held.add_all(other));
            for (place, pool) in POOLS.into_iter().enumerate() {
                let (mut least, mut most) = (held.least[place], held.most[place]);
                if self.fault == Some(Fault::Uncounted(pool)) {
                    (least, most) = (0, 0);
                }
                let charged = self.ledger.held_by(pool, key as u32);
                self.game.most[place] = self.game.most[place].max(charged);
                if !(least..=most).contains(&charged) {
                    return Err(format!(
                        "{pool:?} of key {key}: {charged} is charged, {least} to {most} is held"
                    ));
                }
            }
        }
        let sum_of =
            |pool| (0..=self.num_keys as u32).map(|key| self.ledger.held_by(pool, key)).sum::<usize>();
        match POOLS.into_iter().find(|pool| self.ledger.held(*pool) != sum_of(*pool)) {
            Some(pool) => Err(format!("{pool:?}: the sum of all keys is not the total")),
            None => Ok(()),
        }
    }
}
