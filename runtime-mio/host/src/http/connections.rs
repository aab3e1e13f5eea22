//! The HTTP connections of a loop.
//!
//! Bounded by the gateway's limit: at it, whoever is idle longest makes room for the next.
//! A connection is polled when it is admitted and when its waker was woken, and at no other time.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use hyper::rt::{Read, Write};
use slab::Slab;
use tracing::debug;

use super::{Connection, Gateway};
use crate::wake::{ReadyQueue, Ticket};

/// What a runtime knows of a client while its answer is awaited: hyper does not read then, and
/// would not see that the client left.
pub trait Watch {
    /// Looks whether the client is still there. Where that may change, the waker is woken.
    fn poll_peer(&self, cx: &mut Context<'_>) -> Peer;
}

/// Whether a client is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// As far as is known.
    Present,
    /// It sends no more, and may still listen.
    HalfClosed,
    /// It reset the connection: an answer would reach nobody.
    Gone,
}

impl<W: Watch> Watch for Rc<W> {
    fn poll_peer(&self, cx: &mut Context<'_>) -> Peer {
        W::poll_peer(self, cx)
    }
}

/// All HTTP connections: of streams `S`, watched by `W`.
#[derive(Debug)]
pub(crate) struct Connections<S: Read + Write + Unpin + 'static, W> {
    gateway: Gateway,
    queue: Arc<ReadyQueue>,
    open: Slab<Open<S, W>>,
    shutting_down: bool,
}

#[derive(Debug)]
struct Open<S: Read + Write + Unpin + 'static, W> {
    connection: Connection<S>,
    watch: W,
    ticket: Arc<Ticket>,
    waker: Waker,
}

impl<S: Read + Write + Unpin + 'static, W: Watch> Connections<S, W> {
    pub(crate) fn new(gateway: Gateway, queue: Arc<ReadyQueue>) -> Self {
        Self {
            gateway,
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
            (!open.ticket.is_queued()).then_some((since, key))
        });
        idle.min().map(|(_, key)| key)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes in an accepted client, in the place of an idle one if there is no other room. `open`
    /// makes the runtime's stream of it, for a connection of this key.
    pub(crate) fn admit(
        &mut self,
        (socket, peer): (TcpStream, SocketAddr),
        open: impl FnOnce(usize, TcpStream) -> io::Result<(S, W)>,
    ) -> io::Result<()> {
        if self.is_at_limit()
            && let Some(idlest) = self.idlest()
        {
            debug!("an idle HTTP connection makes room");
            self.open.remove(idlest);
        }
        let slot = self.open.vacant_entry();
        let (stream, watch) = open(slot.key(), socket)?;
        let ticket = self.queue.ticket(slot.key());
        let waker = Waker::from(Arc::clone(&ticket));
        waker.wake_by_ref();
        slot.insert(Open {
            connection: self.gateway.connection(stream, peer),
            watch,
            ticket,
            waker,
        });
        Ok(())
    }

    /// How a connection is watched, and what has it polled. One that is gone has nothing.
    pub(crate) fn watch(&self, key: usize) -> Option<(&W, &Waker)> {
        self.open.get(key).map(|open| (&open.watch, &open.waker))
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

    /// Looks whether those that wait for an answer are still there.
    pub(crate) fn look_after_waiting(&mut self) {
        self.open.retain(|_, open| {
            if !open.connection.is_busy() {
                return true;
            }
            let mut cx = Context::from_waker(&open.waker);
            match open.watch.poll_peer(&mut cx) {
                Peer::Present => true,
                Peer::HalfClosed => {
                    if open.connection.on_half_closed() {
                        open.waker.wake_by_ref();
                    }
                    true
                }
                Peer::Gone => false,
            }
        });
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
