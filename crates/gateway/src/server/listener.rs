//! Accepts connections, up to their limit.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::yield_now;

use super::connection::Connection;
use super::shared::Server;

/// Connections that the system keeps until they are accepted. If there are more, it discards their
/// first packet, and the client waits for a second.
const BACKLOG: u32 = 4096;
/// Connections that are accepted before others are served.
const ACCEPTED_IN_TURN: u32 = 16;
/// Delay after the system could not provide a socket.
const NO_SOCKET_DELAY: Duration = Duration::from_millis(100);

/// Listens on an address. Needs a runtime. The caller serves it with [`accept`].
///
/// # Errors
/// If the address cannot be bound.
pub(crate) fn bind(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    // A restart must not wait for connections of the former process. On Windows, it would let
    // another process take the address.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}

/// Accepts connections until the server stops. Closes those above the limit at once.
pub(crate) async fn accept(listener: TcpListener, server: Arc<Server>, mut stop: watch::Receiver<bool>) {
    for accepted_in_turn in (0..ACCEPTED_IN_TURN).cycle() {
        if accepted_in_turn == 0 {
            yield_now().await;
        }
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => serve(&server, stream, peer, stop.clone()),
            // The client disconnected before it was accepted.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                server.log.accept_failed(&error);
                tokio::time::sleep(NO_SOCKET_DELAY).await;
            }
        }
    }
}

fn serve(server: &Arc<Server>, stream: TcpStream, peer: SocketAddr, stop: watch::Receiver<bool>) {
    let limit = server.max_connections();
    let Some(open) = server.counters.open_connection(limit) else {
        return server.log.too_many_connections(limit);
    };
    let connection = Connection::new(Arc::clone(server), peer.ip().to_canonical(), stop);
    tokio::spawn(async move {
        connection.run(stream).await;
        drop(open);
    });
}
