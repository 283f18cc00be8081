//! What every request can see.

use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::driver::Driver;
use crate::error::ApiError;
use crate::script::Script;
use crate::text::TextModel;

/// Bodies up to this are read and made where they arrive; longer ones would keep other streams of that thread waiting.
const INLINE_BYTES: usize = 4 << 10;

/// How the server calls itself and its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    /// Names under which the model can be asked for; the first one is in the answers.
    pub served_model_names: Vec<String>,
    /// The version of the server.
    pub version: String,
    /// When the model was loaded, in seconds since 1970.
    pub created: u64,
}

/// Who may ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Keys that open the API; it is open to all if there is none.
    pub api_keys: Vec<String>,
    /// Origins whose pages may read answers in a browser; `*` stands for all.
    pub allowed_origins: Vec<String>,
    /// The server listens to its own machine alone.
    pub is_local: bool,
}

/// The application behind the routes.
#[derive(Debug)]
pub struct App {
    /// Where requests go.
    pub driver: Arc<Driver>,
    /// Tokenizer, template, defaults.
    pub text: TextModel,
    /// Names.
    pub naming: Naming,
    /// Who may ask.
    pub access: Access,
    /// Token ids below this are known to both the tokenizer and the model. A tokenizer may have more: a padding token is often
    /// added without a row in the model's embedding, and its id would be read from outside of it.
    pub vocab_size: usize,
    /// What answers in the place of a model, if anything does.
    pub script: Option<Arc<Script>>,
    /// Long bodies that are read or made at the same time: no more than there are cores.
    working: Arc<Semaphore>,
}

impl App {
    /// An application around a driver and a model of `vocab_size` tokens.
    #[must_use]
    pub fn new(
        driver: Arc<Driver>,
        text: TextModel,
        naming: Naming,
        access: Access,
        vocab_size: usize,
        script: Option<Arc<Script>>,
    ) -> Arc<Self> {
        let vocab_size = vocab_size.min(text.tokenizer.vocab_size());
        let num_cores = available_parallelism().map_or(1, std::num::NonZero::get);
        let working = Arc::new(Semaphore::new(num_cores.min(4)));
        Arc::new(Self { driver, text, naming, access, vocab_size, script, working })
    }

    /// The name of the model in answers.
    #[must_use]
    pub fn model_name(&self) -> &str {
        self.naming.served_model_names.first().map_or("", String::as_str)
    }

    /// Checks that this model is served.
    ///
    /// # Errors
    /// 404.
    pub fn check_model(&self, name: &str) -> Result<(), ApiError> {
        let is_served = self.naming.served_model_names.iter().any(|served| served == name);
        if is_served { Ok(()) } else { Err(ApiError::ModelNotFound(name.to_owned())) }
    }

    /// Runs work whose length depends on the client: here if it is short, else away from the threads that serve sockets.
    pub async fn run<T, F>(self: &Arc<Self>, num_bytes: usize, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> T + Send + 'static,
    {
        if num_bytes <= INLINE_BYTES {
            return work(self);
        }
        let app = Arc::clone(self);
        run_away(Arc::clone(&self.working), move || work(&app)).await
    }
}

/// Runs work on a thread where it may block. It goes on when its client leaves, so the permit belongs to it and not to the
/// client's future.
async fn run_away<T: Send + 'static>(
    permits: Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let permit = permits.acquire_owned().await.expect("the semaphore is never closed");
    let running = spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    running.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::pin::pin;
    use std::sync::mpsc;
    use std::task::{Context, Waker};

    use super::*;

    /// Clients that send long bodies and hang up at once could otherwise start one thread each, hundreds of them.
    #[tokio::test]
    async fn work_whose_client_has_left_still_counts() {
        let permits = Arc::new(Semaphore::new(1));
        let (finish, finished) = mpsc::channel::<()>();
        {
            let work = move || finished.recv().unwrap();
            let mut abandoned = pin!(run_away(Arc::clone(&permits), work));
            assert!(abandoned.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(permits.available_permits(), 0, "the work still runs");
        finish.send(()).unwrap();
        assert_eq!(run_away(permits, || 7).await, 7, "its end makes room");
    }
}
