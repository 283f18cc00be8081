//! Tests of the driver that hold for any HTTP side.
#![allow(clippy::unwrap_used)]
use std::task::{Context, Poll, Waker};
use std::thread;

use streamcore_engine::OwnedStepBuffers;

use super::*;

fn driver() -> Arc<Driver> {
    let config = EngineConfig {
        block_size: 4,
        num_blocks: 4,
        max_num_batched_tokens: 4,
        max_num_seqs: 1,
        max_model_len: 16,
        max_steps_in_flight: 1,
        enable_prefix_caching: true,
        capture_sizes: vec![],
        target_itl: None,
        min_prefill_share: 0,
        num_mask_words: 0,
    };
    let limits = DriverLimits { max_waiting_requests: 2, max_waiting_tokens: 16, ..DriverLimits::default() };
    Arc::new(Driver::new(config, limits).unwrap())
}

/// "Drain for as long as it takes" must not panic in the thread that shuts the server down.
#[test]
fn the_longest_deadline_is_a_deadline() {
    let driver = driver();
    driver.drain(Duration::MAX);
    assert_eq!(driver.health(), Health::Draining);
    let mut buffers = OwnedStepBuffers::new(driver.config());
    assert_eq!(driver.next_step(&mut buffers.borrow(), Duration::MAX), NextStep::Stopped);
}

/// A panic in the engine thread must end as an error at every client, not as a stream that hangs
/// behind a poisoned lock.
#[test]
fn a_panic_of_the_engine_thread_still_ends_every_request() {
    let driver = driver();
    let mut stream = driver.submit(NewRequest::new(vec![1], 1)).unwrap();
    let engine_thread = thread::spawn({
        let driver = Arc::clone(&driver);
        move || {
            let _core = lock(&driver.core);
            panic!("this panic is part of a test");
        }
    });
    assert!(engine_thread.join().is_err());

    driver.fail("the engine panicked");

    let end = stream.poll(&mut Context::from_waker(Waker::noop()), &mut Vec::new());
    let error = EndError::Runner("the engine panicked".to_owned());
    assert_eq!(end, Poll::Ready(Some(End::Failed(error))));
    assert_eq!(driver.health(), Health::Failed("the engine panicked".to_owned()));
}

/// A client that has given up would take the place of one that still waits.
#[test]
fn a_request_whose_client_waits_no_longer_ends_without_a_step() {
    let driver = driver();
    let mut impatient =
        driver.submit(NewRequest { patience: Some(Duration::ZERO), ..NewRequest::new(vec![1], 1) }).unwrap();
    let _patient =
        driver.submit(NewRequest { patience: Some(Duration::MAX), ..NewRequest::new(vec![1], 1) }).unwrap();
    let mut buffers = OwnedStepBuffers::new(driver.config());
    let NextStep::Plan(plan) = driver.next_step(&mut buffers.borrow(), Duration::ZERO) else {
        panic!("no plan")
    };
    assert_eq!(plan.num_seqs, 1);
    let end = impatient.poll(&mut Context::from_waker(Waker::noop()), &mut Vec::new());
    assert!(matches!(end, Poll::Ready(Some(End::Failed(EndError::Deadline { .. })))), "{end:?}");
    assert!(driver.render_metrics("m").contains("finish_reason=\"deadline\"} 1\n"));
}
