//! Over real sockets: clients that leave, servers that go, runners that die.
#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use common::Runner;
use common::sockets::{Client, metric, start, start_as};
use serde_json::{Value, json};
use socket2::SockRef;
use streamcore_server::routes::GENERATING;
use streamcore_server::{NextStep, bind};

/// How long the runner parks when there is nothing to do; any event wakes it earlier.
const PATIENCE: Duration = Duration::from_millis(20);

fn chat(stream: bool) -> Value {
    json!({ "model": "toy", "messages": [{ "role": "user", "content": "hi" }], "stream": stream })
}

/// Steps until the driver's gauges say so.
fn run_until(runner: &mut Runner, what: &str, is_reached: impl Fn(&streamcore_engine::Stats) -> bool) {
    for _ in 0..4_000_000 {
        if is_reached(&runner.driver.stats()) {
            return;
        }
        runner.step(PATIENCE);
    }
    panic!("never: {what}, {:?}", runner.driver.stats());
}

fn run_until_clean(runner: &mut Runner) {
    run_until(runner, "all blocks are back", |stats| {
        (stats.num_running, stats.num_waiting, stats.num_free_blocks) == (0, 0, stats.num_blocks)
    });
}

fn count(runner: &Runner, outcome: &str) -> u64 {
    metric(runner, &format!("requests_total{{finish_reason=\"{outcome}\"}}"))
}

/// Returns an answer without an end: every token is the same letter, however long it gets.
fn endless() -> String {
    "x".repeat(4_000_000)
}

/// A sequence without a client keeps its blocks from those that wait.
#[test]
fn a_client_that_leaves_in_the_middle_of_its_stream_frees_everything() {
    let (server, mut runner) = start(&endless());
    let mut client = Client::connect(&server);
    client.post("/v1/chat/completions", &chat(true));
    run_until(&mut runner, "tokens", |stats| stats.generated_tokens >= 3);
    client.read_until("\"content\":\"x");
    drop(client);
    run_until_clean(&mut runner);
    assert_eq!(count(&runner, "abort"), 1);
    assert_eq!(metric(&runner, "aborts_total{phase=\"decode\"}"), 1);
}

/// A client that waits for a whole answer may also leave; nothing is written to it that could fail.
#[test]
fn a_client_that_leaves_before_its_whole_answer_frees_everything() {
    let (server, mut runner) = start(&endless());
    let mut client = Client::connect(&server);
    client.post("/v1/chat/completions", &chat(false));
    run_until(&mut runner, "tokens", |stats| stats.generated_tokens >= 3);
    drop(client);
    run_until_clean(&mut runner);
    assert_eq!(count(&runner, "abort"), 1);
}

/// Some clients send a line break behind the body or their next request at once; that they leave
/// must be noticed all the same.
#[cfg(target_os = "linux")]
#[test]
fn a_client_that_leaves_after_sending_more_than_its_request_frees_everything() {
    for more in ["\r\n", "GET /health HTTP/1.1\r\nhost: toy\r\n\r\n"] {
        let (server, mut runner) = start(&endless());
        let mut client = Client::connect(&server);
        let mut body = chat(false);
        body["max_tokens"] = 50_000.into();
        client.post("/v1/chat/completions", &body);
        client.0.get_mut().write_all(more.as_bytes()).unwrap();
        run_until(&mut runner, "tokens", |stats| stats.generated_tokens >= 3);
        drop(client);
        run_until_clean(&mut runner);
        assert_eq!(count(&runner, "abort"), 1);
    }
}

/// The longest prompts are the ones that clients lose patience with.
#[test]
fn a_client_that_leaves_during_its_prefill_frees_everything() {
    let (server, mut runner) = start(&endless());
    let mut client = Client::connect(&server);
    let prompt = vec![97; 300_000];
    client.post(
        "/v1/completions",
        &json!({ "model": "toy", "prompt": prompt, "max_tokens": 1_000_000, "stream": true }),
    );
    run_until(&mut runner, "a first chunk", |stats| stats.computed_tokens > 0);
    assert!(client.read_head().starts_with("http/1.1 200"), "headers are there before the first token");
    drop(client);
    run_until_clean(&mut runner);
    assert_eq!(count(&runner, "abort"), 1);
}

/// Clients that leave while they still send cost no block, but an operator must see how many there
/// are.
#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_is_counted() {
    let (server, runner) = start("");
    for (num_before, path) in GENERATING.iter().enumerate() {
        let mut client = Client::connect(&server);
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: toy\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n");
        client.0.get_mut().write_all(head.as_bytes()).unwrap();
        assert!(client.read_head().starts_with("http/1.1 100"), "the body is being read");
        SockRef::from(client.0.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        let is_counted = || metric(&runner, "aborts_total{phase=\"before_queue\"}") == num_before as u64 + 1;
        assert!((0..2000).any(|_| {
            thread::sleep(Duration::from_millis(5));
            is_counted()
        }));
    }
}

/// A queue full of clients that have gone keeps those out that are there.
#[test]
fn a_client_that_leaves_the_queue_frees_its_place() {
    let (server, mut runner) = start(&endless());
    let mut first = Client::connect(&server);
    first.post("/v1/chat/completions", &chat(true));
    run_until(&mut runner, "the only row is taken", |stats| stats.num_running == 1);
    for stream in [true, false] {
        let mut second = Client::connect(&server);
        second.post("/v1/chat/completions", &chat(stream));
        run_until(&mut runner, "the second waits", |stats| stats.num_waiting == 1);
        drop(second);
        run_until(&mut runner, "it has left", |stats| stats.num_waiting == 0);
    }
    assert_eq!(runner.driver.stats().num_running, 1, "the first goes on");
    drop(first);
    run_until_clean(&mut runner);
    assert_eq!(count(&runner, "abort"), 3);
}

/// Pooled clients send their next request on the same socket; a server that closes it silently
/// loses some of them.
#[test]
fn one_connection_serves_request_after_request() {
    let (server, mut runner) = start("Hi!");
    let engine_thread = thread::spawn(move || while runner.step(PATIENCE) != NextStep::Stopped {});
    let mut client = Client::connect(&server);
    for _ in 0..3 {
        client.post("/v1/chat/completions", &chat(true));
        assert!(!client.read_head().contains("connection: close"));
        assert!(client.read_until("\r\n0\r\n\r\n").contains("data: [DONE]\n\n"));
    }
    assert!(client.get("/health").starts_with("http/1.1 200"));
    drop(client);
    server.drain(Duration::ZERO);
    engine_thread.join().unwrap();
    server.shutdown();
}

/// A deployment that cuts answers in the middle is noticed by every user; new work must go to the
/// next server at once.
#[test]
fn draining_finishes_what_runs_and_takes_nothing_new() {
    let (server, mut runner) = start("Hello");
    let (mut running, mut idle) = (Client::connect(&server), Client::connect(&server));
    idle.get("/version");
    idle.read_until("}");
    running.post("/v1/chat/completions", &chat(true));
    run_until(&mut runner, "a token", |stats| stats.generated_tokens >= 1);
    server.drain(Duration::from_secs(600));
    let (mut probe, mut new) = (Client::connect(&server), Client::connect(&server));
    assert!(probe.get("/health").starts_with("http/1.1 200"), "it is no reason to kill it");
    let head = probe.get("/ready");
    assert!(head.starts_with("http/1.1 503"), "a balancer is told to go elsewhere");
    for client in [&mut idle, &mut new] {
        client.post("/v1/chat/completions", &chat(true));
        let head = client.read_head();
        assert!(head.starts_with("http/1.1 503"), "so is whoever comes nevertheless");
        assert!(head.contains("retry-after: 1\r\n"), "{head}");
        assert!(head.contains("connection: close\r\n"), "or the next try comes back to this server: {head}");
        assert!(client.read_until("}}").contains("\"code\":\"shutting_down\""));
    }
    let refused = runner.driver.submit(streamcore_server::driver::NewRequest::new(vec![97], 1));
    assert_eq!(refused.unwrap_err(), streamcore_server::driver::Refusal::ShuttingDown);
    while runner.step(PATIENCE) != NextStep::Stopped {}
    let body = running.read_until("data: [DONE]\n\n\r\n0\r\n\r\n");
    assert!(body.contains("\"finish_reason\":\"stop\""), "{body}");
    let address = server.address().unwrap();
    server.shutdown();
    assert!(running.is_closed() && idle.is_closed() && new.is_closed());
    assert!(TcpStream::connect(address).is_err());
}

/// An endless answer must not keep the process alive for ever, and its client must not take the cut
/// for the end.
#[test]
fn the_deadline_of_a_drain_ends_streams_with_an_error() {
    let (server, mut runner) = start(&endless());
    let mut client = Client::connect(&server);
    client.post("/v1/chat/completions", &chat(true));
    run_until(&mut runner, "a token", |stats| stats.generated_tokens >= 1);
    server.drain(Duration::ZERO);
    assert_eq!(runner.step(PATIENCE), NextStep::Stopped);
    let body = client.read_to_cut();
    assert!(body.contains("\"code\":\"shutting_down\""), "{body}");
    assert!(!body.contains("\"finish_reason\":\"stop\""), "{body}");
    server.shutdown();
    assert_eq!(count(&runner, "error"), 1);
}

/// When the device dies every client must hear of it, and the orchestrator must restart the
/// process.
#[test]
fn a_runner_that_fails_ends_every_request_with_its_message() {
    let (server, mut runner) = start(&endless());
    let (mut stream, mut whole, mut later) =
        (Client::connect(&server), Client::connect(&server), Client::connect(&server));
    stream.post("/v1/chat/completions", &chat(true));
    run_until(&mut runner, "a token", |stats| stats.generated_tokens >= 1);
    whole.post("/v1/chat/completions", &chat(false));
    run_until(&mut runner, "the second waits", |stats| stats.num_waiting == 1);
    assert!(later.get("/health").starts_with("http/1.1 200"));

    runner.driver.fail("the device is lost");

    assert_eq!(runner.step(PATIENCE), NextStep::Stopped);
    let body = stream.read_to_cut();
    assert!(
        body.contains("\"error\":{\"message\":\"the device is lost\",\"type\":\"server_error\""),
        "{body}"
    );
    assert!(whole.read_head().starts_with("http/1.1 503"));
    assert!(later.get("/health").starts_with("http/1.1 503"));
    later.read_until("}}");
    later.post("/v1/chat/completions", &chat(true));
    assert!(later.read_head().starts_with("http/1.1 503"));
    assert!(later.read_until("}}").contains("the device is lost"));
    assert_eq!(count(&runner, "error"), 2);
}

/// A client that does not read must cost no more than its tokens, and must get all of its text once
/// it reads.
#[test]
fn a_slow_reader_is_waited_for_and_loses_nothing() {
    // The name is in every event, so that few tokens fill the buffers of the system.
    let (num_tokens, name) = (4_000, "n".repeat(4 << 10));
    let (server, mut runner) = start_as(&name, &endless());
    let mut client = Client::connect(&server);
    SockRef::from(client.0.get_ref()).set_recv_buffer_size(256 << 10).unwrap();
    let mut body = chat(true);
    body["max_tokens"] = num_tokens.into();
    client.post("/v1/chat/completions", &body);
    run_until(&mut runner, "a token", |stats| stats.generated_tokens > 0);
    run_until_clean(&mut runner);
    assert_eq!(count(&runner, "length"), 1);

    let body = client.read_until("data: [DONE]\n\n\r\n0\r\n\r\n");

    assert_eq!(body.matches("\"content\":\"").count(), body.matches("\"finish_reason\":null").count());
    let num_events = body.matches("data: ").count();
    assert!(num_events < num_tokens, "{num_events} events: nothing has merged");
    let texts = body.split("\"content\":\"").skip(1).map(|rest| rest.split('"').next().unwrap().len());
    assert_eq!(texts.sum::<usize>(), num_tokens);
}

/// Two servers that are started at the same time must not both load their models before one of them
/// finds out.
#[test]
fn a_port_that_somebody_has_bound_is_in_use_before_it_listens() {
    let first = bind("127.0.0.1", 0).unwrap();
    let error = bind("127.0.0.1", first.address().unwrap().port()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

/// A restart that has to wait for the system to forget the last run's connections is a minute of
/// downtime; one that is started twice loads two models and then serves with one.
#[test]
fn one_restart_gets_the_port_at_once() {
    let (server, _runner) = start("");
    let mut client = Client::connect(&server);
    client.get("/version");
    client.read_until("}");
    let port = server.address().unwrap().port();
    // The side that closes first is the one whose system remembers the connection.
    server.shutdown();
    assert!(client.is_closed());
    drop(client);
    let first = bind("127.0.0.1", port).unwrap();
    assert_eq!(first.address().unwrap().port(), port);
    assert_eq!(bind("127.0.0.1", port).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}

/// Two servers on one port must not both load their models before one of them finds out.
#[test]
fn a_port_in_use_is_found_by_bind() {
    let (server, _runner) = start("");
    let error = bind("127.0.0.1", server.address().unwrap().port()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}
