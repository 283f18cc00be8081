//! Streams that are taken up again.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use streamcore_server::DriverLimits;
use streamcore_server::ledger::Pool;
use tokio::task::{JoinSet, yield_now};
use tower::ServiceExt;

use crate::common::response_events::read_events;
use crate::common::{Dice, Stage, engine_config, get, limits, poll_once, post};
use crate::kept::{PATH, ask, settle};
use crate::store::store;

const SCRIPT: &str = "é€𝄞 Hi!";

fn events_of(stream: &str) -> Vec<&str> {
    stream.split_terminator("\n\n").filter(|event| *event != ":").collect()
}

fn data_of(event: &str) -> Value {
    serde_json::from_str(event.split_once("\ndata: ").unwrap().1).unwrap()
}

fn id_of(event: &str) -> String {
    data_of(event)["response"]["id"].as_str().unwrap().to_owned()
}

fn body(is_background: bool) -> Value {
    json!({ "model": "toy", "input": "hi", "stream": true, "background": is_background })
}

fn stream_of(id: &str, after: Option<usize>) -> String {
    let after = after.map_or_else(String::new, |after| format!("&starting_after={after}"));
    format!("{PATH}/{id}?stream=true{after}")
}

/// A client that was cut off anywhere must get the rest, byte for byte, as if nothing had happened.
#[tokio::test]
async fn a_stream_that_is_over_is_the_same_from_every_event_on() {
    for is_background in [false, true] {
        let mut stage = Stage::new(SCRIPT);
        let (status, first) = ask(&mut stage, post(PATH, body(is_background))).await;
        assert_eq!(status, 200);
        let events = events_of(&first);
        read_events(&events).unwrap();
        let id = id_of(events[0]);
        assert_eq!(ask(&mut stage, get(&stream_of(&id, None))).await, (200, first.clone()));
        for after in 0..events.len() + 2 {
            let (status, rest) = ask(&mut stage, get(&stream_of(&id, Some(after)))).await;
            let expected: String =
                events.iter().skip(after + 1).map(|event| format!("{event}\n\n")).collect();
            assert_eq!((status, rest), (200, expected), "{after}");
        }
        for query in ["?starting_after=-1", "?stream=true&starting_after=x", "?stream=perhaps"] {
            assert_eq!(ask(&mut stage, get(&format!("{PATH}/{id}{query}"))).await.0, 400, "{query}");
        }
        let (_, object) = ask(&mut stage, get(&format!("{PATH}/{id}?stream=false&starting_after=1"))).await;
        assert!(object.starts_with("{\"id\":\"resp_"), "{object}");
    }
    let mut stage = Stage::new(SCRIPT);
    let (_, whole) = ask(&mut stage, post(PATH, json!({ "input": "hi" }))).await;
    let id = serde_json::from_str::<Value>(&whole).unwrap()["id"].as_str().unwrap().to_owned();
    assert_eq!(ask(&mut stage, get(&stream_of(&id, None))).await.0, 400, "it never was a stream");
}

/// The same while the answer is being generated, and whatever has come by then.
#[tokio::test]
async fn a_stream_that_runs_is_taken_up_at_every_event() {
    for num_steps in 0..SCRIPT.len() + 2 {
        let mut stage = Stage::new(SCRIPT);
        let answered = stage.router.clone().oneshot(post(PATH, body(true))).await.unwrap();
        let mut first = answered.into_body();
        let frame = first.frame().await.unwrap().unwrap().into_data().unwrap();
        drop(first);
        let id = id_of(events_of(std::str::from_utf8(&frame).unwrap())[0]);
        settle(&mut stage, num_steps).await;
        // Readers at every place, all at once.
        let mut readers = Vec::new();
        for after in 0..6 {
            let response = stage.router.clone().oneshot(get(&stream_of(&id, Some(after)))).await.unwrap();
            readers.push((after, response.into_body(), String::new()));
        }
        settle(&mut stage, 1).await;
        let mut num_open = readers.len();
        while num_open > 0 {
            settle(&mut stage, 1).await;
            num_open = 0;
            for (_, body, text) in &mut readers {
                while let Poll::Ready(Some(frame)) = poll_once(pin!(body.frame())) {
                    let data = frame.unwrap().into_data().unwrap();
                    text.push_str(std::str::from_utf8(&data).unwrap());
                }
                num_open += usize::from(!text.contains("response.completed"));
            }
        }
        let (_, whole) = ask(&mut stage, get(&stream_of(&id, None))).await;
        let events = events_of(&whole);
        read_events(&events).unwrap();
        for (after, _, text) in readers {
            assert_eq!(events_of(&text), events[after + 1..], "{num_steps} steps, after {after}");
        }
        assert!(stage.is_clean());
    }
}

/// Where there is no room for what a stream has said, a client must not take the rest for all of
/// it.
#[tokio::test]
async fn events_that_are_gone_are_not_left_out_silently() {
    use streamcore_server::openai::responses::Status;
    use streamcore_server::stored::{Events, NewResponse};
    let (ledger, store) = store(9, 3000);
    let (id, input) = ("resp_1".to_owned(), Vec::new());
    let new = NewResponse { id, owner: 0, previous: None, input, keeps_events: true, is_background: true };
    let recording = store.open(new, std::time::Instant::now()).unwrap();
    let response = recording.response();
    recording.set(Status::InProgress, b"{}");
    for nth in 0..5 {
        recording.add(&[b'0' + nth; 600]);
    }
    recording.end();
    assert_eq!(response.events_from(0, 1 << 20), Events::Gone);
    assert!(response.num_gone() > 0 && ledger.held(Pool::StoredBytes) <= 3000);
    let Events::Some(bytes, next) = response.events_from(response.num_gone(), 1 << 20) else {
        panic!("the last are there");
    };
    assert_eq!((bytes[0], next), (b'0' + u8::try_from(response.num_gone()).unwrap(), 5));
    assert_eq!(response.events_from(5, 1), Events::Over);
}

/// Reads a stream up to a random place, or its end. The numbers that were seen, and whether it was
/// the end.
async fn read_some(
    router: &Router,
    request: axum::http::Request<Body>,
    dice: &mut Dice,
    seen: &mut Vec<Value>,
) -> bool {
    let response = router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let mut body = response.into_body();
    let mut num_left = dice.below(4);
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        let text = std::str::from_utf8(&data).unwrap();
        // A connection that breaks may cut what came last.
        let events = events_of(text);
        let num_whole = if num_left == 0 { dice.below(events.len() + 1) } else { events.len() };
        seen.extend(events[..num_whole].iter().map(|event| data_of(event)));
        if num_left == 0 {
            return false;
        }
        num_left -= 1;
    }
    true
}

/// A thousand phones in a tunnel: each must have every event once when it comes out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_that_break_off_lose_and_repeat_nothing() {
    const NUM_CLIENTS: usize = 1000;
    let limits = DriverLimits {
        max_waiting_requests: 8 * NUM_CLIENTS,
        max_stored_responses: 8 * NUM_CLIENTS,
        ..limits()
    };
    let mut stage = Stage::with_config(SCRIPT, engine_config(), limits);
    let router = stage.router.clone();
    let is_over = Arc::new(AtomicBool::new(false));
    let stops = Arc::clone(&is_over);
    let engine = std::thread::spawn(move || {
        while !stops.load(Relaxed) {
            stage.runner.step(Duration::from_millis(5));
        }
        assert!(stage.is_clean());
    });
    let mut clients = JoinSet::new();
    for client in 0..NUM_CLIENTS {
        let router = router.clone();
        clients.spawn(async move {
            let mut dice = Dice(client as u64 + 1);
            let mut seen: Vec<Value> = Vec::new();
            let mut id: Option<String> = None;
            let mut is_whole = false;
            while !is_whole {
                let request = match &id {
                    None => post(PATH, body(true)),
                    Some(id) => get(&stream_of(id, seen.len().checked_sub(1))),
                };
                is_whole = read_some(&router, request, &mut dice, &mut seen).await;
                if id.is_none() && seen.is_empty() {
                    // It cannot know what to ask for, and begins anew.
                    continue;
                }
                id = id.or_else(|| seen[0]["response"]["id"].as_str().map(str::to_owned));
                yield_now().await;
            }
            for (number, event) in seen.iter().enumerate() {
                assert_eq!(event["sequence_number"], number);
            }
            let deltas: String = seen.iter().filter_map(|event| event["delta"].as_str()).collect();
            assert_eq!(
                (deltas.as_str(), &seen[seen.len() - 1]["type"]),
                (SCRIPT, &json!("response.completed"))
            );
        });
    }
    let outcomes: VecDeque<_> = clients.join_all().await.into();
    assert_eq!(outcomes.len(), NUM_CLIENTS);
    is_over.store(true, Relaxed);
    engine.join().unwrap();
}
