//! The cost of a simulated request, a recorded step and a replayed one: `cargo bench -p
//! streamcore-trace --bench simulation`.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../rust/trace/tests/paper/mod.rs"]
mod paper;

use std::io;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use paper::Paper;
use streamcore_engine::{Engine, EngineConfig, OwnedStepBuffers, Request, RequestId, Scores};
use streamcore_trace::simulation::{Device, GeneratedLoad, Lengths, Limits, Pace, Simulation};
use streamcore_trace::{RecordedEngine, Recorder, Replay};

const NUM_REQUESTS: u64 = 2000;
const NUM_RUNNING: usize = 256;

fn config() -> EngineConfig {
    let limits = Limits { max_num_seqs: Some(NUM_RUNNING), num_blocks: Some(16_384), ..Limits::default() };
    limits.change(Limits::usual(4096)).unwrap()
}

/// 256 tokens in, 128 out, on a device like a large GPU with a model of eight billion weights.
fn simulation() -> Simulation {
    let exactly = |len| Lengths { min: len, max: len };
    let load = GeneratedLoad {
        num_requests: NUM_REQUESTS,
        pace: Pace::Concurrency(NUM_RUNNING),
        prompt_len: exactly(256),
        output_len: exactly(128),
        num_prefixes: 0,
        prefix_len: 0,
        key_weights: vec![],
        seed: 0,
    };
    let device = Device {
        weight_bytes: 16e9,
        kv_bytes_per_token: 131_072.0,
        flops_per_token: 16e9,
        bytes_per_s: 3e12,
        flops_per_s: 5e14,
        overhead_s: 1e-3,
    };
    Simulation::generated(load, config(), device, usize::MAX).unwrap()
}

/// 256 sequences decode to their end; answers with the number of steps.
fn decode(recorder: Option<Recorder>) -> u64 {
    let mut engine = RecordedEngine::from(Engine::new(config()).unwrap());
    if let Some(recorder) = recorder {
        engine.record(recorder);
    }
    let mut columns = OwnedStepBuffers::new(&config());
    for id in 0..NUM_RUNNING as u32 {
        engine.add_request(Request::new(RequestId(u64::from(id)), vec![id; 64], 256)).unwrap();
    }
    while let Some(plan) = engine.schedule(&mut columns.borrow()) {
        engine.complete(plan.id, &vec![7; plan.num_samples], Scores::default()).unwrap();
    }
    engine.stats().steps
}

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    group.sample_size(10).throughput(Throughput::Elements(decode(None)));
    group.bench_function("256 running, no trace", |bencher| bencher.iter(|| decode(None)));
    let into_nothing = || Recorder::new(io::sink(), &config(), None).unwrap();
    group.bench_function("256 running", |bencher| bencher.iter(|| decode(Some(into_nothing()))));
}

fn simulate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("simulate");
    group.sample_size(10).throughput(Throughput::Elements(NUM_REQUESTS));
    group.bench_function("256 in, 128 out, 256 running", |bencher| {
        bencher.iter(|| simulation().run().unwrap());
    });
}

fn replay(criterion: &mut Criterion) {
    let paper = Paper::default();
    let num_steps = decode(Some(Recorder::new(paper.clone(), &config(), None).unwrap()));
    let trace = paper.text();
    let mut group = criterion.benchmark_group("replay");
    group.sample_size(10).throughput(Throughput::Elements(num_steps));
    group.bench_function("256 running", |bencher| {
        bencher.iter(|| Replay::new(trace.as_bytes()).unwrap().run().unwrap());
    });
}

criterion_group!(benches, simulate, record, replay);
criterion_main!(benches);
