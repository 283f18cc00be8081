//! An engine on the shadow device, step by step.

use streamcore_engine::{
    Engine, EngineConfig, Event, EventKind, FinishReason, OwnedStepBuffers, Request, RequestId, StepPlan,
    TokenLogprobs,
};

use super::device::ShadowDevice;
use super::model::expected_output;

/// An engine, the shadow device, and what the clients saw.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) engine: Engine,
    pub(crate) device: ShadowDevice,
    pub(crate) columns: OwnedStepBuffers,
    pub(crate) events: Vec<Event>,
}

impl Story {
    pub(crate) fn new(config: EngineConfig) -> Self {
        Self {
            device: ShadowDevice::new(&config),
            columns: OwnedStepBuffers::new(&config),
            engine: Engine::new(config).unwrap(),
            events: vec![],
        }
    }

    pub(crate) fn add(&mut self, request: &Request) {
        self.engine.add_request(request.clone()).unwrap();
    }

    pub(crate) fn launch(&mut self) -> Option<StepPlan> {
        let plan = self.engine.schedule(&mut self.columns.borrow())?;
        self.device.launch(&plan, &self.columns);
        Some(plan)
    }

    pub(crate) fn complete(&mut self) {
        let result = self.device.finish_oldest().unwrap();
        self.engine.complete(result.id, &result.sampled, result.scores()).unwrap();
        self.engine.drain_events(&mut self.events);
    }

    /// Plans and completes one step; tells the tokens that each sequence computed in it.
    pub(crate) fn step(&mut self) -> Vec<i32> {
        let plan = self.launch().unwrap();
        self.complete();
        self.columns.query_starts[..=plan.num_seqs].windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    pub(crate) fn run_to_end(&mut self) {
        while self.engine.has_work() {
            while self.launch().is_some() {}
            self.complete();
        }
    }

    pub(crate) fn tokens(&self, id: u64) -> Vec<u32> {
        let of_request = self.events.iter().filter(|event| event.request_id == RequestId(id));
        of_request
            .filter_map(
                |event| if let EventKind::Token { token, .. } = event.kind { Some(token) } else { None },
            )
            .collect()
    }

    /// Returns what was told of the prompt, in the pieces in which it came.
    pub(crate) fn prompt_logprobs(&self, id: u64) -> Vec<Vec<TokenLogprobs>> {
        let of_request = self.events.iter().filter(|event| event.request_id == RequestId(id));
        let pieces = of_request.filter_map(|event| {
            if let EventKind::PromptLogprobs(logprobs) = &event.kind { Some(logprobs.clone()) } else { None }
        });
        pieces.collect()
    }

    /// Returns what was told of each token that was drawn, a stop token included.
    pub(crate) fn logprobs(&self, id: u64) -> Vec<TokenLogprobs> {
        let of_request = self.events.iter().filter(|event| event.request_id == RequestId(id));
        let told = of_request.filter_map(|event| match &event.kind {
            EventKind::Token { logprobs, .. } | EventKind::Finished { logprobs, .. } => {
                logprobs.as_deref().cloned()
            }
            _ => None,
        });
        told.collect()
    }

    pub(crate) fn end(&self, id: u64) -> Option<FinishReason> {
        let of_request = self.events.iter().filter(|event| event.request_id == RequestId(id));
        let mut ends = of_request.filter_map(|event| {
            if let EventKind::Finished { reason, .. } = event.kind { Some(reason) } else { None }
        });
        let end = ends.next();
        assert_eq!(ends.next(), None, "a request ends once");
        end
    }

    pub(crate) fn assert_served(&self, request: &Request) {
        let (tokens, reason) = expected_output(request);
        assert_eq!((self.tokens(request.id.0), self.end(request.id.0)), (tokens, Some(reason)));
    }

    pub(crate) fn assert_empty(&self) {
        let stats = self.engine.stats();
        assert_eq!((stats.num_waiting, stats.num_running), (0, 0));
        assert_eq!(stats.num_free_blocks, stats.num_blocks);
        assert!(!self.engine.has_work());
    }

    pub(crate) fn num_free_blocks(&self) -> usize {
        self.engine.stats().num_free_blocks
    }

    /// Returns the number of tokens of a request's prompt that were found in the cache.
    pub(crate) fn num_cached(&self, id: u64) -> usize {
        let of_request = self.events.iter().filter(|event| event.request_id == RequestId(id));
        let mut starts = of_request.filter_map(|event| {
            if let EventKind::Scheduled { num_cached_tokens } = event.kind {
                Some(num_cached_tokens)
            } else {
                None
            }
        });
        starts.next().unwrap()
    }

    pub(crate) fn order_of_ends(&self) -> Vec<u64> {
        let ends = self.events.iter().filter(|event| matches!(event.kind, EventKind::Finished { .. }));
        ends.map(|event| event.request_id.0).collect()
    }
}
