//! The sockets: one that listens, and a task for each that was accepted.

mod shared_socket;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;

use self::shared_socket::SharedSocket;

/// Clients that the system keeps while none is accepted.
const BACKLOG: i32 = 4096;
/// How long a connection may be silent between two requests, and how long the head of a request may take.
const MAX_IDLE: Duration = Duration::from_secs(120);
/// Silence after which the system asks whether the client's machine is still there.
const PROBE_AFTER: Duration = Duration::from_secs(60);
/// Most bytes of a request's head, and of what waits for a slow reader.
const MAX_BUFFER_BYTES: usize = 64 << 10;
/// Pause after a failure of `accept`: no descriptors are left, and clients that leave give some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A port that is ours, before anybody can connect to it.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: SocketAddr,
}

/// Takes a port without listening on it, so that one that is in use is found before the model is loaded.
///
/// # Errors
/// The system's: the port is in use or may not be taken, or the host has no address.
pub fn bind(host: &str, port: u16) -> io::Result<Listener> {
    let mut addresses = (host, port).to_socket_addrs()?;
    let address =
        addresses.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "host has no address"))?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Two sockets that may reuse an address can both have it until one of them listens. So it is taken without that first, which
    // also keeps others away from it.
    if let Err(error) = socket.bind(&address.into()) {
        if error.kind() != io::ErrorKind::AddrInUse {
            return Err(error);
        }
        // A restart must not wait for the connections of the last run to be forgotten: that is all that reuse forgives.
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
    }
    let address = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(Listener { socket, address })
}

impl Listener {
    /// The address, with the port that the system chose if 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets clients connect. Must be called inside a runtime.
    ///
    /// # Errors
    /// The system's, with the address.
    pub(crate) fn listen(self) -> io::Result<TcpListener> {
        let address = self.address;
        self.try_listen()
            .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
    }

    fn try_listen(self) -> io::Result<TcpListener> {
        // Connections inherit it, and are then no obstacle to the next run.
        self.socket.set_reuse_address(true)?;
        self.socket.listen(BACKLOG)?;
        self.socket.set_nonblocking(true)?;
        TcpListener::from_std(self.socket.into())
    }
}

/// Accepts connections until `is_closing`, then waits for those that are open to end.
pub(crate) async fn serve(listener: TcpListener, router: Router, mut is_closing: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(connection(socket, router.clone(), is_closing.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = closing(&mut is_closing) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

fn set_options(socket: &TcpStream) -> io::Result<()> {
    // Tokens are small: without this each waits for the acknowledgement of the one before.
    socket.set_nodelay(true)?;
    // A client whose machine is gone says nothing; one that waits for a whole answer would hold its blocks to the end.
    SockRef::from(socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(PROBE_AFTER))
}

/// Serves one connection. When the client leaves, the future of its request is dropped, and with it the request.
async fn connection(socket: TcpStream, router: Router, mut is_closing: watch::Receiver<bool>) {
    if let Err(error) = set_options(&socket) {
        tracing::debug!(%error, "a socket refused its options");
    }
    let socket = SharedSocket::new(socket);
    let service = router.map_request(|request: Request<Incoming>| request.map(Body::new));
    let service = TowerToHyperService::new(service.map_err(|never: Infallible| match never {}));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(MAX_IDLE)
        .max_buf_size(MAX_BUFFER_BYTES)
        .serve_connection(TokioIo::new(socket.clone()), service);
    tokio::pin!(connection);
    let served = async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = closing(&mut is_closing) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    // Hyper itself does not look for the client while it holds bytes that came after the request, be it the line break that some
    // clients send behind a body.
    tokio::select! {
        ended = served => if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        },
        () = socket.peer_closed() => tracing::debug!("a client has left before its answer"),
    }
}

/// Ready once the server closes; a server that is gone closes too.
async fn closing(is_closing: &mut watch::Receiver<bool>) {
    let _ = is_closing.wait_for(|is_closing| *is_closing).await;
}
