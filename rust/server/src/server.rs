//! The server for its embedder: start, drain, shut down.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::thread::available_parallelism;
use std::time::Duration;

use axum::Router;
use futures_util::future::OptionFuture;
use streamcore_engine::EngineConfig;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::app::{Access, App, Naming};
use crate::door::{Doorbell, Exchange, RequestHead};
use crate::driver::{Driver, DriverLimits, LOOK_INTERVAL};
use crate::ledger::Ledger;
use crate::listener::{Listener, serve};
use crate::routes::{router, under};
use crate::script::Script;
use crate::text::TextModel;

/// Maximum threads for sockets: they only move bytes, the engine needs the cores.
const MAX_WORKERS: usize = 4;
/// How long a client may take to read the last bytes at shutdown.
const FLUSH_TIME: Duration = Duration::from_secs(5);

/// The settings of a server beside its port and its text model.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Names.
    pub naming: Naming,
    /// Who may ask.
    pub access: Access,
    /// Token ids that the model knows: the rows of its embedding, which need not be the tokenizer's
    /// number.
    pub vocab_size: usize,
    /// The engine's limits.
    pub engine: EngineConfig,
    /// How much may wait.
    pub limits: DriverLimits,
    /// The script that replaces the model; [`crate::script::runner`] must then run the steps.
    pub script: Option<Arc<Script>>,
}

/// A running server. It answers from its own threads; the embedder runs the steps of its
/// [`Driver`].
#[derive(Debug)]
pub struct Server {
    runtime: Runtime,
    driver: Arc<Driver>,
    router: Router,
    sockets: Option<Sockets>,
    /// Each exchange holds a clone, so the receiver ends when all exchanges have.
    exchange: mpsc::Sender<()>,
    exchanges: mpsc::Receiver<()>,
}

/// The first door.
#[derive(Debug)]
struct Sockets {
    /// That of a port.
    address: Option<SocketAddr>,
    is_closing: watch::Sender<bool>,
    connections: JoinHandle<()>,
}

impl Server {
    /// Begins to listen and to answer. Without a listener requests come by [`Server::open`] alone.
    ///
    /// # Errors
    /// The system's error if threads or the port are unavailable; the engine's if its limits are
    /// invalid.
    pub fn start(
        listener: impl Into<Option<Listener>>,
        text: TextModel,
        config: ServerConfig,
    ) -> io::Result<Self> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let listener = listener.into();
        let ServerConfig { naming, mut access, vocab_size, engine, limits, script } = config;
        let address = listener.as_ref().and_then(Listener::address);
        access.is_local = address.is_some_and(|address| address.ip().is_loopback());
        let driver = Arc::new(Driver::new(engine, limits).map_err(invalid)?);
        let num_cores = available_parallelism().map_or(1, std::num::NonZero::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(num_cores.min(MAX_WORKERS))
            .thread_name("streamcore-http")
            .enable_all()
            .build()?;
        let app = App::new(Arc::clone(&driver), text, naming, access, vocab_size, script);
        let indexing = Arc::clone(&app);
        // The first schema would otherwise wait for seconds.
        std::thread::Builder::new()
            .name("streamcore-vocabulary".to_owned())
            .spawn(move || indexing.index_vocabulary())?;
        let router = router(app);
        let sockets = match listener {
            Some(listener) => Some(Sockets::open(listener, &router, driver.ledger(), &runtime)?),
            None => None,
        };
        let (exchange, exchanges) = mpsc::channel(1);
        Ok(Self { runtime, driver, router, sockets, exchange, exchanges })
    }

    /// Returns the address that it listens on, if it has a port.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.sockets.as_ref().and_then(|sockets| sockets.address)
    }

    /// Answers a request that another server has read. The parts of the answer come by `bell` under
    /// `number`.
    #[must_use]
    pub fn open(&self, head: &RequestHead<'_>, bell: &Arc<Doorbell>, number: u64) -> Exchange {
        let (exchange, answered) = Exchange::open(self.router.clone(), head, bell, number);
        let is_open = self.exchange.clone();
        self.runtime.spawn(async move {
            answered.await;
            drop(is_open);
        });
        exchange
    }

    /// Returns the driver, from which the engine thread gets its steps.
    #[must_use]
    pub fn driver(&self) -> &Arc<Driver> {
        &self.driver
    }

    /// Watches the step loop and gives it up when it hangs. The loop must then call its [`Driver`]
    /// whenever it is not computing.
    pub fn watch(&self) {
        self.runtime.spawn(watch(Arc::downgrade(&self.driver)));
    }

    /// Refuses new requests with 503, lets running ones end until the deadline, then ends them.
    /// Routes answer until [`Server::shutdown`], so that a balancer reads from `/ready` that it
    /// should go elsewhere instead of running into a closed port. Returns at once: the driver's
    /// `next_step` reports the end.
    pub fn drain(&self, deadline: Duration) {
        self.driver.drain(deadline);
    }

    /// Ends what is left, waits until the clients have the last bytes, and stops the threads.
    pub fn shutdown(self) {
        let Self { runtime, driver, router: _, sockets, exchange, mut exchanges } = self;
        let connections = sockets.map(|sockets| {
            sockets.is_closing.send_replace(true);
            sockets.connections
        });
        driver.stop();
        drop(exchange);
        let flushed = async {
            OptionFuture::from(connections).await;
            exchanges.recv().await;
        };
        // The timer needs the runtime around it.
        if runtime.block_on(async { timeout(FLUSH_TIME, flushed).await }).is_err() {
            tracing::warn!("some clients did not read their last bytes in time");
        }
        runtime.shutdown_timeout(FLUSH_TIME);
    }
}

impl Sockets {
    fn open(
        listener: Listener,
        router: &Router,
        ledger: &Arc<Ledger>,
        runtime: &Runtime,
    ) -> io::Result<Self> {
        let address = listener.address();
        let router = under(listener.root_path(), router.clone());
        let (is_closing, closing) = watch::channel(false);
        let listener = {
            let _context = runtime.enter();
            listener.listen()?
        };
        let connections = runtime.spawn(serve(listener, router, Arc::clone(ledger), closing));
        Ok(Self { address, is_closing, connections })
    }
}

/// Watches the step loop until it ends or is given up.
async fn watch(driver: Weak<Driver>) {
    let mut looks = interval(LOOK_INTERVAL);
    // A process that was stopped must not make up for missed checks.
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let Some(driver) = driver.upgrade().filter(|driver| !driver.is_stopped()) else { return };
        if let Some(message) = driver.look() {
            tracing::error!("{message}: every request ends");
            // The loop may hang where this waits for it; sockets must be served all the same.
            spawn_blocking(move || driver.fail(&message));
            return;
        }
    }
}
