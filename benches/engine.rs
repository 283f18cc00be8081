//! The cost of the engine by itself: `cargo bench -p streamcore-engine --bench engine`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::time::Instant;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use streamcore_engine::kv::{BlockId, BlockPool, BlockTable};
use streamcore_engine::{Engine, EngineConfig, Event, OwnedStepBuffers, Request, RequestId, Scores};

const BLOCK_SIZE: usize = 16;

/// An engine in which this many sequences of this many keys decode.
struct Decodes {
    engine: Engine,
    columns: OwnedStepBuffers,
    sampled: Vec<i32>,
    events: Vec<Event>,
    num_running: u64,
    num_keys: u32,
    next_id: u64,
}

impl Decodes {
    fn new(num_running: usize, num_keys: u32) -> Self {
        let limits = EngineConfig {
            block_size: BLOCK_SIZE,
            num_blocks: num_running * 40,
            max_num_batched_tokens: num_running.max(64) * 32,
            max_num_seqs: num_running,
            max_model_len: 640,
            max_steps_in_flight: 1,
            enable_prefix_caching: true,
            capture_sizes: vec![],
            target_itl: None,
            min_prefill_share: 0,
            num_mask_words: 0,
        };
        let mut decodes = Self {
            columns: OwnedStepBuffers::new(&limits),
            engine: Engine::new(limits).unwrap(),
            sampled: vec![7; num_running],
            events: Vec::new(),
            num_running: num_running as u64,
            num_keys,
            next_id: 0,
        };
        decodes.step();
        decodes
    }

    /// Another request follows each that has ended, so that the number stays the same: one in five
    /// hundred in a step.
    fn step(&mut self) {
        for _ in self.engine.stats().num_running as u64..self.num_running {
            let len = 16 + self.next_id % 16;
            let prompt = (0..len).map(|position| (self.next_id * 64 + position) as u32).collect();
            let max_tokens = 400 + (self.next_id % 200) as usize;
            let key = self.next_id as u32 % self.num_keys;
            let request = Request { key, ..Request::new(RequestId(self.next_id), prompt, max_tokens) };
            self.engine.add_request(request).unwrap();
            self.next_id += 1;
        }
        let plan = self.engine.schedule(&mut self.columns.borrow()).unwrap();
        self.engine.complete(plan.id, &self.sampled[..plan.num_samples], Scores::default()).unwrap();
        self.engine.drain_events(&mut self.events);
        self.events.clear();
    }
}

fn schedule_and_complete(criterion: &mut Criterion) {
    for num_running in [1, 64, 256, 1024, 4096] {
        let mut decodes = Decodes::new(num_running, 1);
        criterion.bench_function(&format!("schedule + complete, {num_running} running"), |bencher| {
            bencher.iter(|| decodes.step());
        });
    }
    for num_running in [256, 4096] {
        let mut decodes = Decodes::new(num_running, 16);
        criterion.bench_function(
            &format!("schedule + complete, {num_running} running, 16 keys"),
            |bencher| {
                bencher.iter(|| decodes.step());
            },
        );
    }
}

/// The first look of a new sequence, which works the hashes out, and that of one which has them
/// from before.
fn prefix_lookup(criterion: &mut Criterion) {
    for num_tokens in [1024, 8192, 65536] {
        let num_blocks = num_tokens / BLOCK_SIZE + 1;
        let mut pool = BlockPool::with_prefix_cache(num_blocks * 2, BLOCK_SIZE);
        let prompt: Vec<u32> = (0..=num_tokens as u32).collect();
        let mut table = BlockTable::new(BLOCK_SIZE, 0);
        table.enter(&prompt, true, 0, &mut pool).unwrap();
        table.remember(&prompt, &mut pool);
        criterion.bench_function(&format!("prefix lookup, {num_tokens} tokens, first"), |bencher| {
            bencher.iter_batched_ref(
                || BlockTable::new(BLOCK_SIZE, 0),
                |other| {
                    assert_eq!(other.enter(&prompt, true, 0, &mut pool), Some(num_tokens));
                    other.give_back(&mut pool);
                },
                BatchSize::SmallInput,
            );
        });
        let mut again = BlockTable::new(BLOCK_SIZE, 0);
        criterion.bench_function(&format!("prefix lookup, {num_tokens} tokens, again"), |bencher| {
            bencher.iter(|| {
                assert_eq!(again.enter(&prompt, true, 0, &mut pool), Some(num_tokens));
                again.give_back(&mut pool);
            });
        });
    }
}

/// Blocks as a server takes them that has run for a while: the cache knows all of them and must
/// forget each.
fn blocks(criterion: &mut Criterion) {
    let mut pool = BlockPool::with_prefix_cache(4096, BLOCK_SIZE);
    let mut held = Vec::new();
    criterion.bench_function("take and give back 64 blocks, never cached", |bencher| {
        bencher.iter(|| take_and_give_back(&mut pool, &mut held));
    });
    let mut prompt = vec![0; 64 * BLOCK_SIZE];
    (0..64).for_each(|_| cache_another(&mut prompt, &mut pool));
    criterion.bench_function("take and give back 64 blocks, cached", |bencher| {
        bencher.iter_custom(|num_times| {
            let timed = |_| {
                cache_another(&mut prompt, &mut pool);
                let began = Instant::now();
                take_and_give_back(&mut pool, &mut held);
                began.elapsed()
            };
            (0..num_times).map(timed).sum()
        });
    });
}

fn take_and_give_back(pool: &mut BlockPool, held: &mut Vec<BlockId>) {
    assert!(pool.take(64, held));
    pool.give_back(held);
}

/// Lets a new prompt come and go: its blocks will be the last to be handed out again.
fn cache_another(prompt: &mut [u32], pool: &mut BlockPool) {
    prompt[0] += 1;
    let mut table = BlockTable::new(BLOCK_SIZE, 0);
    assert_eq!(table.enter(prompt, true, 0, pool), Some(0));
    table.remember(prompt, pool);
    table.give_back(pool);
}

criterion_group!(benches, schedule_and_complete, prefix_lookup, blocks);
criterion_main!(benches);
