//! Many clients at once, half of whom leave: what is left must be nothing.
#![allow(clippy::unwrap_used)]

mod common;

use std::future::poll_fn;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::Runner;
use streamcore_engine::EngineConfig;
use streamcore_server::driver::{Driver, DriverLimits, End, NewRequest, NextStep, Token};

const NUM_CLIENTS: usize = 8;
const NUM_ROUNDS: usize = 150;

fn request(prompt_len: usize) -> NewRequest {
    let mut new = NewRequest::new(vec![7; prompt_len], 20);
    new.request.stop_token_ids = vec![256];
    new
}

/// The line for cached tokens on a client's bill would be made up.
#[test]
fn a_stream_tells_how_much_of_its_prompt_was_there() {
    let limits = DriverLimits { max_waiting_requests: 2, max_waiting_tokens: 100, ..DriverLimits::default() };
    let driver = Arc::new(Driver::new(common::engine_config(), limits).unwrap());
    let mut runner = Runner::new(Arc::clone(&driver), b"hello");
    let streams = [9, 9].map(|prompt_len| driver.submit(request(prompt_len)).unwrap());
    while driver.stats().generated_tokens == 0 {
        runner.step(Duration::ZERO);
    }
    assert_eq!(streams.map(|stream| stream.num_cached_tokens()), [0, 8]);
}

/// Leaves after as many tokens as its number says, or stays to the end; tells whether it stayed.
async fn client(driver: &Arc<Driver>, number: usize) -> bool {
    let mut stream = driver.submit(request(4)).unwrap();
    let patience = (number.is_multiple_of(2)).then_some(number % 13);
    let mut tokens = Vec::new();
    while patience.is_none_or(|patience| tokens.len() < patience) {
        if let Some(end) = poll_fn(|cx| stream.poll(cx, &mut tokens)).await {
            let ids: Vec<u32> = tokens.iter().map(|token| token.id).collect();
            assert_eq!(
                (end, &*ids),
                (End::Stop(Token { id: 256, logprobs: None }), [104, 101, 108, 108, 111].as_slice())
            );
            return true;
        }
    }
    false
}

/// A block that is lost with each impatient client goes unnoticed until, days later, nothing fits
/// any more.
#[test]
fn a_storm_of_impatient_clients_leaves_nothing_behind() {
    let config = EngineConfig { num_blocks: 6, max_steps_in_flight: 2, ..common::engine_config() };
    let limits = DriverLimits {
        max_waiting_requests: NUM_CLIENTS * NUM_ROUNDS,
        max_waiting_tokens: 1 << 20,
        ..DriverLimits::default()
    };
    let driver = Arc::new(Driver::new(config, limits).unwrap());
    let mut runner = Runner::new(Arc::clone(&driver), b"hello");
    let engine_thread =
        thread::spawn(move || while runner.step(Duration::from_secs(10)) != NextStep::Stopped {});
    let clients: Vec<_> = (0..NUM_CLIENTS)
        .map(|client_number| {
            let driver = Arc::clone(&driver);
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                let rounds = (0..NUM_ROUNDS).map(|round| round * NUM_CLIENTS + client_number);
                rounds.filter(|number| runtime.block_on(client(&driver, *number))).count()
            })
        })
        .collect();
    let num_served: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    driver.drain(Duration::from_secs(600));
    engine_thread.join().unwrap();

    assert!(num_served >= NUM_CLIENTS * NUM_ROUNDS / 2, "those who stayed were served: {num_served}");
    let stats = driver.stats();
    assert_eq!((stats.num_running, stats.num_waiting, stats.num_free_blocks), (0, 0, 6));
    let page = driver.render_metrics("toy");
    let counted = page.lines().filter(|line| line.starts_with("streamcore_requests_total"));
    let num_ended: usize =
        counted.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum();
    assert_eq!(num_ended, NUM_CLIENTS * NUM_ROUNDS, "each request has ended once");
    assert_eq!(driver.submit(request(1)).unwrap_err(), streamcore_server::driver::Refusal::ShuttingDown);
}
