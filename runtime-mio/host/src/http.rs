//! HTTP/1.1 between hyper and the core, without a runtime.
//!
//! [`Http`] is what a loop serves: listeners, connections, and the [`Gateway`] between them and the
//! core. A driver tells it what is ready, gives the core what [`Http::poll_news`] has, and its
//! responses to [`Http::respond`]. Single-threaded: all of it lives on one thread.
//!
//! Bounds: a body by [`MAX_BODY_LEN`] and [`Limits::body_timeout`], a header by hyper's 100 fields
//! and [`HEADER_LEN_MAX`], waiting and connections by [`Limits`], work by the budgets of a turn.

mod body;
mod connection;
mod connections;
mod gateway;
mod listeners;
mod refusal;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use hyper::rt::{Read, Write};
use kvill_core::ids::RequestId;
use kvill_core::signal::{Request, Response};
use tracing::debug;

use crate::address::BindError;
use crate::timers::Timers;
use crate::wake::{LoopWaker, ReadyQueue};
pub use body::DRAIN_LEN_MAX;
pub use connection::{Connection, HEADER_LEN_MAX};
use connections::Connections;
pub use connections::{Peer, Watch};
pub use gateway::Gateway;
pub use kvill_core::signal::MAX_BODY_LEN;
use listeners::Listeners;

/// How long clients may take, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From accepting a connection, or from the first byte of a later request, to the end of its
    /// header.
    pub header_timeout: Duration,
    /// From the end of the header to the end of the body. Then the answer is 408.
    pub body_timeout: Duration,
    /// From the end of one request to the first byte of the next. Includes the time that the
    /// client takes to fetch the response.
    pub idle_timeout: Duration,
    /// From the end of what the client sends to the answer, if that is still to come.
    pub half_closed_timeout: Duration,
    /// Connections at a time. A further one takes the place of the one that has been idle longest;
    /// while none is idle, it waits in the system's queue until one closes.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(10),
            half_closed_timeout: Duration::from_secs(5),
            connections_max: 1_000,
        }
    }
}

/// Requests that the core gets per turn. More answers a burst of offers sooner; fewer lets media
/// through sooner, since the core makes a session and its answer within the turn.
const REQUESTS_PER_TURN: usize = 4;

/// Connections polled per turn. More reads and answers a burst sooner; fewer lets media through
/// sooner.
const POLLS_PER_TURN: usize = 64;

/// What serves HTTP over streams `S`, which are watched by `W`.
#[derive(Debug)]
pub struct Http<S: Read + Write + Unpin + 'static, W> {
    listeners: Listeners,
    connections: Connections<S, W>,
    gateway: Gateway,
    queue: Arc<ReadyQueue>,
    /// How many requests the core may still get in this turn.
    requests_left: usize,
}

/// What a client wants of the core.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, and taken apart at once"
)]
pub enum News {
    /// An answer.
    Asked(RequestId, Request),
    /// No answer any more.
    Cancelled(RequestId),
}

impl<S: Read + Write + Unpin + 'static, W: Watch> Http<S, W> {
    /// Listens on all addresses, or on none. Time-outs come from `timers`; `waker` wakes the loop.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub fn bind(
        addresses: &[SocketAddr],
        limits: Limits,
        timers: &Timers,
        waker: Arc<LoopWaker>,
    ) -> Result<Self, BindError> {
        let listeners = Listeners::bind(addresses)?;
        let queue = ReadyQueue::new(waker);
        let gateway = Gateway::new(Rc::new(timers.clone()), limits);
        let connections = Connections::new(gateway.clone(), Arc::clone(&queue));
        Ok(Self {
            listeners,
            connections,
            gateway,
            queue,
            requests_left: 0,
        })
    }

    /// The addresses that it listens on, with the ports that the system chose.
    ///
    /// # Errors
    /// What the system says.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.listeners.addresses()
    }

    /// Second handles to the listening sockets, for a runtime to watch their readiness by.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn watch_handles(&self) -> io::Result<Vec<TcpListener>> {
        self.listeners.watch_handles()
    }

    /// Somebody may be waiting at a listener, by its index among the addresses.
    pub fn on_listener_readable(&mut self, index: usize) {
        self.listeners.on_readable(index);
    }

    /// Whether a listener waits to be told that somebody may be waiting.
    #[must_use]
    pub fn listener_wants_readable(&self, index: usize) -> bool {
        self.listeners.wants_readable(index)
    }

    /// How the connection `key` is watched, and the waker that has it polled in the next turn.
    /// `None` if it is gone.
    #[must_use]
    pub fn watch(&self, key: usize) -> Option<(&W, &Waker)> {
        self.connections.watch(key)
    }

    /// Begins a turn: lets clients in, and lets those that are ready go on, up to the budget. `open`
    /// makes the runtime's stream of an accepted socket (non-blocking), for the connection of that
    /// key. Returns whether there was anything to do.
    pub fn serve(
        &mut self,
        now: Instant,
        mut open: impl FnMut(usize, TcpStream) -> io::Result<(S, W)>,
    ) -> bool {
        self.requests_left = REQUESTS_PER_TURN;
        let polled = self.connections.poll(POLLS_PER_TURN);
        self.listeners.begin_turn(now);
        let mut admitted = false;
        while !self.connections.is_full()
            && let Some(client) = self.listeners.accept(now)
        {
            admitted = true;
            if let Err(error) = self.connections.admit(client, &mut open) {
                debug!(%error, "an HTTP client was lost");
            }
        }
        self.connections.poll(POLLS_PER_TURN - polled);
        polled > 0 || admitted
    }

    /// What the core is to be told next in this turn: all cancellations, and requests up to the
    /// budget.
    pub fn poll_news(&mut self) -> Option<News> {
        if let Some(id) = self.gateway.poll_cancelled() {
            return Some(News::Cancelled(id));
        }
        self.requests_left = self.requests_left.checked_sub(1)?;
        let (id, request) = self.gateway.poll_request()?;
        Some(News::Asked(id, request))
    }

    /// Has a request answered. Its connection writes in the next turn, which follows at once.
    pub fn respond(&mut self, id: RequestId, response: Response) {
        self.gateway.respond(id, response);
    }

    /// When to serve although no event came.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.listeners.next()
    }

    /// The loop is about to sleep, and its waker knows. Returns whether nothing is left to do, so
    /// that it may.
    pub fn is_idle(&mut self) -> bool {
        let has_nothing = |http: &Self| {
            http.queue.is_empty()
                && !http.gateway.has_news()
                && (!http.listeners.has_more() || http.connections.is_full())
        };
        if !has_nothing(self) || !self.gateway.awaits() {
            return has_nothing(self);
        }
        self.connections.look_after_waiting();
        has_nothing(self)
    }

    /// Lets nobody in any more, and lets requests under way have their answers.
    pub fn shut_down(&mut self) {
        self.connections.shut_down();
    }

    /// How many requests were refused without asking the core.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.gateway.refused()
    }

    /// Whether no client is left.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.connections.is_empty()
    }
}
