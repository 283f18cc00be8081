//! The engine at work on a device that exists only as a cost model, faster than real time.
//!
//! Everything but the device and the clients is real: the engine plans each step, and the cost
//! model gives the plan's duration. Time is a number that jumps from one event to the next.
//!
//! ```text
//! host     plan 0 | plan 1 |                 complete 0 | plan 2 |       complete 1 | ...
//! device          |  step 0              | step 1                      | step 2
//! ```

mod device;
mod histogram;
mod load;
mod report;
mod rng;
mod settings;

use std::collections::VecDeque;
use std::time::Duration;

use streamcore_engine::{
    Engine, EngineConfig, Event, EventKind, NO_TOKEN, OwnedStepBuffers, RequestId, Scores, StepPlan,
};

pub use self::device::Device;
pub use self::histogram::Summary;
pub(crate) use self::load::Arrival;
pub use self::load::{GeneratedLoad, Lengths, Pace};
use self::load::{Generator, Load};
use self::report::Account;
pub use self::report::Report;
pub use self::settings::{Limits, LoadSettings, SettingError, Settings, StartError};
use crate::recording::Recording;

/// A request that has arrived and not ended.
#[derive(Debug, Default)]
struct Live {
    arrival_ns: u64,
    last_token_ns: Option<u64>,
    key: u32,
    num_drawn: usize,
    output: Vec<u32>,
}

#[derive(Debug)]
struct LaunchedStep {
    plan: StepPlan,
    launched_ns: u64,
    done_ns: u64,
}

/// A simulation on its way.
#[derive(Debug)]
pub struct Simulation {
    engine: Engine,
    device: Device,
    columns: OwnedStepBuffers,
    load: Load,
    max_waiting_requests: usize,
    /// The next that will come.
    next: Option<Arrival>,
    now_ns: u64,
    device_free_ns: u64,
    last_completed_ns: u64,
    in_flight: VecDeque<LaunchedStep>,
    /// Indexed by the lower half of their ids.
    live: Vec<Live>,
    free: Vec<u32>,
    num_arrived: u64,
    account: Account,
    sampled: Vec<i32>,
    scores: Vec<f32>,
    events: Vec<Event>,
}

impl Simulation {
    /// Simulates a generated load on an engine with these limits. Requests that arrive while
    /// `max_waiting_requests` wait are refused.
    ///
    /// # Errors
    /// [`SettingError`], if the load, the limits or the device are invalid, or the load is empty.
    pub fn generated(
        load: GeneratedLoad,
        config: EngineConfig,
        device: Device,
        max_waiting_requests: usize,
    ) -> Result<Self, SettingError> {
        load.validate()?;
        let load = Load::Generated(Box::new(Generator::new(load)));
        Self::new(load, config, device, max_waiting_requests)
    }

    /// Simulates the load of a trace.
    ///
    /// # Errors
    /// [`SettingError`], if the limits or the device are invalid, or no request of the trace has an
    /// answer.
    pub fn recorded(
        load: Recording,
        config: EngineConfig,
        device: Device,
        max_waiting_requests: usize,
    ) -> Result<Self, SettingError> {
        let num_left_out = load.num_left_out();
        let mut simulation = Self::new(Load::Recorded(load), config, device, max_waiting_requests)?;
        simulation.account.num_left_out = num_left_out;
        Ok(simulation)
    }

    fn new(
        mut load: Load,
        config: EngineConfig,
        device: Device,
        max_waiting_requests: usize,
    ) -> Result<Self, SettingError> {
        device.validate()?;
        let next = load.next();
        if next.is_none() {
            return Err(SettingError::new("the load has no requests".to_owned()));
        }
        Ok(Self {
            columns: OwnedStepBuffers::new(&config),
            engine: Engine::new(config)?,
            device,
            next,
            load,
            max_waiting_requests,
            now_ns: 0,
            device_free_ns: 0,
            last_completed_ns: 0,
            in_flight: VecDeque::new(),
            live: Vec::new(),
            free: Vec::new(),
            num_arrived: 0,
            account: Account::default(),
            sampled: Vec::new(),
            scores: Vec::new(),
            events: Vec::new(),
        })
    }

    /// Goes on for up to `max_steps` steps. Returns `None` while there is more to do.
    ///
    /// # Errors
    /// [`SettingError`], if a request could never run with these limits.
    pub fn advance(&mut self, max_steps: u64) -> Result<Option<Report>, SettingError> {
        for _ in 0..max_steps {
            self.take_in()?;
            let plan = self.engine.schedule(&mut self.columns.borrow());
            self.take_events();
            if let Some(plan) = plan {
                self.launch(plan);
            }
            let is_full = self.in_flight.len() == self.engine.config().max_steps_in_flight;
            if plan.is_none() || is_full {
                if let Some(step) = self.in_flight.pop_front() {
                    self.complete(&step);
                } else if let Some(arrival) = &self.next {
                    self.now_ns = self.now_ns.max(arrival.at_ns);
                } else {
                    return Ok(Some(self.account.report(self.now_ns, &self.engine.stats())));
                }
            }
        }
        Ok(None)
    }

    /// Goes on to the end.
    ///
    /// # Errors
    /// Those of [`Self::advance`].
    pub fn run(mut self) -> Result<Report, SettingError> {
        loop {
            if let Some(report) = self.advance(u64::MAX)? {
                return Ok(report);
            }
        }
    }

    fn num_live(&self) -> usize {
        self.live.len() - self.free.len()
    }

    /// Hands the engine the requests that have arrived by now.
    fn take_in(&mut self) -> Result<(), SettingError> {
        let concurrency = self.load.concurrency();
        while self.next.as_ref().is_some_and(|next| next.at_ns <= self.now_ns)
            && concurrency.is_none_or(|limit| self.num_live() < limit)
        {
            let Some(arrival) = std::mem::replace(&mut self.next, self.load.next()) else { break };
            if concurrency.is_none() && self.engine.stats().num_waiting >= self.max_waiting_requests {
                self.account.num_refused += 1;
            } else {
                let arrival_ns = if concurrency.is_none() { arrival.at_ns } else { self.now_ns };
                self.add(arrival, arrival_ns)?;
            }
        }
        self.account.see_waiting(self.engine.stats().num_waiting);
        Ok(())
    }

    fn add(
        &mut self,
        Arrival { mut request, output, .. }: Arrival,
        arrival_ns: u64,
    ) -> Result<(), SettingError> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.live.push(Live::default());
            u32::try_from(self.live.len() - 1).expect("memory ends before 32 bits do")
        });
        self.live[slot as usize] = Live { arrival_ns, key: request.key, output, ..Live::default() };
        // Ids are unique, and each contains its request's slot.
        request.id = RequestId(self.num_arrived << 32 | u64::from(slot));
        request.deadline = None;
        self.num_arrived += 1;
        self.account.num_prompt_tokens += request.prompt.len() as u64;
        Ok(self.engine.add_request(request)?)
    }

    /// Launches a step, which the device begins when the one before is done.
    fn launch(&mut self, plan: StepPlan) {
        let context_lens = &self.columns.context_lens[..plan.num_seqs];
        let num_context_tokens = context_lens.iter().map(|len| u64::from(len.cast_unsigned())).sum();
        let step_ns = self.device.step_ns(plan.num_tokens, num_context_tokens);
        // The clock saturates for a device that needs centuries.
        self.now_ns = self.now_ns.saturating_add(self.device.overhead_ns());
        let launched_ns = self.now_ns;
        self.device_free_ns = self.device_free_ns.max(launched_ns).saturating_add(step_ns);
        self.in_flight.push_back(LaunchedStep { plan, launched_ns, done_ns: self.device_free_ns });
        self.account.see_step(&plan, step_ns, &self.engine.stats());
    }

    /// Waits for a step and hands every request its token.
    fn complete(&mut self, step: &LaunchedStep) {
        let plan = &step.plan;
        self.now_ns = self.now_ns.max(step.done_ns);
        let began_ns = step.launched_ns.max(self.last_completed_ns);
        self.last_completed_ns = self.now_ns;
        let elapsed = Duration::from_nanos(self.now_ns - began_ns);
        self.engine.observe(plan.id, elapsed).expect("it is the oldest step");
        self.sampled.clear();
        if matches!(self.load, Load::Recorded(_)) {
            let live = &self.live;
            self.sampled.extend(self.engine.sampled_requests(plan.id).map(|id| live[slot(id)].next_token()));
        }
        self.sampled.resize(plan.num_samples, 0);
        self.scores.resize(plan.num_scored_samples + plan.num_scored_tokens, 0.0);
        let scores = Scores::new(&self.scores, &[], &[]).expect("a row without alternatives");
        let completed = self.engine.complete(plan.id, &self.sampled, scores);
        completed.expect("it is the oldest step, with a token for each sample");
        self.take_events();
    }

    fn take_events(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        self.engine.drain_events(&mut events);
        for Event { request_id, kind } in events.drain(..) {
            let live = &mut self.live[slot(request_id)];
            match kind {
                EventKind::Scheduled { .. } => self.account.queue(live.key, self.now_ns - live.arrival_ns),
                EventKind::Token { .. } => {
                    live.num_drawn += 1;
                    match live.last_token_ns.replace(self.now_ns) {
                        Some(last) => self.account.inter_token(self.now_ns - last),
                        None => self.account.first_token(self.now_ns - live.arrival_ns),
                    }
                }
                EventKind::Finished { .. } => {
                    self.account.end(self.now_ns - live.arrival_ns);
                    live.output = Vec::new();
                    self.free.push(slot(request_id) as u32);
                }
                EventKind::PromptLogprobs(_) => {}
            }
        }
        self.events = events;
    }
}

impl Live {
    /// Returns the trace's next token; tokens drawn behind the end are dropped.
    fn next_token(&self) -> i32 {
        let token = self.output.get(self.num_drawn).map_or(0, |token| token.cast_signed());
        if token == NO_TOKEN { 0 } else { token }
    }
}

fn slot(id: RequestId) -> usize {
    (id.0 & u64::from(u32::MAX)) as usize
}
