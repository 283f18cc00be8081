//! Checks that are run one after the other, with a line for each.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::api::Api;

/// A client without a timeout of its own waits for ever where a server says nothing.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Checks {
    num_failed: usize,
}

impl Checks {
    /// Runs a check, whose sentence says what would break in the world.
    pub async fn run(&mut self, api: Api, sentence: &str, check: impl Future<Output = Result<()>>) {
        let late = || anyhow!("not at its end after {LIMIT:?}");
        match tokio::time::timeout(LIMIT, check).await.map_err(|_| late()).flatten() {
            Ok(()) => println!("ok    {api:?}: {sentence}"),
            Err(error) => {
                self.num_failed += 1;
                println!("FAIL  {api:?}: {sentence}\n{error:?}");
            }
        }
    }

    /// The status of the program: 1 if a check failed.
    pub fn status(&self) -> ExitCode {
        ExitCode::from(u8::from(self.num_failed > 0))
    }
}
