//! The open connections, and room for one more when the system has none left.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::rustls::ServerConfig;

use super::connection::Connection;
use super::progress::{Progress, Waits};
use super::transport::Transport;
use crate::ledger::Ledger;

/// How long to wait for a free descriptor before another attempt to accept.
const MAX_WAIT: Duration = Duration::from_millis(100);
/// How long a connection has for its first byte while others wait for descriptors.
const GRACE: Duration = Duration::from_secs(1);
/// A shortage ends after this time without another. The log reports only its beginning.
const EPISODE: Duration = Duration::from_secs(60);

/// Maximum open connections, whatever the system allows: each takes some memory.
const MAX_CONNECTIONS: usize = 16 << 10;
/// Descriptors reserved for health probes, for when every other one is busy.
const NUM_SPARE: usize = 2;

/// All open connections, and their progress.
pub(super) struct Connections {
    router: Router,
    tls: Option<Arc<ServerConfig>>,
    ledger: Arc<Ledger>,
    is_closing: watch::Receiver<bool>,
    spare: Vec<File>,
    /// Whether a spare descriptor was released for the next client.
    next_is_probe: bool,
    tasks: JoinSet<()>,
    open: HashMap<Id, Arc<Progress>>,
    /// When a client could last not be accepted.
    last_shortage: Option<Instant>,
}

impl Connections {
    pub(super) fn new(
        router: Router,
        tls: Option<Arc<ServerConfig>>,
        ledger: Arc<Ledger>,
        is_closing: watch::Receiver<bool>,
    ) -> Self {
        let mut connections = Self {
            router,
            tls,
            ledger,
            is_closing,
            spare: Vec::new(),
            next_is_probe: false,
            tasks: JoinSet::new(),
            open: HashMap::new(),
            last_shortage: None,
        };
        connections.keep_spare();
        connections
    }

    /// Takes the spare descriptors, as far as there are any.
    fn keep_spare(&mut self) {
        while self.spare.len() < NUM_SPARE && !self.next_is_probe {
            let Ok(file) = File::open("/dev/null") else { return };
            self.spare.push(file);
        }
    }

    /// Returns whether the maximum is reached, not counting connections with a spare descriptor.
    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= MAX_CONNECTIONS
    }

    pub(super) fn open(&mut self, stream: Transport) {
        let is_for_probe = std::mem::take(&mut self.next_is_probe);
        let progress = Progress::new(Arc::clone(&self.ledger), is_for_probe);
        let connection = Connection {
            stream: Arc::new(stream),
            progress: Arc::clone(&progress),
            router: self.router.clone(),
            is_closing: self.is_closing.clone(),
        };
        let task = self.tasks.spawn(connection.serve(self.tls.clone()));
        self.open.insert(task.id(), progress);
    }

    /// Waits for the end of one; `None` if none is open.
    pub(super) async fn ended(&mut self) -> Option<()> {
        let ended = self.tasks.join_next_with_id().await?;
        self.open.remove(&ended.map_or_else(|error| error.id(), |(id, ())| id));
        self.keep_spare();
        Some(())
    }

    /// Closes the connection that has been idle longest, as its client must expect at any time;
    /// without one that is idle, the one whose request has been coming for longest. If all are
    /// being answered, the next client gets only health probes. Returns whether another can be
    /// accepted.
    pub(super) async fn make_room(&mut self, error: &io::Error) -> bool {
        let now = Instant::now();
        if self.last_shortage.replace(now).is_none_or(|last| now - last > EPISODE) {
            tracing::warn!(%error, open = self.open.len(),
                "a connection could not be accepted: those that wait for their clients are closed for new ones until there is room again");
        }
        let waiting =
            self.open.values().filter_map(|progress| Some((progress.waits_for_client()?, progress)));
        // The request of one that has just come may be on its way.
        let may_go = |(waits, since): (Waits, Instant)| waits != Waits::ForRequest || now - since >= GRACE;
        let waiting = waiting.filter(|(waits, _)| may_go(*waits));
        if let Some((_, oldest)) = waiting.min_by_key(|(waits, _)| *waits) {
            oldest.give_up();
            return matches!(timeout(MAX_WAIT, self.ended()).await, Ok(Some(())));
        }
        self.next_is_probe |= self.spare.pop().is_some();
        if !self.next_is_probe {
            sleep(MAX_WAIT).await;
        }
        self.next_is_probe
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::future::pending;

    use axum::extract::Request;
    use axum::middleware::{Next, from_fn};
    use axum::response::{IntoResponse, Response};
    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Notify;

    use super::*;
    use crate::driver::DriverLimits;
    use crate::middleware::take_fault;

    /// As the real routes do.
    async fn refuse_faults(mut request: Request, next: Next) -> Response {
        match take_fault(&mut request) {
            Some(error) => error.into_response(),
            None => next.run(request).await,
        }
    }

    /// A thousand silent sockets cost their owner nothing: neither later clients nor running
    /// answers may pay for them.
    #[tokio::test(start_paused = true)]
    async fn the_connection_that_has_been_idle_longest_makes_room() {
        let asked = Arc::new(Notify::new());
        let is_asked = Arc::clone(&asked);
        let slow = move || async move {
            is_asked.notify_one();
            pending::<()>().await;
        };
        let router = Router::new().route("/slow", get(slow)).route("/health", get(async || "well"));
        let router = router.layer(from_fn(refuse_faults));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_sender, is_closing) = watch::channel(false);
        let ledger = Ledger::new(DriverLimits::default());
        let mut connections = Connections::new(router, None, ledger, is_closing);
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            connections.open(Transport::Tcp(listener.accept().await.unwrap().0));
            sleep(Duration::from_secs(1)).await;
        }
        clients[0].write_all(b"GET /slow HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
        asked.notified().await;
        let error = io::Error::other("no descriptors are left");
        for (idle, num_left) in [(1, 2), (2, 1)] {
            assert!(connections.make_room(&error).await);
            assert_eq!(connections.open.len(), num_left);
            assert_eq!(clients[idle].read(&mut [0]).await.unwrap(), 0, "closed without a word");
        }
        let questions = [("/slow", "HTTP/1.1 503 "), ("/health", "HTTP/1.1 200 OK\r\n")];
        for (path, status) in questions {
            assert!(connections.make_room(&error).await);
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            connections.open(Transport::Tcp(listener.accept().await.unwrap().0));
            assert_eq!(connections.open.len(), 2, "what is being answered stays");
            assert_eq!(connections.spare.len(), NUM_SPARE - 1);
            client.write_all(format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(status) && answer.contains("connection: close\r\n"), "{answer}");
            connections.ended().await.unwrap();
            assert_eq!(connections.spare.len(), NUM_SPARE, "it is kept again");
        }
    }

    /// One byte of each of a thousand requests would keep every other client out for as long as a
    /// head may take.
    #[tokio::test(start_paused = true)]
    async fn where_none_is_idle_the_request_that_has_been_coming_for_longest_makes_room() {
        let router = Router::new().route("/body", post(async |body: String| body));
        let router = router.layer(from_fn(refuse_faults));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_sender, is_closing) = watch::channel(false);
        let ledger = Ledger::new(DriverLimits::default());
        let mut connections = Connections::new(router, None, ledger, is_closing);
        let mut clients = Vec::new();
        let body = "POST /body HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\r\n1";
        for sent in ["G", body, "GET /"] {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            connections.open(Transport::Tcp(listener.accept().await.unwrap().0));
            client.write_all(sent.as_bytes()).await.unwrap();
            clients.push(client);
            sleep(Duration::from_secs(1)).await;
        }
        for client in &mut clients {
            assert!(connections.make_room(&io::Error::other("no descriptors are left")).await);
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 503 ") && answer.contains("too_many_connections"),
                "{answer}"
            );
        }
    }
}
