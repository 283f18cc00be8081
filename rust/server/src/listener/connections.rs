//! The open connections, and room for one more when the system has none left.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::rustls::ServerConfig;

use super::connection::Connection;
use super::progress::Progress;
use super::transport::Transport;

/// How long is waited for a descriptor to come back before a client is accepted again.
const MAX_WAIT: Duration = Duration::from_millis(100);
/// One shortage ends when there was none for so long. Its beginning is all that the log tells of it.
const EPISODE: Duration = Duration::from_secs(60);

/// All connections that are open, and how far each is.
pub(super) struct Connections {
    router: Router,
    tls: Option<Arc<ServerConfig>>,
    is_closing: watch::Receiver<bool>,
    tasks: JoinSet<()>,
    open: HashMap<Id, Arc<Progress>>,
    /// When a client could last not be accepted.
    last_shortage: Option<Instant>,
}

impl Connections {
    pub(super) fn new(
        router: Router,
        tls: Option<Arc<ServerConfig>>,
        is_closing: watch::Receiver<bool>,
    ) -> Self {
        Self { router, tls, is_closing, tasks: JoinSet::new(), open: HashMap::new(), last_shortage: None }
    }

    pub(super) fn open(&mut self, stream: Transport) {
        let progress = Progress::new();
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
        Some(())
    }

    /// Closes the connection that has been idle longest, as its client must expect at any time. Without one that is idle, those that
    /// are not give their descriptors back.
    pub(super) async fn make_room(&mut self, error: &io::Error) {
        let now = Instant::now();
        if self.last_shortage.replace(now).is_none_or(|last| now - last > EPISODE) {
            tracing::warn!(%error, open = self.open.len(),
                "a connection could not be accepted: idle ones are closed for new ones until there is room again");
        }
        let idle = self.open.values().filter_map(|progress| Some((progress.idle_since()?, progress)));
        if let Some((_, oldest)) = idle.min_by_key(|(since, _)| *since) {
            oldest.close_if_idle();
            let _ = timeout(MAX_WAIT, self.ended()).await;
        } else {
            sleep(MAX_WAIT).await;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::future::pending;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Notify;

    use super::*;

    /// A thousand silent sockets cost their owner nothing: neither the clients that come after them nor the answers that are being
    /// made may pay for it.
    #[tokio::test(start_paused = true)]
    async fn the_connection_that_has_been_idle_longest_makes_room() {
        let asked = Arc::new(Notify::new());
        let is_asked = Arc::clone(&asked);
        let slow = move || async move {
            is_asked.notify_one();
            pending::<()>().await;
        };
        let router = Router::new().route("/slow", get(slow));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (_sender, is_closing) = watch::channel(false);
        let (mut connections, mut clients) = (Connections::new(router, None, is_closing), Vec::new());
        for _ in 0..3 {
            clients.push(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
            connections.open(Transport::Tcp(listener.accept().await.unwrap().0));
            sleep(Duration::from_secs(1)).await;
        }
        clients[0].write_all(b"GET /slow HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
        asked.notified().await;
        let error = io::Error::other("no descriptors are left");
        for (idle, num_left) in [(1, 2), (2, 1)] {
            connections.make_room(&error).await;
            assert_eq!(connections.open.len(), num_left);
            assert_eq!(clients[idle].read(&mut [0]).await.unwrap(), 0, "closed without a word");
        }
        connections.make_room(&error).await;
        assert_eq!(connections.open.len(), 1, "what is being answered stays");
    }
}
