//! What every request can see.

use std::sync::Arc;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::driver::Driver;
use crate::error::ApiError;
use crate::text::TextModel;

/// Bodies up to this are prepared where they arrive; longer ones would keep other streams of that thread waiting.
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

/// The application behind the routes.
#[derive(Debug)]
pub struct App {
    /// Where requests go.
    pub driver: Arc<Driver>,
    /// Tokenizer, template, defaults.
    pub text: TextModel,
    /// Names.
    pub naming: Naming,
    /// Keys that open the API; it is open to all if there is none.
    pub api_keys: Vec<String>,
    /// Long bodies that are prepared at the same time: no more than there are cores.
    preparing: Semaphore,
}

impl App {
    /// An application around a driver.
    #[must_use]
    pub fn new(driver: Arc<Driver>, text: TextModel, naming: Naming, api_keys: Vec<String>) -> Arc<Self> {
        let num_cores = available_parallelism().map_or(1, std::num::NonZero::get);
        Arc::new(Self { driver, text, naming, api_keys, preparing: Semaphore::new(num_cores.min(4)) })
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
    pub async fn prepare<T, F>(self: &Arc<Self>, num_bytes: usize, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> T + Send + 'static,
    {
        if num_bytes <= INLINE_BYTES {
            return work(self);
        }
        let _permit = self.preparing.acquire().await.expect("the semaphore is never closed");
        let app = Arc::clone(self);
        spawn_blocking(move || work(&app))
            .await
            .unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }
}
