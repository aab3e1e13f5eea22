//! One UDP socket in the loop.
//!
//! Both ways have a budget per turn, so that a busy socket holds up neither another socket nor
//! timers nor HTTP. A transmit that the socket refuses is kept, with how far it got, and goes
//! first.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use kvill_core::Server;
use kvill_core::ids::TransportId;
use kvill_core::net::{Datagram, TRANSMIT_BUFFER_LEN, Transmit};
use kvill_host::address::BindError;
use kvill_host::udp::{ReceiveBuffers, Sent, UdpSocket};
use mio::{Interest, Registry};
use tracing::debug;

use crate::token::Source;

/// Batches received per turn. More makes longer trains under load; fewer lets timers and HTTP in
/// sooner.
const RECEIVES_PER_TURN: usize = 16;

/// Transmits sent per turn. More saves turns; fewer lets the socket be read in between, before its
/// kernel buffer overflows: 256 trains take about 5 ms.
const TRANSMITS_PER_TURN: usize = 256;

/// One UDP socket.
#[derive(Debug)]
pub(crate) struct Transport {
    id: TransportId,
    socket: UdpSocket,
    /// The same socket, for mio to watch.
    watched: mio::net::UdpSocket,
    /// Something may be there to receive.
    readable: bool,
    /// Something may be there to send: the last turn ended by its budget.
    unfinished: bool,
    /// Holds the bytes of the transmit at hand, and of a kept one.
    buffer: Box<[u8]>,
    kept: Option<Kept>,
}

/// A transmit that the socket refused.
#[derive(Debug, Clone, Copy)]
struct Kept {
    transmit: Transmit,
    /// Where to go on.
    next: usize,
    /// The socket told that it has room again.
    writable: bool,
}

impl Transport {
    /// Binds.
    pub(crate) fn bind(id: TransportId, address: SocketAddr) -> Result<Self, BindError> {
        let bind = || {
            let socket = UdpSocket::bind(address)?;
            let watched = mio::net::UdpSocket::from_std(socket.watch_handle()?);
            Ok(Self {
                id,
                socket,
                watched,
                readable: true,
                unfinished: false,
                buffer: vec![0; TRANSMIT_BUFFER_LEN].into(),
                kept: None,
            })
        };
        bind().map_err(|source| BindError {
            protocol: "UDP",
            flag: "--udp-address",
            address,
            source,
        })
    }

    pub(crate) fn local_address(&self) -> SocketAddr {
        self.socket.local_address()
    }

    pub(crate) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        let token = self.source().into();
        registry.register(&mut self.watched, token, Interest::READABLE)
    }

    pub(crate) fn on_event(&mut self, event: &mio::event::Event) {
        if event.is_readable() || event.is_error() {
            self.readable = true;
        }
        if let Some(kept) = self.kept.as_mut().filter(|_| event.is_writable()) {
            kept.writable = true;
        }
    }

    /// Whether another turn has something to do here, without an event.
    pub(crate) fn has_more(&self) -> bool {
        self.readable || self.unfinished
    }

    /// Whether everything went out.
    pub(crate) fn is_drained(&self) -> bool {
        self.kept.is_none() && !self.unfinished
    }

    /// Receives what is there, up to the budget.
    pub(crate) fn receive(
        &mut self,
        buffers: &mut ReceiveBuffers,
        mut handle: impl FnMut(Datagram<'_>),
    ) {
        for _ in 0..RECEIVES_PER_TURN {
            if !self.readable {
                return;
            }
            match self.socket.receive(buffers) {
                Ok(_) => buffers.datagrams(self.id).for_each(&mut handle),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) => debug!(%error, "a datagram could not be received"),
            }
        }
    }

    /// Sends what the core has for this socket, up to the budget or until the socket is full.
    pub(crate) fn transmit(&mut self, now: Instant, server: &mut Server, registry: &Registry) {
        self.unfinished = false;
        match self.kept {
            Some(Kept {
                writable: false, ..
            }) => return,
            Some(Kept { transmit, next, .. }) => {
                if !self.send(transmit, next) {
                    return;
                }
                self.watch(registry, Interest::READABLE);
            }
            None => {}
        }
        for _ in 0..TRANSMITS_PER_TURN {
            let Some(transmit) = server.poll_transmit(now, self.id, &mut self.buffer) else {
                return;
            };
            if !self.send(transmit, 0) {
                // Only now: a socket reports room after every packet that left.
                self.watch(registry, Interest::READABLE | Interest::WRITABLE);
                return;
            }
        }
        self.unfinished = true;
    }

    /// Returns whether it is gone; if not, it is kept.
    fn send(&mut self, transmit: Transmit, from: usize) -> bool {
        let Some(contents) = self.buffer.get(..transmit.size) else {
            debug_assert!(false, "a transmit lies within the buffer");
            return true;
        };
        self.kept = match self.socket.send(&transmit, contents, from) {
            Sent::Done => None,
            Sent::Full { next } => Some(Kept {
                transmit,
                next,
                writable: false,
            }),
        };
        self.kept.is_none()
    }

    fn watch(&mut self, registry: &Registry, interest: Interest) {
        let token = self.source().into();
        if let Err(error) = registry.reregister(&mut self.watched, token, interest) {
            debug!(%error, "a UDP socket could not be watched");
        }
    }

    fn source(&self) -> Source {
        Source::Transport(self.id.0.into())
    }
}
