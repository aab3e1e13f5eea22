//! Where HTTP clients come in.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::address::BindError;
use crate::tcp;

/// How long to wait after the system could not accept: the process has no descriptor left, say.
/// Shorter comes back sooner; longer logs less while it lasts.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Clients that each listener lets in per turn. More gets through a burst in fewer turns; fewer
/// lets media through sooner. The others wait in the system's queue.
const ACCEPTS_PER_TURN: usize = 16;

/// All HTTP listeners.
#[derive(Debug)]
pub(crate) struct Listeners {
    list: Vec<Listener>,
    /// When to try again after a failure.
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    /// Somebody may be waiting.
    ready: bool,
    /// Clients that may still be let in in this turn.
    left: usize,
}

impl Listeners {
    /// Binds all, or none.
    pub(crate) fn bind(addresses: &[SocketAddr]) -> Result<Self, BindError> {
        let bind = |&address: &SocketAddr| match tcp::listen(address) {
            Ok(socket) => Ok(Listener {
                socket,
                ready: true,
                left: 0,
            }),
            Err(source) => Err(BindError {
                protocol: "HTTP",
                flag: "--http-address",
                address,
                source,
            }),
        };
        let list = addresses.iter().map(bind).collect::<Result<_, _>>()?;
        Ok(Self {
            list,
            retry_at: None,
        })
    }

    pub(crate) fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.list
            .iter()
            .map(|listener| listener.socket.local_addr())
            .collect()
    }

    /// Second handles to the sockets, for a runtime to watch their readiness by.
    pub(crate) fn watch_handles(&self) -> io::Result<Vec<TcpListener>> {
        self.list
            .iter()
            .map(|listener| listener.socket.try_clone())
            .collect()
    }

    pub(crate) fn on_readable(&mut self, index: usize) {
        if let Some(listener) = self.list.get_mut(index) {
            listener.ready = true;
        }
    }

    /// Whether it waits to be told that somebody may be waiting.
    pub(crate) fn wants_readable(&self, index: usize) -> bool {
        self.list.get(index).is_some_and(|listener| !listener.ready)
    }

    /// Whether [`accept`](Self::accept) has somebody to admit, without an event, if there is room.
    pub(crate) fn has_more(&self) -> bool {
        self.retry_at.is_none() && self.list.iter().any(|listener| listener.ready)
    }

    /// When [`accept`](Self::accept) is to be called although no event came.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Begins a turn with its budget anew.
    pub(crate) fn begin_turn(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
        }
        for listener in &mut self.list {
            listener.left = ACCEPTS_PER_TURN;
        }
    }

    /// The next client, within the budget of the turn. The others wait in the system's queue.
    pub(crate) fn accept(&mut self, now: Instant) -> Option<(TcpStream, SocketAddr)> {
        if self.retry_at.is_some() {
            return None;
        }
        for listener in &mut self.list {
            while listener.ready && listener.left > 0 {
                match listener.accept() {
                    Ok(client) => {
                        listener.left -= 1;
                        return Some(client);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        listener.ready = false;
                    }
                    Err(error) if is_of_one_client(&error) => listener.left -= 1,
                    Err(error) => {
                        warn!(%error, "HTTP clients cannot be accepted for now");
                        self.retry_at = Some(now + RETRY_DELAY);
                        return None;
                    }
                }
            }
        }
        None
    }
}

impl Listener {
    fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = self.socket.accept()?;
        stream.set_nonblocking(true)?;
        // A response is one small write: it need not wait for more. macOS refuses where the client has
        // left already, which is no reason to keep the others waiting.
        let _ = stream.set_nodelay(true);
        Ok((stream, peer))
    }
}

/// Whether an error of `accept` tells of one client that left before its turn.
fn is_of_one_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_let_in_per_turn() {
        let mut listeners = Listeners::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let address = listeners.addresses().unwrap()[0];
        let _clients: Vec<_> = (0..40)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let now = Instant::now();
        for expected in [16, 16, 8] {
            assert!(listeners.has_more());
            listeners.begin_turn(now);
            let admitted = std::iter::from_fn(|| listeners.accept(now)).count();
            assert_eq!(admitted, expected);
        }
        assert!(!listeners.has_more());
    }
}
