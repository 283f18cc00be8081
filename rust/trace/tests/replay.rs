//! Recordings can be replayed, and a difference is found at its place.
#![allow(clippy::unwrap_used)]

#[path = "../../engine/tests/common/mod.rs"]
mod common;
mod paper;

use std::io::{self, Write};
use std::time::Duration;

use common::device::ShadowDevice;
use common::load::{Load, TURN, random_config};
use common::model::Rng;
use paper::Paper;
use streamcore_engine::{Engine, EngineConfig, OwnedStepBuffers, Request, RequestId};
use streamcore_trace::{ModelShape, RecordedEngine, Recorder, Replay, Replayed, read_model};

/// A recorded engine on the shadow device.
struct Recording {
    engine: RecordedEngine,
    device: ShadowDevice,
    columns: OwnedStepBuffers,
    paper: Paper,
}

impl Recording {
    fn new(config: &EngineConfig) -> Self {
        let paper = Paper::default();
        let mut engine = RecordedEngine::from(Engine::new(config.clone()).unwrap());
        engine.record(Recorder::new(paper.clone(), config, None).unwrap());
        let columns = OwnedStepBuffers::new(config);
        Self { engine, device: ShadowDevice::new(config), columns, paper }
    }

    fn schedule(&mut self) {
        if let Some(plan) = self.engine.schedule(&mut self.columns.borrow()) {
            self.device.launch(&plan, &self.columns);
        }
    }

    fn complete(&mut self) {
        if let Some(result) = self.device.finish_oldest() {
            self.engine.observe(result.id, Duration::from_millis(result.sampled.len() as u64 + 1)).unwrap();
            self.engine.complete(result.id, &result.sampled, result.scores()).unwrap();
        }
    }

    /// All masks that are awaited are there, some of them behind a token that they force.
    fn resume(&mut self) {
        for id in 0..16 {
            let forced: &[u32] = if id % 2 == 0 { &[3] } else { &[] };
            self.engine.resume(RequestId(id), forced);
        }
    }

    fn run_to_end(&mut self) {
        while self.engine.has_work() {
            self.schedule();
            self.complete();
            self.resume();
        }
    }
}

/// Random arrivals, aborts and interleavings; the trace and how many steps there were.
fn random_story(seed: u64, depth: usize) -> (String, u64) {
    let mut rng = Rng::new(seed);
    let config = random_config(&mut rng, depth);
    let mut load = Load::new(&mut rng, &config);
    let mut story = Recording::new(&config);
    let mut now = Duration::ZERO;
    while !load.is_over() || story.engine.has_work() {
        now += TURN;
        match rng.between(0, 20) {
            0..=3 if !load.is_over() => {
                for request in load.next(&mut rng, &config, &[], now) {
                    story.engine.add_request(request).unwrap();
                }
            }
            4 => {
                story.engine.abort(RequestId(rng.between(0, 15) as u64));
            }
            5..=12 => {
                story.engine.expire(now);
                story.schedule();
            }
            13 | 14 => story.resume(),
            _ => story.complete(),
        }
    }
    (story.paper.text(), story.engine.stats().steps)
}

fn replay(trace: &str) -> Result<Replayed, String> {
    Replay::new(trace.as_bytes()).and_then(Replay::run).map_err(|error| error.to_string())
}

/// A trace that does not replay cannot be trusted to show the fault that it was recorded for.
#[test]
fn random_stories_replay_step_for_step() {
    let calls = ["{\"abort\"", "{\"expire\"", "{\"observe\"", "{\"idle\""];
    let mut reached = calls.map(|call| (call, 0));
    for seed in 0..200 {
        for depth in [1, 2] {
            let (trace, num_steps) = random_story(seed, depth);
            let num_calls = trace.lines().count() as u64 - 1;
            let expected = Replayed { num_calls, num_steps, is_cut_off: false };
            assert_eq!(replay(&trace), Ok(expected), "seed {seed}, depth {depth}");
            reached.iter_mut().for_each(|(what, times)| *times += trace.matches(*what).count());
        }
    }
    assert!(reached.iter().all(|(_, times)| *times >= 20), "{reached:?}");
}

fn small_trace() -> String {
    let mut story = Recording::new(&common::config());
    story.engine.add_request(Request { key: 3, ..common::request(0, 6, 3) }).unwrap();
    story.engine.add_request(common::request(1, 2, 9)).unwrap();
    story.schedule();
    story.complete();
    story.engine.abort(RequestId(1));
    story.run_to_end();
    story.paper.text()
}

/// Without the times, which differ each time, and without what the plans of this version have in
/// them.
fn form(trace: &str) -> String {
    let hidden = [("\"at_us\":", ','), ("\"sizes\":[", ']'), ("\"columns\":[", ']'), ("\"hashes\":[", ']')];
    hidden.into_iter().fold(trace.to_owned(), |text, (key, end)| {
        let mut parts = text.split(key);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |form, part| form + key + "…" + &part[part.find([end, '}']).unwrap()..])
    })
}

/// Users' own tools for traces rely on these names.
#[test]
fn the_format_is_as_documented() {
    insta::assert_snapshot!(form(&small_trace()));
}

/// A replay that overlooks a difference proves nothing; one that names the wrong place costs a day.
#[test]
fn the_first_difference_is_named_with_its_line_and_step() {
    let trace = small_trace();
    let lines: Vec<&str> = trace.lines().collect();
    let find = |what: &str| lines.iter().position(|line| line.starts_with(what)).unwrap();
    let (first_plan, complete) = (find("{\"plan\""), find("{\"complete\""));
    let with = |index: usize, line: &str| {
        let mut lines = lines.clone();
        lines[index] = line;
        replay(&(lines.join("\n") + "\n")).unwrap_err()
    };

    let hash: serde_json::Value = serde_json::from_str(lines[first_plan]).unwrap();
    let hash = hash["plan"]["hashes"][0].to_string();
    let column = with(first_plan, &lines[first_plan].replacen(&hash, "7", 1));
    assert!(column.starts_with("line 4: column `token_ids` of step 0 differs"), "{column}");

    let size = with(first_plan, &lines[first_plan].replacen("[8,2,0,2,", "[8,2,0,1,", 1));
    assert_eq!(size, "line 4: step 0 has `num_samples` 2, the trace has 1");

    // Another token is drawn: the step that computes it is the first that differs.
    let sampled: serde_json::Value = serde_json::from_str(lines[complete]).unwrap();
    let sampled = sampled["complete"]["sampled"].to_string();
    let token = with(complete, &lines[complete].replacen(&sampled, "[49,49]", 1));
    assert!(token.starts_with("line 7: column `token_ids` of step 1 differs"), "{token}");

    let order = with(first_plan, lines[complete]);
    assert!(order.starts_with("line 4: the engine refused the call: step 0 was completed"), "{order}");
    let number = with(first_plan, &lines[first_plan].replacen("\"step\":0", "\"step\":4", 1));
    assert_eq!(number, "line 4: step 0 is planned, in the trace step 4 is");
    let idle = with(first_plan, "{\"idle\":{\"at_us\":1}}");
    assert_eq!(idle, "line 4: step 0 is planned, in the trace nothing is");
    let nobody = with(first_plan, "{\"abort\":{\"at_us\":1,\"id\":9}}");
    assert_eq!(nobody, "line 4: request 9 is aborted, but it has ended or never came");
    let garbage = with(first_plan, "{\"plan\":{\"at_us\":1}}");
    assert!(garbage.starts_with("line 4 cannot be understood: missing field `step`"), "{garbage}");
}

/// The trace of a server that was killed is the one that an operator needs.
#[test]
fn a_trace_that_was_cut_off_replays_as_far_as_it_goes() {
    let trace = small_trace();
    let whole = replay(&trace).unwrap();
    let last = trace.trim_end().rfind('\n').unwrap() + 1;
    for end in last..trace.len() {
        let replayed = replay(&trace[..end]).unwrap();
        assert_eq!(
            (replayed.num_calls, replayed.is_cut_off),
            (whole.num_calls - 1, end > last),
            "cut at {end}"
        );
    }
}

/// Any other file must be refused with a reason, not replayed as an empty trace.
#[test]
fn what_is_not_a_trace_is_refused() {
    let trace = small_trace();
    let header = trace.lines().next().unwrap();
    let refusal = |text: &str| replay(text).unwrap_err();
    assert!(refusal("").starts_with("line 1 is not the header of a trace"));
    assert!(
        refusal("{\"model\":\"demo\"}\n").starts_with("line 1 is not the header of a trace: missing field")
    );
    let newer = header.replacen("\"trace_version\":1", "\"trace_version\":2", 1);
    assert_eq!(refusal(&newer), "the trace has `trace_version` 2, this program reads 1");
    let limits = header.replacen("\"block_size\":4", "\"block_size\":0", 1);
    assert_eq!(refusal(&limits), "line 1: `block_size` is 0, it must be at least 1");
    let columns = header.replacen("token_ids", "tokens", 1);
    assert!(refusal(&columns).starts_with("line 1: the plans of streamcore 0."), "{}", refusal(&columns));
}

/// A disk that fills up takes 3 lines and no more.
struct FullDisk(usize);

impl Write for FullDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Turning a trace on must not cost the server.
#[test]
fn a_full_disk_ends_the_trace_and_nothing_else() {
    let config = common::config();
    let mut story = Recording::new(&config);
    story.engine = Engine::new(config.clone()).unwrap().into();
    story.engine.record(Recorder::new(FullDisk(3), &config, None).unwrap());
    story.engine.add_request(common::request(0, 6, 9)).unwrap();
    story.run_to_end();
    assert_eq!(story.engine.stats().generated_tokens, 9);
    assert_eq!(format!("{:?}", story.engine).matches("is_recording: false").count(), 1);
    assert!(Recorder::new(FullDisk(0), &config, None).is_err());
}

/// A trace of today is read by yesterday's program and yesterday's by today's: the model is a field
/// of the header that may be missing.
#[test]
fn the_model_is_a_field_that_may_be_missing() {
    let config = common::config();
    let shape = ModelShape { name: "tiny".to_owned(), num_weights: 27_000_000, kv_numbers_per_token: 8192 };
    let header = |model| {
        let paper = Paper::default();
        drop(Recorder::new(paper.clone(), &config, model).unwrap());
        paper.text()
    };
    let (with, without) = (header(Some(shape.clone())), header(None));
    assert!(!without.contains("\"model\""), "{without}");
    assert_eq!(read_model(with.as_bytes()).unwrap(), Some(shape));
    assert_eq!(read_model(without.as_bytes()).unwrap(), None);
    // The same for a field that a later program adds.
    let later = with.replacen('{', r#"{"added_later":{"a":1},"#, 1);
    for trace in [with, without, later] {
        let Ok(Some(replayed)) = Replay::new(trace.as_bytes()).unwrap().advance(1) else { panic!("{trace}") };
        assert_eq!(replayed.num_calls, 0);
    }
}

/// A trace holds prompts: others on the machine must not read them, and an older trace must not be
/// lost to a new one.
#[cfg(unix)]
#[test]
fn a_trace_is_a_new_file_that_only_its_owner_reads() {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::env::temp_dir().join(format!("streamcore-trace-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("trace.jsonl");
    drop(Recorder::create(&path, &common::config(), None).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let again = Recorder::create(&path, &common::config(), None).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    std::fs::remove_dir_all(&folder).unwrap();
}
