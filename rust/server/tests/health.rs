//! A step loop that hangs: who hears of it, and when.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Stage, get, post, transcript_of};
use serde_json::json;
use streamcore_server::NextStep;
use streamcore_server::driver::{Health, LOOK_INTERVAL};
use tower::ServiceExt;

const CHAT: &str = "/v1/chat/completions";

fn chat() -> serde_json::Value {
    json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }], "stream": true })
}

/// A device that hangs says nothing: the orchestrator must hear of it within seconds, and then
/// every client.
#[tokio::test(start_paused = true)]
async fn a_step_loop_that_hangs_is_told_to_whoever_asks_and_ends_every_stream() {
    let mut stage = Stage::new("x".repeat(100));
    let driver = std::sync::Arc::clone(&stage.runner.driver);
    let response = stage.router.clone().oneshot(post(CHAT, chat())).await.unwrap();
    stage.run(4);
    assert_eq!(stage.answer(get("/health")).await.0.status(), 200);

    let num_looks =
        (1..1000).find(|_| driver.look().is_some() || driver.health() != Health::Serving).unwrap();
    assert!(num_looks * LOOK_INTERVAL <= Duration::from_secs(2), "{num_looks} looks");
    for path in ["/health", "/ready"] {
        let (head, body) = stage.answer(get(path)).await;
        assert_eq!(head.status(), 503);
        assert!(body.contains("the step loop has not answered"), "{body}");
    }
    let (head, _) = stage.answer(post(CHAT, chat())).await;
    assert_eq!(head.status(), 503, "nothing new is put behind a hung step");

    stage.run(1);
    assert_eq!(stage.answer(get("/health")).await.0.status(), 200, "it was only late");

    let message = (1..1000).find_map(|_| driver.look()).unwrap();
    driver.fail(&message);
    let transcript = transcript_of(response).await;
    assert!(transcript.is_cut, "half an answer must not look whole");
    let body = transcript.writes.concat();
    assert!(body.contains("\"content\":\"x"), "what there was is not lost: {body}");
    assert!(body.contains("\"error\":{\"message\":\"the step loop has not answered"), "{body}");
    assert!(!body.contains("[DONE]"), "{body}");
    assert_eq!(stage.runner.step(Duration::ZERO), NextStep::Stopped, "a loop that comes back ends");
    assert_eq!(driver.failure(), Some(message));
    assert!(driver.render_metrics("toy").contains("streamcore_refusals_total{reason=\"failed\"} 1\n"));
}
