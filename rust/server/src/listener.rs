//! The sockets: one that listens, and a task for each that was accepted.

mod connection;
mod connections;
mod head;
mod own_answers;
mod progress;
mod socket;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

use axum::Router;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::connections::Connections;

/// Clients that the system keeps while none is accepted.
const BACKLOG: i32 = 4096;

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
        // Whoever is started at the same moment must not have it, too.
        socket.set_reuse_address(false)?;
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
    let mut connections = Connections::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => connections.open(socket, router.clone(), is_closing.clone()),
                Err(error) if is_of_client(&error) => tracing::debug!(%error, "a client left the queue"),
                Err(error) => connections.make_room(&error).await,
            },
            Some(()) = connections.ended() => {}
            () = closing(&mut is_closing) => break,
        }
    }
    drop(listener);
    while connections.ended().await.is_some() {}
}

/// Whether it is one client that cannot be accepted, and not all of them for want of something.
fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Ready once the server closes; a server that is gone closes too.
async fn closing(is_closing: &mut watch::Receiver<bool>) {
    let _ = is_closing.wait_for(|is_closing| *is_closing).await;
}
