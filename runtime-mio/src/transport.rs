//! One UDP socket in the loop.
//!
//! Both ways have a budget per turn, so that a busy socket holds up neither another socket nor
//! timers nor HTTP.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use kvill_core::Server;
use kvill_core::ids::TransportId;
use kvill_core::net::{Datagram, Transmit};
use kvill_host::address::BindError;
use kvill_host::udp::{ReceiveBuffers, Sent, UdpSocket};
use mio::{Interest, Registry, Token};
use tracing::{debug, info};

use crate::outbox::{Outbox, Outlet};
use crate::token::Source;

/// Batches received per turn. More makes longer trains under load; fewer lets timers and HTTP in
/// sooner.
const RECEIVES_PER_TURN: usize = 16;

/// One UDP socket.
#[derive(Debug)]
pub(crate) struct Transport {
    id: TransportId,
    socket: UdpSocket,
    /// The same socket, for mio to watch.
    watched: mio::net::UdpSocket,
    /// Something may be there to receive.
    readable: bool,
    outbox: Outbox,
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
                outbox: Outbox::new(),
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
        let token = Source::Transport(self.id.0.into()).into();
        registry.register(&mut self.watched, token, Interest::READABLE)
    }

    pub(crate) fn on_event(&mut self, event: &mio::event::Event) {
        if event.is_readable() || event.is_error() {
            self.readable = true;
        }
        if event.is_writable() {
            self.outbox.on_writable();
        }
    }

    /// Whether another turn has something to do here, without an event.
    pub(crate) fn has_more(&self) -> bool {
        self.readable || self.outbox.has_more()
    }

    /// Whether everything went out.
    pub(crate) fn is_drained(&self) -> bool {
        self.outbox.is_drained()
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
        let id = self.id;
        let mut outlet = Watched {
            socket: &mut self.socket,
            watched: &mut self.watched,
            token: Source::Transport(id.0.into()).into(),
            registry,
        };
        self.outbox
            .flush(&mut outlet, |buffer| server.poll_transmit(now, id, buffer));
    }

    /// Tells what became of all that was to be sent.
    pub(crate) fn log_totals(&self) {
        let counters = self.socket.counters();
        info!(
            local = %self.local_address(),
            sends = counters.sends,
            datagrams = counters.datagrams,
            too_large = counters.too_large,
            failed = counters.failed,
            trains_split = counters.trains_split,
            full = counters.full,
            "UDP totals"
        );
    }
}

/// The socket, and how the loop watches it.
struct Watched<'a> {
    socket: &'a mut UdpSocket,
    watched: &'a mut mio::net::UdpSocket,
    token: Token,
    registry: &'a Registry,
}

impl Outlet for Watched<'_> {
    fn send(&mut self, transmit: &Transmit, contents: &[u8], from: usize) -> Sent {
        self.socket.send(transmit, contents, from)
    }

    fn watch(&mut self, interest: Interest) {
        let result = self.registry.reregister(self.watched, self.token, interest);
        if let Err(error) = result {
            debug!(%error, "a UDP socket could not be watched");
        }
    }
}
