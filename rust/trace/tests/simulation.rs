//! Simulations against what can be worked out by hand.
#![allow(clippy::unwrap_used)]

mod paper;

use paper::Paper;
use streamcore_engine::{Engine, EngineConfig, OwnedStepBuffers, Request, RequestId, Scores};
use streamcore_trace::simulation::{
    Device, GeneratedLoad, Lengths, Limits, Pace, Report, Simulation, Summary,
};
use streamcore_trace::{RecordedEngine, Recorder, Recording};

fn config() -> EngineConfig {
    EngineConfig {
        block_size: 16,
        num_blocks: 2000,
        max_num_batched_tokens: 4096,
        max_num_seqs: 64,
        max_model_len: 4096,
        max_steps_in_flight: 1,
        enable_prefix_caching: true,
        target_itl: None,
        min_prefill_share: 0,
        num_mask_words: 0,
        capture_sizes: vec![],
    }
}

/// Reads its weights in 8 ms, the KV cache of 1000 tokens in 1 ms, and computes 1000 tokens in 20
/// ms; the host needs 2 ms.
fn device() -> Device {
    Device {
        weight_bytes: 8e9,
        kv_bytes_per_token: 1e6,
        flops_per_token: 2e9,
        bytes_per_s: 1e12,
        flops_per_s: 1e14,
        overhead_s: 2e-3,
    }
}

/// Returns one client that waits for each answer.
fn load() -> GeneratedLoad {
    let exactly = |len| Lengths { min: len, max: len };
    GeneratedLoad {
        num_requests: 1,
        pace: Pace::Concurrency(1),
        prompt_len: exactly(1000),
        output_len: exactly(11),
        num_prefixes: 0,
        prefix_len: 0,
        key_weights: vec![],
        seed: 1,
    }
}

fn simulate(load: GeneratedLoad, config: EngineConfig, device: Device) -> Report {
    Simulation::generated(load, config, device, 2048).and_then(Simulation::run).unwrap()
}

fn assert_close(given: f64, expected: f64) {
    assert!((given - expected).abs() <= expected * 0.005, "{given} s, expected {expected} s");
}

/// A planner who trusts figures that do not follow from the device buys the wrong one.
#[test]
fn one_request_takes_what_the_device_takes() {
    let report = simulate(load(), config(), device());
    // 2 ms of the host, then 20 ms to compute 1000 tokens, which is more than 9 ms to read weights
    // and keys.
    assert_close(report.ttft.max_s, 0.022);
    // 2 ms, then weights and the context: 8 ms + 1.001 ms and a little more with each token.
    assert_close(report.itl.p50_s, 0.011_006);
    assert_close(report.itl.max_s, 0.011_010);
    assert_close(report.latency.p50_s, 0.022 + 10.0 * 0.011_005_5);
    assert_close(report.duration_s, report.latency.max_s);
    assert_eq!((report.num_requests, report.num_output_tokens, report.num_steps), (1, 11, 11));
    assert_close(report.output_tokens_per_s, 11.0 / report.duration_s);
    assert_eq!((report.num_preemptions, report.queue_time.max_s), (0, 0.0));
}

/// Without this, the figures could come from anything but the device.
#[test]
fn twice_the_bandwidth_halves_the_decode_time() {
    let device = Device { overhead_s: 0.0, ..device() };
    let slow = simulate(load(), config(), device);
    let fast = simulate(load(), config(), Device { bytes_per_s: 2e12, ..device });
    assert_close(fast.itl.p50_s, slow.itl.p50_s / 2.0);
    assert_close(fast.ttft.p50_s, slow.ttft.p50_s);
    let strong = simulate(load(), config(), Device { flops_per_s: 2e14, ..device });
    assert_close(strong.itl.p50_s, slow.itl.p50_s);
    assert_close(strong.ttft.p50_s, slow.ttft.p50_s / 2.0);
}

/// The gain of a second step in flight is what many would like to know before they have a GPU.
#[test]
fn a_second_step_in_flight_hides_the_host() {
    let two = simulate(load(), EngineConfig { max_steps_in_flight: 2, ..config() }, device());
    assert_close(two.itl.p50_s, 0.009_006);
    let one = simulate(load(), config(), device());
    assert!((one.itl.p50_s - two.itl.p50_s - 0.002).abs() < 1e-4);
    assert!(two.device_busy > 0.97 && one.device_busy < 0.85, "{} and {}", two.device_busy, one.device_busy);
}

fn busy_load() -> GeneratedLoad {
    GeneratedLoad {
        num_requests: 200,
        pace: Pace::Rate(40.0),
        prompt_len: Lengths { min: 10, max: 300 },
        output_len: Lengths { min: 1, max: 60 },
        num_prefixes: 3,
        prefix_len: 160,
        key_weights: vec![9.0, 1.0],
        seed: 5,
    }
}

/// Two policies can only be compared over the same load, and a figure must be found again tomorrow.
#[test]
fn the_same_seed_gives_the_same_figures() {
    let first = simulate(busy_load(), config(), device());
    assert_eq!(first, simulate(busy_load(), config(), device()));
    assert_ne!(first, simulate(GeneratedLoad { seed: 6, ..busy_load() }, config(), device()));
    assert_eq!(first.num_requests, 200);
    assert_eq!(first.queue_time_by_key.keys().copied().collect::<Vec<_>>(), [1, 2]);
}

/// What a setting does must be seen in the figure that it is for.
#[test]
fn settings_show_where_they_should() {
    let shared = simulate(busy_load(), config(), device());
    assert!((0.4..0.6).contains(&shared.prefix_hit_rate), "{}", shared.prefix_hit_rate);
    let apart = simulate(busy_load(), EngineConfig { enable_prefix_caching: false, ..config() }, device());
    assert_eq!(apart.prefix_hit_rate, 0.0);
    assert!(apart.ttft.p50_s > shared.ttft.p50_s);

    let tight = Limits { num_blocks: Some(100), ..Limits::default() }.change(config()).unwrap();
    let tight = simulate(busy_load(), tight, device());
    assert!(tight.num_preemptions > 0 && tight.peak_kv_usage > 0.9, "{tight:?}");
    assert_eq!(shared.num_preemptions, 0);

    let crowd = GeneratedLoad { pace: Pace::Concurrency(200), ..busy_load() };
    let crowd = simulate(crowd, config(), device());
    assert_eq!((crowd.num_requests, crowd.num_refused, crowd.peak_waiting), (200, 0, 200));
    assert!(crowd.mean_seqs > 40.0);
    let flood = GeneratedLoad { pace: Pace::Rate(1e6), ..busy_load() };
    let flood = Simulation::generated(flood, config(), device(), 50).and_then(Simulation::run).unwrap();
    assert_eq!((flood.num_requests + flood.num_refused, flood.peak_waiting), (200, 50));
    assert!(flood.num_refused > 50);
}

/// Larger blocks are no more memory, and another device has another.
#[test]
fn the_kv_cache_has_its_size_whatever_the_blocks() {
    let num_blocks = |limits: Limits| limits.change(config()).map(|config| config.num_blocks);
    assert_eq!(num_blocks(Limits { block_size: Some(32), ..Limits::default() }), Ok(1000));
    let smaller = Limits { num_kv_tokens: Some(3210), ..Limits::default() };
    assert_eq!(num_blocks(smaller), Ok(200));
    assert_eq!(num_blocks(Limits { block_size: Some(32), ..smaller }), Ok(100));
    assert_eq!(num_blocks(Limits { num_blocks: Some(7), ..smaller }), Ok(7));
    let none = num_blocks(Limits { block_size: Some(0), ..smaller }).unwrap_err();
    assert_eq!(none.to_string(), "`block_size` is 0, it must be at least 1");
}

/// A planner gets a sentence, not a hang or figures for another load.
#[test]
fn what_cannot_be_simulated_is_refused() {
    let refusal = |load: GeneratedLoad, config: EngineConfig, device: Device| {
        Simulation::generated(load, config, device, 2048).and_then(Simulation::run).unwrap_err().to_string()
    };
    let long = GeneratedLoad { prompt_len: Lengths { min: 5000, max: 5000 }, ..load() };
    assert!(refusal(long, config(), device()).contains("maximum context length is 4096 tokens"));
    let nobody = GeneratedLoad { num_requests: 0, ..load() };
    assert_eq!(refusal(nobody, config(), device()), "the load has no requests");
    let stopped = Device { bytes_per_s: 0.0, ..device() };
    assert_eq!(refusal(load(), config(), stopped), "`bytes_per_s` is 0, it must be more");
    let backwards = Device { overhead_s: -1.0, ..device() };
    assert_eq!(refusal(load(), config(), backwards), "`overhead_s` is -1, it must be at least 0");
    let glacial = Device { bytes_per_s: 1e-9, ..device() };
    let centuries = simulate(load(), config(), glacial).duration_s;
    assert!(centuries > 1e10, "{centuries} s");
    let limits = Limits { target_itl_ms: Some(-1.0), ..Limits::default() }.change(config()).unwrap_err();
    assert!(limits.to_string().starts_with("`target_itl_ms` is -1:"), "{limits}");
}

/// Returns a trace of two requests: one that stops at its eighteenth token, then a follow-up that
/// begins with prompt and answer; one is aborted at once. The first comes ten minutes after the
/// start of the server, the follow-up a second later.
fn trace() -> String {
    let paper = Paper::default();
    let mut engine = RecordedEngine::from(Engine::new(config()).unwrap());
    engine.record(Recorder::new(paper.clone(), &config(), None).unwrap());
    let mut columns = OwnedStepBuffers::new(&config());
    let prompt: Vec<u32> = (0..32).collect();
    engine.add_request(Request::new(RequestId(0), prompt.clone(), 50)).unwrap();
    engine.abort(RequestId(0));
    let request = Request { stop_token_ids: vec![9], ..Request::new(RequestId(1), prompt.clone(), 50) };
    engine.add_request(request).unwrap();
    for token in [5; 17].into_iter().chain([9]) {
        let plan = engine.schedule(&mut columns.borrow()).unwrap();
        engine.complete(plan.id, &[token], Scores::default()).unwrap();
    }
    let next = prompt.into_iter().chain([5; 17]).collect();
    engine.add_request(Request::new(RequestId(2), next, 1)).unwrap();
    let plan = engine.schedule(&mut columns.borrow()).unwrap();
    engine.complete(plan.id, &[5], Scores::default()).unwrap();
    drop(engine);
    at_these_times(&paper.text(), &[1_000_000, 600_000_000, 601_000_000])
}

/// Returns the trace as if its requests had come at these times, in microseconds.
fn at_these_times(trace: &str, times_us: &[u64]) -> String {
    let mut times_us = times_us.iter();
    let lines = trace.lines().map(|line| {
        let mut call: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(add) = call.get_mut("add") {
            add["at_us"] = (*times_us.next().unwrap()).into();
        }
        format!("{call}\n")
    });
    lines.collect()
}

/// What a trace is played for is the load as it was: its lengths, its ends, its pace, and who finds
/// whose answer in the cache.
#[test]
fn a_trace_is_a_load() {
    let recording = Recording::read(trace().as_bytes(), 2.0).unwrap();
    assert_eq!((recording.num_left_out(), recording.config()), (1, &config()));
    let report = Simulation::recorded(recording, config(), device(), 2048).and_then(Simulation::run).unwrap();
    assert_eq!((report.num_requests, report.num_steps, report.num_output_tokens), (2, 19, 19));
    assert_eq!(report.num_left_out, 1);
    assert_eq!(report.num_prompt_tokens, 32 + 49);
    // Half a second from the first to the second at twice the pace, 2 ms of the host, 8 ms to read
    // the weights, and a little for the context.
    assert_close(report.duration_s, 0.5 + 0.010_05);
    assert_close(report.requests_per_s, 2.0 / report.duration_s);
    // Three whole blocks of the second prompt: two of the first prompt, one of its answer.
    assert_close(report.prefix_hit_rate, 48.0 / 81.0);
    assert_ne!(report.itl, Summary::default());
}
