//! Where HTTP clients come in.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kvill_host::address::BindError;
use mio::net::TcpListener;
use mio::{Interest, Registry};
use tracing::{debug, warn};

use crate::connections::Connections;
use crate::token::Source;

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
}

impl Listeners {
    /// Binds all, or none.
    pub(crate) fn bind(addresses: &[SocketAddr]) -> Result<Self, BindError> {
        let bind = |&address: &SocketAddr| match kvill_host::tcp::listen(address) {
            Ok(socket) => Ok(Listener {
                socket: TcpListener::from_std(socket),
                ready: true,
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

    pub(crate) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        for (index, listener) in self.list.iter_mut().enumerate() {
            registry.register(
                &mut listener.socket,
                Source::Listener(index).into(),
                Interest::READABLE,
            )?;
        }
        Ok(())
    }

    pub(crate) fn on_event(&mut self, index: usize) {
        if let Some(listener) = self.list.get_mut(index) {
            listener.ready = true;
        }
    }

    /// Whether [`accept`](Self::accept) has somebody to admit, without an event.
    pub(crate) fn has_more(&self, connections: &Connections) -> bool {
        self.retry_at.is_none()
            && self.list.iter().any(|listener| listener.ready)
            && !connections.is_full()
    }

    /// When [`accept`](Self::accept) is to be called although no event came.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Admits whoever waits, up to the budget and as long as there is room. The others wait in the
    /// system's queue.
    pub(crate) fn accept(&mut self, now: Instant, connections: &mut Connections) {
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.retry_at = None;
        for listener in &mut self.list {
            for _ in 0..ACCEPTS_PER_TURN {
                if !listener.ready || connections.is_full() {
                    break;
                }
                match listener.socket.accept() {
                    Ok((socket, peer)) => {
                        if let Err(error) = connections.admit(socket, peer) {
                            debug!(%error, "an HTTP client was lost");
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        listener.ready = false
                    }
                    Err(error) if is_of_one_client(&error) => {}
                    Err(error) => {
                        warn!(%error, "HTTP clients cannot be accepted for now");
                        self.retry_at = Some(now + RETRY_DELAY);
                        return;
                    }
                }
            }
        }
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
