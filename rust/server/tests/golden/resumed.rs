//! Every golden response that is a stream, broken off and taken up again, or cancelled, at each of
//! its points.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::task::yield_now;
use tower::ServiceExt;

use crate::case::{Case, RESPONSES};
use crate::common::response_events::read_events;
use crate::common::{Stage, ask, get, poll_once, post};
use crate::responses::responses;

/// The responses that are streams, as they are kept.
fn streams(is_background: bool) -> impl Iterator<Item = (Case, Value)> {
    responses().into_iter().filter_map(move |case| {
        let mut body = case.json()?;
        (body["store"], body["background"]) = (json!(true), json!(is_background));
        (body["stream"] == true).then_some((case, body))
    })
}

fn events_of(stream: &str) -> Vec<&str> {
    stream.split_terminator("\n\n").filter(|event| *event != ":").collect()
}

fn data_of(event: &str) -> Value {
    serde_json::from_str(event.split_once("\ndata: ").unwrap().1).unwrap()
}

fn path_of(stream: &str) -> String {
    let created = data_of(events_of(stream)[0]);
    format!("{RESPONSES}/{}", created["response"]["id"].as_str().unwrap())
}

/// What has come of a stream, if anything has.
fn read_now(body: &mut Body) -> Option<String> {
    match poll_once(pin!(body.frame())) {
        Poll::Ready(Some(frame)) => {
            Some(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
        }
        _ => None,
    }
}

/// Lets the engine do a step, and what runs in the background go on.
async fn step(stage: &mut Stage) {
    stage.runner.step(Duration::ZERO);
    yield_now().await;
    yield_now().await;
}

/// Begins a response in the background; its client reads up to the given number of writes, each as
/// soon as it is there.
async fn begin(stage: &mut Stage, body: Value, max_writes: usize) -> String {
    let mut answered = pin!(stage.router.clone().oneshot(post(RESPONSES, body)));
    let mut stream = loop {
        if let Poll::Ready(answer) = poll_once(answered.as_mut()) {
            break answer.unwrap().into_body();
        }
        yield_now().await;
    };
    let (mut seen, mut num_writes) = (String::new(), 0);
    while num_writes < max_writes && !is_whole(&seen) {
        match read_now(&mut stream) {
            Some(write) => {
                seen.push_str(&write);
                num_writes += 1;
            }
            None => step(stage).await,
        }
    }
    seen
}

fn is_whole(stream: &str) -> bool {
    ["completed", "incomplete", "failed"]
        .iter()
        .any(|end| stream.contains(&format!("event: response.{end}\n")))
}

/// A client in a tunnel must come out with the bytes of one that never was in it, whatever the
/// answer has in it.
#[tokio::test]
async fn every_stream_is_the_same_behind_each_of_its_events() {
    for (case, body) in streams(false).chain(streams(true)) {
        let mut stage = case.stage(1);
        let (status, whole) = ask(&mut stage, post(RESPONSES, body)).await;
        assert_eq!(status, 200, "{}: {whole}", case.name);
        let events = events_of(&whole);
        read_events(&events).unwrap_or_else(|broken| panic!("{}: {broken}", case.name));
        for after in 0..events.len() {
            let path = format!("{}?stream=true&starting_after={after}", path_of(&whole));
            let rest: String = events[after + 1..].iter().map(|event| format!("{event}\n\n")).collect();
            assert_eq!(ask(&mut stage, get(&path)).await, (200, rest), "{} behind {after}", case.name);
        }
    }
}

/// The same while the answer is being generated: wherever the connection breaks, the next one goes
/// on.
#[tokio::test]
async fn a_stream_that_breaks_off_goes_on_where_it_was() {
    for (case, body) in streams(true) {
        for max_writes in 1.. {
            let mut stage = case.stage(1);
            let mut seen = begin(&mut stage, body.clone(), max_writes).await;
            let was_whole = is_whole(&seen);
            let (path, last) = (path_of(&seen), events_of(&seen).len() - 1);
            let (status, rest) =
                ask(&mut stage, get(&format!("{path}?stream=true&starting_after={last}"))).await;
            assert_eq!((status, was_whole), (200, rest.is_empty()), "{}", case.name);
            seen.push_str(&rest);
            let (_, whole) = ask(&mut stage, get(&format!("{path}?stream=true"))).await;
            assert_eq!(events_of(&seen), events_of(&whole), "{} broken after {max_writes}", case.name);
            read_events(&events_of(&seen)).unwrap_or_else(|broken| panic!("{}: {broken}", case.name));
            if was_whole {
                break;
            }
        }
    }
}

/// A job that is cancelled, whatever it was just saying, closes what is open and says so in its
/// last event.
#[tokio::test]
async fn a_stream_may_be_cancelled_at_any_point() {
    let mut page = String::new();
    for (case, body) in streams(true).filter(|(case, _)| case.fails_after.is_none()) {
        for max_writes in 1.. {
            let mut stage = case.stage(1);
            let path = path_of(&begin(&mut stage, body.clone(), max_writes).await);
            let (status, cancelled) = ask(&mut stage, post(&format!("{path}/cancel"), "")).await;
            let (_, stream) = ask(&mut stage, get(&format!("{path}?stream=true"))).await;
            let mut told =
                read_events(&events_of(&stream)).unwrap_or_else(|broken| panic!("{}: {broken}", case.name));
            let mut cancelled: Value = serde_json::from_str(&cancelled).unwrap();
            cancelled.as_object_mut().unwrap().remove("created_at");
            assert_eq!((status, &cancelled), (200, &told), "{}", case.name);
            for _ in 0..3 {
                step(&mut stage).await;
            }
            assert!(stage.is_clean(), "{} cancelled after {max_writes}", case.name);
            if told["status"] != "cancelled" {
                break;
            }
            // Each of the others has parts of these.
            if ["a response with text around calls", "a response with a thought"].contains(&case.name) {
                let id = told["id"].as_str().unwrap().trim_start_matches("resp_").to_owned();
                for item in told["output"].as_array_mut().unwrap() {
                    // It has been made up.
                    item.as_object_mut().unwrap().entry("call_id").and_modify(|id| *id = json!("c"));
                }
                let output = told["output"].take().to_string().replace(&id, "1");
                page += &format!("{}, {max_writes}: {output}\n", case.name);
            }
        }
    }
    insta::assert_snapshot!("cancelled", page);
}
