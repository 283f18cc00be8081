//! Carries out the engine's plans with scripted tokens.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use streamcore_engine::{NO_TOKEN, OwnedStepBuffers, RequestId, Scores, StepPlan};

use super::Script;
use super::assigned::Answers;
use super::playing::{Move, Playing};
use crate::driver::{Driver, EndError, NextStep};

/// How long the runner waits for work; any arrival wakes it.
const IDLE_WAIT: Duration = Duration::from_secs(60);
/// Maximum pause while it has work: the driver takes a longer silence for a hang.
const MAX_REST: Duration = Duration::from_millis(500);

/// Plays the answers of a script until the driver has stopped. The engine must have one step in
/// flight.
pub fn run(driver: &Arc<Driver>, script: &Script) {
    let _guard = FailOnPanic(driver);
    let mut runner = Runner::new(driver, &script.answers);
    loop {
        match driver.next_step(&mut runner.buffers.borrow(), IDLE_WAIT) {
            NextStep::Plan(plan) => runner.play(&plan),
            NextStep::Idle => {}
            NextStep::Stopped => return,
        }
    }
}

/// Fails the driver on a panic, so that no client waits for a dead runner.
struct FailOnPanic<'a>(&'a Driver);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail("the scripted runner has panicked");
        }
    }
}

struct Runner<'a> {
    driver: &'a Arc<Driver>,
    answers: &'a Answers,
    buffers: OwnedStepBuffers,
    /// Indexed by row. A changed id shows that a row has passed to another request.
    rows: Vec<Option<Playing>>,
    sampled: Vec<i32>,
    failed: Vec<(RequestId, EndError)>,
}

impl<'a> Runner<'a> {
    fn new(driver: &'a Arc<Driver>, answers: &'a Answers) -> Self {
        let rows = (0..driver.config().max_num_seqs).map(|_| None).collect();
        let buffers = OwnedStepBuffers::new(driver.config());
        Self { driver, answers, buffers, rows, sampled: Vec::new(), failed: Vec::new() }
    }

    /// Completes a step as soon as one of its sequences has a token, or a request arrives or is
    /// aborted.
    fn play(&mut self, plan: &StepPlan) {
        if let Some(due) = self.draw(plan) {
            self.driver.wait_until(due);
            self.draw(plan);
        }
        for (id, error) in self.failed.drain(..) {
            self.driver.end(id, error);
        }
        // Scripted tokens have probability 1.
        let logprobs = vec![0.0; plan.num_scored_samples + plan.num_scored_tokens];
        let scores = Scores::new(&logprobs, &[], &[]).expect("a row without alternatives");
        let completed = self.driver.complete_step(plan.id, &self.sampled, scores);
        completed.expect("the step was planned a moment ago");
    }

    /// Makes the next move of every sequence; if no token is due yet, returns when one may be.
    fn draw(&mut self, plan: &StepPlan) -> Option<Instant> {
        let Self { driver, answers, buffers, rows, sampled, failed } = self;
        let now = driver.now();
        let mut due = (plan.num_samples > 0).then_some(now + MAX_REST);
        sampled.clear();
        driver.for_each_sample(plan.id, |id| {
            let row = &mut rows[buffers.sample_rows[sampled.len()] as usize];
            if row.as_ref().is_none_or(|playing| playing.id != id) {
                *row = answers.get(id).map(|(answer, arrival)| Playing::new(id, answer, arrival));
            }
            // A request whose stream has been dropped in the meantime has no answer, and needs
            // none.
            let next = row.as_mut().map_or(Move::Hang, |playing| playing.next(now));
            let mut token = NO_TOKEN;
            match next {
                Move::Token(next) => (token, due) = (next.cast_signed(), None),
                Move::Wait(until) => due = due.map(|due| due.min(until)),
                Move::Hang => {}
                Move::Fail(error) => {
                    failed.push((id, error));
                    due = None;
                }
            }
            sampled.push(token);
        });
        due
    }
}
