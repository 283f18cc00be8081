//! `/v1/messages`: golden transcripts, the same through both doors and however the engine's events
//! are cut, and an independent checker of the order of events.
#![allow(clippy::unwrap_used)]

mod broken;
#[path = "../golden/case.rs"]
#[allow(dead_code, reason = "the cases of chat use all of it")]
mod case;
mod cases;
#[path = "../common/mod.rs"]
mod common;
#[path = "../golden/family.rs"]
mod family;
mod grammar;
mod hostile;
mod reading;
#[path = "../golden/sockets.rs"]
mod sockets;
mod world;

use std::fmt::Write;

use common::Transcript;
use serde_json::{Value, json};

use self::case::{Before, Case};
use self::grammar::{check_message, check_refusal, read};

/// More steps than any answer here takes.
const ALL: usize = 200;

fn groups() -> [(&'static str, Vec<Case>); 4] {
    [
        ("answers", cases::answers()),
        ("calls", cases::calls()),
        ("failures", cases::failures()),
        ("refusals", cases::refusals()),
    ]
}

/// Returns those that the engine takes part in.
fn generated() -> impl Iterator<Item = Case> {
    [cases::answers(), cases::calls(), cases::failures()].into_iter().flatten()
}

/// Returns what a client knows in the end: of a stream that keeps the rules, everything but how it
/// was cut; of other answers every byte.
fn told(case: &Case, transcript: &Transcript) -> Value {
    let head = transcript.head.headers();
    if head.get("content-type").is_some_and(|kind| kind == "text/event-stream; charset=utf-8") {
        return read(transcript).unwrap_or_else(|broken| panic!("{}: {broken}", case.name));
    }
    let body: Value = serde_json::from_str(&transcript.body()).unwrap();
    if !transcript.head.status().is_success() {
        check_refusal(&body).unwrap_or_else(|broken| panic!("{}: {broken} in {body}", case.name));
        assert_eq!(head["request-id"], *body["request_id"].as_str().unwrap());
    }
    json!(transcript.golden())
}

fn play(case: &Case, max_steps_in_flight: usize, cuts: &[usize]) -> Transcript {
    let mut stage = case.stage(max_steps_in_flight);
    let transcript = stage.play_cut(case.ask.request(), cuts);
    stage.run(2);
    assert!(stage.is_clean() || case.before == Before::FullQueue, "{}: something is left behind", case.name);
    transcript
}

/// Every client parses these bytes; a key more or less, or another order of events, breaks some of
/// them.
#[tokio::test(start_paused = true)]
async fn transcripts() {
    for (group, cases) in groups() {
        let mut page = String::new();
        for case in &cases {
            let transcript = play(case, 1, &[1]);
            told(case, &transcript);
            writeln!(page, "=== {}\n{} {}", case.name, case.ask.method, case.ask.path).unwrap();
            for (name, value) in case.ask.headers.iter().filter(|(name, _)| *name != "x-request-id") {
                writeln!(page, "{name}: {value}").unwrap();
            }
            writeln!(page, "{}\nscript {:?}\n{}\n", case.ask.body, case.script, transcript.golden()).unwrap();
        }
        insta::assert_snapshot!(group, page);
    }
}

/// A client that switches streaming off must get the same message.
#[tokio::test(start_paused = true)]
async fn a_whole_answer_says_what_its_stream_says() {
    for case in [cases::answers(), cases::calls()].into_iter().flatten() {
        let streamed = told(&case, &play(&case, 1, &[1]));
        let mut whole = case.clone();
        let mut body = case.json().unwrap();
        body["stream"] = json!(false);
        whole.ask.body = body.to_string();
        let body: Value = serde_json::from_str(&play(&whole, 1, &[1]).body()).unwrap();
        check_message(&body).unwrap_or_else(|broken| panic!("{}: {broken}", case.name));
        assert_eq!(body, streamed, "{}", case.name);
    }
}

/// A fast engine, a slow reader or a second step in flight must not change what the client
/// receives, nor the rules of the stream.
#[tokio::test(start_paused = true)]
async fn a_transcript_tells_the_same_however_it_is_cut() {
    for case in generated() {
        let expected = told(&case, &play(&case, 1, &[1]));
        let longest = case.num_tokens() + 1;
        let mut cuts: Vec<Vec<usize>> = (1..=longest).map(|position| vec![position, ALL]).collect();
        cuts.extend([vec![ALL], vec![2], vec![3, 1, 2]]);
        for cuts in cuts {
            assert_eq!(told(&case, &play(&case, 1, &cuts)), expected, "{} cut at {cuts:?}", case.name);
            if case.fails_after.is_none() {
                let told = told(&case, &play(&case, 2, &cuts));
                assert_eq!(told, expected, "{} cut at {cuts:?}, two steps in flight", case.name);
            }
        }
    }
}

/// What the routes say must be what goes over the wire: whole events in each chunk, no header of
/// the listener's own making.
#[test]
fn a_transcript_is_the_same_over_a_socket() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    for (_, cases) in groups() {
        // A server finds out by itself how its model writes calls.
        for case in cases.iter().filter(|case| case.family.is_none()) {
            let routed = {
                let _context = runtime.enter();
                play(case, 1, &[1]).without_connection()
            };
            let native = sockets::play(case).without_connection();
            assert_eq!(told(case, &native), told(case, &routed), "{}", case.name);
        }
    }
}

/// A client that leaves, whatever it has read, must give back all that was held for it, and the
/// next one must be answered.
#[tokio::test(start_paused = true)]
async fn whoever_leaves_gives_everything_back() {
    for case in generated().filter(|case| case.fails_after.is_none()) {
        let num_writes = play(&case, 1, &[1]).writes.len();
        for num_read in 0..num_writes {
            let mut stage = case.stage(2);
            stage.leave(case.ask.request(), num_read);
            // What is in flight is completed before its blocks come back.
            stage.run(3);
            assert!(stage.is_clean(), "{} left after {num_read} writes", case.name);
            let again = stage.play_routed(case.ask.request(), &[1]);
            assert_eq!(again.head.status(), 200, "{}", case.name);
        }
    }
}
