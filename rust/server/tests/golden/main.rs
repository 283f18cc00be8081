//! Golden transcripts: a request, a script for the runner, and the exact bytes of the answer, the
//! same through both doors and however the engine's events are cut.
#![allow(clippy::unwrap_used)]

mod answers;
mod case;
#[path = "../common/mod.rs"]
mod common;
mod failures;
mod family;
mod responses;
mod resumed;
mod sockets;
mod stops;
mod tokens;
mod tools;

use std::fmt::Write;

use common::Transcript;
use common::contract::{Asked, check_error, read};
use common::response_events;
use serde_json::{Value, json};

use self::case::{Before, Case};

/// More steps than any answer here takes.
const ALL: usize = 200;

fn groups() -> [(&'static str, Vec<Case>); 15] {
    [
        ("whole_chats", answers::whole_chats()),
        ("whole_completions", answers::whole_completions()),
        ("streams", answers::streams()),
        ("stops", answers::stops()),
        (
            "special_stops",
            [stops::special_tokens(), stops::around_special_tokens()].into_iter().flatten().collect(),
        ),
        ("ids", tokens::ids()),
        ("chat_logprobs", tokens::chat_logprobs()),
        ("completion_logprobs", tokens::completion_logprobs()),
        ("failures", failures::failures()),
        ("refusals", failures::refusals()),
        ("routes", failures::routes()),
        ("calls", tools::calls()),
        ("families", tools::families()),
        ("responses", responses::responses()),
        ("response_refusals", responses::refusals()),
    ]
}

/// Returns what a client knows in the end: of a stream that keeps the rules, everything but how it
/// was cut; of other answers every byte.
fn told(case: &Case, transcript: &Transcript) -> Value {
    let streams = transcript
        .head
        .headers()
        .get("content-type")
        .is_some_and(|kind| kind == "text/event-stream; charset=utf-8");
    if !streams {
        if !transcript.head.status().is_success() && case.ask.method != "HEAD" {
            let body = serde_json::from_str(&transcript.body()).unwrap();
            check_error(&body).unwrap_or_else(|broken| panic!("{}: {broken}", case.name));
        }
        return json!(transcript.golden());
    }
    if case.ask.path == case::RESPONSES {
        return response_events::read(transcript).unwrap_or_else(|broken| panic!("{}: {broken}", case.name));
    }
    let asked = Asked::of(case.ask.path, &case.json().unwrap());
    read(transcript, asked).unwrap_or_else(|broken| panic!("{}: {broken}", case.name))
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
            writeln!(page, "{}\nscript {:?}", case.ask.body, case.script).unwrap();
            match group {
                "families" => writeln!(page, "{}\n", tools::deltas(&transcript)).unwrap(),
                _ => writeln!(page, "{}\n", transcript.golden()).unwrap(),
            }
        }
        insta::assert_snapshot!(group, page);
    }
}

/// The suite is the promise; it must not shrink unseen, and each case must be one of its own.
#[test]
fn there_are_enough_of_them() {
    let names: std::collections::BTreeSet<_> = groups()
        .iter()
        .flat_map(|(group, cases)| cases.iter().map(move |case| (*group, case.name)))
        .collect();
    let num_cases: usize = groups().iter().map(|(_, cases)| cases.len()).sum();
    assert_eq!(names.len(), num_cases, "two have one name");
    assert!(num_cases >= 60, "{num_cases}");
}

/// A fast engine, a slow reader or a second step in flight must not change what the client
/// receives, nor the rules of the stream.
#[tokio::test(start_paused = true)]
async fn a_transcript_tells_the_same_however_it_is_cut() {
    let generated = groups().into_iter().flat_map(|(_, cases)| cases).filter(Case::is_generated);
    let mut random = 1_u32;
    for case in generated {
        let expected = told(&case, &play(&case, 1, &[1]));
        let longest = case.num_tokens() + 1;
        let mut cuts: Vec<Vec<usize>> = (1..=longest).map(|position| vec![position, ALL]).collect();
        cuts.push(vec![ALL]);
        cuts.extend((0..4).map(|_| {
            let steps = std::iter::repeat_with(|| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                1 + (random >> 30) as usize
            });
            steps.take(longest).collect()
        }));
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
    let generated = groups().into_iter().flat_map(|(_, cases)| cases).filter(Case::is_generated);
    for case in generated.filter(|case| case.fails_after.is_none()) {
        let Transcript { head, writes, .. } = play(&case, 1, &[1]);
        let num_writes = if head.status().is_success() { writes.len() } else { 0 };
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
