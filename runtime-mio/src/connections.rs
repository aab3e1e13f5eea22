//! The HTTP connections of the loop.
//!
//! Bounded by the gateway's limit: at it, whoever is idle longest makes room for the next. A connection is polled when it is admitted, at its socket's
//! events and when its waker was woken, and at no other time.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use kvill_host::http::{Connection, Gateway};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry};
use slab::Slab;
use tracing::debug;

use crate::stream::{Readiness, Stream};
use crate::token::Source;
use crate::wake::ReadyQueue;

/// All HTTP connections.
#[derive(Debug)]
pub(crate) struct Connections {
    gateway: Gateway,
    registry: Registry,
    queue: Arc<ReadyQueue>,
    open: Slab<Open>,
    shutting_down: bool,
}

#[derive(Debug)]
struct Open {
    connection: Connection<Stream>,
    readiness: Rc<Readiness>,
    waker: Waker,
}

impl Connections {
    pub(crate) fn new(gateway: Gateway, registry: Registry, queue: Arc<ReadyQueue>) -> Self {
        Self {
            gateway,
            registry,
            queue,
            open: Slab::new(),
            shutting_down: false,
        }
    }

    /// Whether no further client may be admitted, for now. Looks at all connections, but only at
    /// the limit.
    pub(crate) fn is_full(&self) -> bool {
        self.shutting_down || (self.is_at_limit() && self.idlest().is_none())
    }

    fn is_at_limit(&self) -> bool {
        self.open.len() >= self.gateway.limits().connections_max
    }

    /// The connection that has been idle longest. One whose client may have asked again is not
    /// idle: it is about to be polled.
    fn idlest(&self) -> Option<usize> {
        let idle = self.open.iter().filter_map(|(key, open)| {
            let since = open.connection.idle_since()?;
            (!open.readiness.is_readable()).then_some((since, key))
        });
        idle.min().map(|(_, key)| key)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes in an accepted client, in the place of an idle one if there is no other room.
    pub(crate) fn admit(&mut self, mut socket: TcpStream, peer: SocketAddr) -> io::Result<()> {
        if self.is_at_limit()
            && let Some(idlest) = self.idlest()
        {
            debug!("an idle HTTP connection makes room");
            self.open.remove(idlest);
        }
        let slot = self.open.vacant_entry();
        let key = slot.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.registry
            .register(&mut socket, Source::Connection(key).into(), interest)?;
        // A response is one small write: it need not wait for more.
        socket.set_nodelay(true)?;
        let readiness = Readiness::new();
        let connection = self
            .gateway
            .connection(Stream::new(socket, Rc::clone(&readiness)), peer);
        let waker = self.queue.waker(key);
        waker.wake_by_ref();
        slot.insert(Open {
            connection,
            readiness,
            waker,
        });
        Ok(())
    }

    /// Notes a socket's event. One of a connection that is gone means nothing.
    pub(crate) fn on_event(&mut self, key: usize, event: &Event) {
        let Some(open) = self.open.get(key) else {
            return;
        };
        if event.is_error() || (event.is_read_closed() && event.is_write_closed()) {
            // Reset: an answer would reach nobody. hyper does not look while one is awaited.
            self.open.remove(key);
            return;
        }
        if event.is_read_closed() {
            open.connection.on_half_closed();
        }
        open.readiness.on_event(event);
        open.waker.wake_by_ref();
    }

    /// Polls those that are queued, at most `count_max` of them, and returns how many.
    pub(crate) fn poll(&mut self, count_max: usize) -> usize {
        let ready = self.queue.take(count_max);
        let count = ready.len();
        for key in ready {
            let Some(open) = self.open.get_mut(key) else {
                continue;
            };
            let mut cx = Context::from_waker(&open.waker);
            if Pin::new(&mut open.connection).poll(&mut cx).is_ready() {
                self.open.remove(key);
            }
        }
        count
    }

    /// Closes idle connections at once and the others after their answer. Admits no more.
    pub(crate) fn shut_down(&mut self) {
        self.shutting_down = true;
        for (_, open) in &mut self.open {
            open.connection.shut_down();
            open.waker.wake_by_ref();
        }
    }
}
