//! A place for a body whose prompts are being made.

use std::sync::Arc;

use super::{Driver, lock};

/// Counts as a request that waits until it is dropped.
#[derive(Debug)]
pub struct Preparing {
    driver: Arc<Driver>,
    num_bytes: usize,
}

impl Preparing {
    pub(super) fn new(driver: Arc<Driver>, num_bytes: usize) -> Self {
        Self { driver, num_bytes }
    }
}

impl Drop for Preparing {
    fn drop(&mut self) {
        lock(&self.driver.inbox).end_preparation(self.num_bytes);
    }
}
