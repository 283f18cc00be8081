//! The sockets: one that listens, and a task for each that was accepted.

mod connection;
mod connections;
mod head;
mod own_answers;
mod progress;
mod socket;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod unix;
mod unread_body;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio_rustls::rustls::ServerConfig;

use self::connections::Connections;
use self::transport::Acceptor;
use self::unix::SocketFile;
use crate::ledger::Ledger;

/// Connections that the system queues before they are accepted.
const BACKLOG: i32 = 4096;

/// A port or a path that is taken, before any client is served.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    place: Place,
    tls: Option<Arc<ServerConfig>>,
    root_path: String,
}

/// The address of a listener.
#[derive(Debug)]
enum Place {
    Port(SocketAddr),
    Path(SocketFile),
}

/// Takes a port without listening on it, so that one that is in use is found before the model is
/// loaded.
///
/// # Errors
/// The system's: the port is in use or may not be taken, or the host has no address.
pub fn bind(host: &str, port: u16) -> io::Result<Listener> {
    let mut addresses = (host, port).to_socket_addrs()?;
    let address =
        addresses.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "host has no address"))?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Two sockets that may reuse an address can share it until one listens. So it is first taken
    // without reuse, which also keeps others away from it.
    if let Err(error) = socket.bind(&address.into()) {
        if error.kind() != io::ErrorKind::AddrInUse {
            return Err(error);
        }
        // A restart must not wait until the system forgets the connections of the last run, the
        // only purpose of reuse here.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        // A server started at the same moment must not get the address too.
        socket.set_reuse_address(false)?;
    }
    let address = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(Listener { socket, place: Place::Port(address), tls: None, root_path: String::new() })
}

/// Takes a path for a Unix domain socket. Clients that connect before they are served wait.
///
/// # Errors
/// The system's: a server listens there, the path may not be taken, or something else is there.
pub fn bind_unix(path: &Path) -> io::Result<Listener> {
    let (socket, file) = unix::bind(path, BACKLOG)?;
    Ok(Listener { socket, place: Place::Path(file), tls: None, root_path: String::new() })
}

impl Listener {
    /// Adds TLS, with a chain of certificates and its key from files in PEM format.
    ///
    /// # Errors
    /// A file cannot be read or is invalid.
    pub fn with_tls(self, certfile: &Path, keyfile: &Path) -> io::Result<Self> {
        Ok(Self { tls: Some(tls::read_certificate(certfile, keyfile)?), ..self })
    }

    /// Puts the routes under this path, which a proxy may keep in requests or strip.
    #[must_use]
    pub fn under(self, root_path: String) -> Self {
        Self { root_path, ..self }
    }

    /// Returns the path under which clients find the routes.
    pub(crate) fn root_path(&self) -> &str {
        &self.root_path
    }

    /// Returns the address, with the port that the system chose if 0 was asked for; `None` for a
    /// path.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        match self.place {
            Place::Port(address) => Some(address),
            Place::Path(_) => None,
        }
    }

    /// Returns the base URL for clients on this machine. For a Unix domain socket they also need
    /// its path.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let host = self.address().map_or_else(|| "localhost".to_owned(), |address| address.to_string());
        format!("{scheme}://{host}")
    }

    /// Lets clients connect. Must be called inside a runtime.
    ///
    /// # Errors
    /// The system's, with the address.
    pub(crate) fn listen(self) -> io::Result<Open> {
        let Self { socket, place, tls, root_path: _ } = self;
        socket.set_nonblocking(true)?;
        let (acceptor, file) = match place {
            Place::Port(address) => {
                let in_words = |error: io::Error| {
                    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
                };
                (Acceptor::Tcp(listen_to_port(socket).map_err(in_words)?), None)
            }
            Place::Path(file) => (Acceptor::Unix(UnixListener::from_std(socket.into())?), Some(file)),
        };
        Ok(Open { acceptor, tls, _file: file })
    }
}

fn listen_to_port(socket: Socket) -> io::Result<TcpListener> {
    // Connections inherit it, so that they do not block the next run.
    socket.set_reuse_address(true)?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A listener that clients can connect to.
#[derive(Debug)]
pub(crate) struct Open {
    acceptor: Acceptor,
    tls: Option<Arc<ServerConfig>>,
    /// Deleted with the last connection.
    _file: Option<SocketFile>,
}

/// Accepts connections until `is_closing`, then waits for those that are open to end.
pub(crate) async fn serve(
    listener: Open,
    router: Router,
    ledger: Arc<Ledger>,
    mut is_closing: watch::Receiver<bool>,
) {
    let Open { acceptor, tls, _file } = listener;
    let mut connections = Connections::new(router, tls, ledger, is_closing.clone());
    loop {
        let crowd = || io::Error::other("as many connections are open as may be");
        let has_room = !connections.is_full() || connections.make_room(&crowd()).await;
        tokio::select! {
            accepted = acceptor.accept(), if has_room => match accepted {
                Ok(stream) => connections.open(stream),
                Err(error) if is_of_client(&error) => tracing::debug!(%error, "a client left the queue"),
                Err(error) => {
                    connections.make_room(&error).await;
                }
            },
            Some(()) = connections.ended() => {}
            () = closing(&mut is_closing) => break,
        }
    }
    drop(acceptor);
    while connections.ended().await.is_some() {}
}

/// Returns whether one client cannot be accepted, rather than all for lack of a resource.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Ready once the server closes; a server that is gone closes too.
async fn closing(is_closing: &mut watch::Receiver<bool>) {
    let _ = is_closing.wait_for(|is_closing| *is_closing).await;
}
