//! The application state that every request shares.

use std::sync::{Arc, Once, OnceLock};
use std::thread::available_parallelism;

use streamcore_grammar::GrammarCache;
use tokio::task::spawn_blocking;

use crate::driver::Driver;
use crate::error::ApiError;
use crate::ledger::Pool;
use crate::metrics::Account;
pub use crate::naming::Naming;
use crate::script::Script;
use crate::stored::ResponseStore;
use crate::text::{Bound, ChatTemplate, TextModel, Wanted, bounded};
use crate::turns::Turns;

/// Bodies up to this are handled inline; longer ones would delay the other streams of the thread.
const INLINE_BYTES: usize = 4 << 10;
/// Bodies up to this are prepared in about a tenth of a second, and never wait for longer ones.
pub(crate) const SHORT_BYTES: usize = 64 << 10;

const INLINE: Bound = Bound { max_bytes: INLINE_BYTES, is_brief: true };
const SHORT: Bound = Bound { max_bytes: SHORT_BYTES, is_brief: false };

/// Access to the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Keys that open the API; it is open to all if there is none.
    pub api_keys: Vec<String>,
    /// Numbers, from 1, of the keys whose `priority` counts against all other keys.
    pub priority_keys: Vec<u32>,
    /// Origins whose pages may read answers in a browser; `*` stands for all.
    pub allowed_origins: Vec<String>,
    /// Whether the server listens to its own machine only.
    pub is_local: bool,
}

/// The application behind the routes.
#[derive(Debug)]
pub struct App {
    /// The driver that takes requests.
    pub driver: Arc<Driver>,
    /// Tokenizer, template, defaults.
    pub text: TextModel,
    /// Names.
    pub naming: Naming,
    /// Access to the server.
    pub access: Access,
    /// Token ids below this are known to both the tokenizer and the model. A tokenizer may have
    /// more: a padding token is often added without a row in the model's embedding, and its id
    /// would be read from outside of it.
    pub vocab_size: usize,
    /// Responses that are kept for their clients, if any are.
    pub responses: Option<Arc<ResponseStore>>,
    /// The script that replaces the model, if there is one.
    pub script: Option<Arc<Script>>,
    /// The compiler of grammars, or why there is none; set when the vocabulary is indexed.
    pub(crate) grammars: OnceLock<Result<GrammarCache, String>>,
    /// Guards the one warning about tools left out of prompts.
    unknown_tools: Once,
    /// Turns of short bodies and answers: as many at a time as there are cores.
    short: Arc<Turns>,
    /// Turns of long bodies. The longest take gigabytes while they are tokenised.
    long: Arc<Turns>,
}

impl App {
    /// Creates an application for a driver and a model of `vocab_size` tokens.
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
        let short = Turns::new(num_cores.min(4));
        let long = Turns::new(num_cores.min(4).div_ceil(2));
        driver.ledger().share_among(access.api_keys.len());
        let keeps_responses = driver.limits().max_stored_responses > 0;
        let responses = keeps_responses.then(|| ResponseStore::new(Arc::clone(driver.ledger())));
        let (grammars, unknown_tools) = (OnceLock::new(), Once::new());
        Arc::new(Self {
            driver,
            text,
            naming,
            access,
            vocab_size,
            responses,
            script,
            grammars,
            unknown_tools,
            short,
            long,
        })
    }

    /// Returns the first name of the model.
    #[must_use]
    pub fn model_name(&self) -> &str {
        self.naming.served_model_names.first().map_or("", String::as_str)
    }

    /// Returns the served name for a requested one: the first if the client names none.
    ///
    /// # Errors
    /// 404.
    pub fn served_name<'a>(&'a self, asked: &'a str) -> Result<&'a str, ApiError> {
        if asked.is_empty() {
            return Ok(self.model_name());
        }
        self.naming.find(asked).ok_or_else(|| ApiError::ModelNotFound(self.naming.miss(asked)))
    }

    /// Logs once that the template cannot describe tools to the model.
    pub fn tell_of_unknown_tools(&self) {
        // A script needs no tools.
        let is_model = self.script.is_none();
        if is_model && !self.text.chat_template.as_ref().is_some_and(ChatTemplate::knows_tools) {
            self.unknown_tools.call_once(|| {
                tracing::warn!(
                    "the chat template knows no tools: those of requests are left out of their prompts"
                );
            });
        }
    }

    /// Makes something of a body: here if it is very short and takes some milliseconds at most,
    /// else away from the threads that serve sockets, when it is its turn. Work that turns out to
    /// read more than its body begins again among what is longer.
    ///
    /// # Errors
    /// 429, if too much waits for its turn; those of the work.
    pub async fn prepare<T, F>(self: &Arc<Self>, num_bytes: usize, mut work: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: Fn(&Self) -> Result<T, ApiError> + Send + 'static,
    {
        if num_bytes <= INLINE_BYTES {
            let (done, was_cut) = bounded(INLINE, || work(self));
            if !was_cut {
                return done;
            }
        }
        if num_bytes <= SHORT_BYTES {
            let short_work = move |app: &Self| {
                let (done, was_cut) = bounded(SHORT, || work(app));
                Ok((done, was_cut, work))
            };
            let (done, was_cut, uncut) = self.prepare_away(num_bytes, short_work).await?;
            if !was_cut {
                return done;
            }
            work = uncut;
        }
        self.prepare_away(num_bytes.max(SHORT_BYTES + 1), work).await
    }

    /// Runs work on the blocking pool in turn, however short the body is.
    ///
    /// # Errors
    /// Those of [`App::prepare`].
    pub async fn prepare_away<T, F>(self: &Arc<Self>, num_bytes: usize, work: F) -> Result<T, ApiError>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    {
        let place = self.driver.charge(Pool::Preparations, 1)?;
        let turns = if num_bytes <= SHORT_BYTES { &self.short } else { &self.long };
        let app = Arc::clone(self);
        let work = move || {
            let _place = place;
            work(&app)
        };
        run_away(turns, work).await
    }

    /// Serialises an answer: inline if short, otherwise on the blocking pool, never queued behind
    /// long prompts.
    pub async fn write<T, F>(&self, num_bytes: usize, work: F) -> T
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        if num_bytes <= INLINE_BYTES { work() } else { run_away(&self.short, work).await }
    }
}

/// Runs work on a thread where it may block. After its client left it runs on to its next check of
/// whether it is wanted, so the turn belongs to the work and not to the client's future. Work not
/// yet begun is dropped.
async fn run_away<T: Send + 'static>(turns: &Arc<Turns>, work: impl FnOnce() -> T + Send + 'static) -> T {
    let turn = turns.take(Account::current().key()).await;
    let wanted = Wanted::default();
    let in_work = wanted.clone();
    let running = spawn_blocking(move || {
        let _turn = turn;
        in_work.scope(work)
    });
    let _until_here = wanted.end_on_drop();
    running.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::pin::{Pin, pin};
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::sync::mpsc;
    use std::task::{Context, Waker};

    use axum::response::IntoResponse;
    use streamcore_engine::EngineConfig;

    use super::*;
    use crate::driver::DriverLimits;
    use crate::turns::Turn;

    fn app(limits: DriverLimits) -> Arc<App> {
        app_for(Access::default(), limits)
    }

    /// Creates an app of the demo model without a runner.
    pub(crate) fn app_for(access: Access, limits: DriverLimits) -> Arc<App> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../python/streamcore/demo_model");
        let text = TextModel::load(std::path::Path::new(folder)).unwrap();
        let config = EngineConfig {
            block_size: 4,
            num_blocks: 4,
            max_num_batched_tokens: 8,
            max_num_seqs: 2,
            max_model_len: 16,
            max_steps_in_flight: 1,
            enable_prefix_caching: false,
            capture_sizes: vec![],
            target_itl: None,
            min_prefill_share: 0,
            num_mask_words: 0,
        };
        let driver = Arc::new(Driver::new(config, limits).unwrap());
        let naming = Naming::default();
        App::new(driver, text, naming, access, 8, None)
    }

    fn is_pending(future: Pin<&mut impl Future>) -> bool {
        future.poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// A chat would wait for another client's megabytes, and those of clients that have left would
    /// be tokenised in vain.
    #[tokio::test]
    async fn long_bodies_wait_for_each_other_and_are_seen_to() {
        let app = app(DriverLimits::default());
        let busy = take_all(&app.long).await;
        let has_begun = Arc::new(AtomicBool::new(false));
        let begins = Arc::clone(&has_begun);
        let mut long = Box::pin(app.prepare(SHORT_BYTES + 1, move |_| {
            begins.store(true, Relaxed);
            Ok(())
        }));
        assert!(is_pending(long.as_mut()));
        assert_eq!(app.driver.stats().num_waiting, 1, "a server that prepares prompts is not idle");
        assert_eq!(app.prepare(SHORT_BYTES, |_| Ok(7)).await, Ok(7));
        assert_eq!(app.write(usize::MAX, || 7).await, 7);
        drop(long);
        drop(busy);
        assert_eq!(app.prepare(SHORT_BYTES + 1, |_| Ok(7)).await, Ok(7));
        assert!(!has_begun.load(Relaxed), "its client had left before it was its turn");
        assert_eq!(app.driver.stats().num_waiting, 0);
    }

    async fn take_all(turns: &Arc<Turns>) -> Vec<Turn> {
        let mut taken = Vec::new();
        for _ in 0..turns.num_free() {
            taken.push(turns.take(0).await);
        }
        taken
    }

    /// Requests that wait to be tokenised would fill the memory while their clients wait in
    /// silence.
    #[tokio::test]
    async fn what_waits_to_be_prepared_is_bounded() {
        let limits = DriverLimits { max_waiting_requests: 2, ..DriverLimits::default() };
        let app = app(limits);
        let _busy = take_all(&app.long).await;
        let refusal = async |num_bytes| {
            let response = app.prepare(num_bytes, |_| Ok(())).await.unwrap_err().into_response();
            (response.status().as_u16(), response.headers().contains_key("retry-after"))
        };
        let mut first = Box::pin(app.prepare(40 << 20, |_| Ok(())));
        let mut second = Box::pin(app.prepare(SHORT_BYTES + 1, |_| Ok(())));
        assert!(is_pending(first.as_mut()) && is_pending(second.as_mut()));
        assert_eq!(refusal(SHORT_BYTES + 1).await, (429, true), "three requests are too many");
        let page = app.driver.render_metrics("toy");
        assert!(page.contains("streamcore_refusals_total{reason=\"queue_requests\"} 1"), "{page}");
        drop((first, second));
        assert_eq!(app.driver.stats().num_waiting, 0);
    }

    /// Clients that send long bodies and hang up at once could otherwise start one thread each,
    /// hundreds of them.
    #[tokio::test]
    async fn work_whose_client_has_left_still_counts() {
        let turns = Turns::new(1);
        let (finish, finished) = mpsc::channel::<()>();
        {
            let work = move || finished.recv().unwrap();
            let mut abandoned = pin!(run_away(&turns, work));
            assert!(abandoned.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(turns.num_free(), 0, "the work still runs");
        finish.send(()).unwrap();
        assert_eq!(run_away(&turns, || 7).await, 7, "its end makes room");
    }
}
