//! One UDP socket in a loop.
//!
//! Readiness is edge-triggered: a driver tells of it once, and it holds until a call would block.
//! Both ways have a budget per turn, so that a busy socket holds up neither another socket nor
//! timers nor HTTP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use kvill_core::Server;
use kvill_core::ids::TransportId;
use kvill_core::net::{Datagram, Transmit};
use tracing::debug;

use crate::address::BindError;
use crate::outbox::{Outbox, Outlet};
use crate::udp::{Counters, ReceiveBuffers, Sent, UdpSocket};

/// Batches received per turn. More makes longer trains under load; fewer lets timers and HTTP in
/// sooner.
const RECEIVES_PER_TURN: usize = 16;

/// One UDP socket.
#[derive(Debug)]
pub struct Transport {
    id: TransportId,
    socket: UdpSocket,
    /// Something may be there to receive.
    readable: bool,
    outbox: Outbox,
}

impl Transport {
    /// Binds.
    pub(crate) fn bind(id: TransportId, address: SocketAddr) -> Result<Self, BindError> {
        match UdpSocket::bind(address) {
            Ok(socket) => Ok(Self {
                id,
                socket,
                readable: true,
                outbox: Outbox::new(),
            }),
            Err(source) => Err(BindError {
                protocol: "UDP",
                flag: "--udp-address",
                address,
                source,
            }),
        }
    }

    /// The address it is bound to, with the port that the system chose for port 0.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.socket.local_address()
    }

    /// A second handle to the same socket, for a runtime to watch its readiness by.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn watch_handle(&self) -> io::Result<std::net::UdpSocket> {
        self.socket.watch_handle()
    }

    /// Something may be there to receive.
    pub fn on_readable(&mut self) {
        self.readable = true;
    }

    /// The socket has room again.
    pub fn on_writable(&mut self) {
        self.outbox.on_writable();
    }

    /// Whether it waits to be told that something may be there to receive.
    #[must_use]
    pub fn wants_readable(&self) -> bool {
        !self.readable
    }

    /// Whether it waits to be told that the socket has room. Otherwise it is not to be woken for
    /// that: a socket reports room after every packet that left.
    #[must_use]
    pub fn wants_writable(&self) -> bool {
        self.outbox.is_full()
    }

    /// What was sent, and what could not be.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.socket.counters()
    }

    /// See [`UdpSocket::take_lost_address`].
    pub(crate) fn take_lost_address(&mut self) -> Option<IpAddr> {
        self.socket.take_lost_address()
    }

    /// Whether another turn has something to do here, without an event.
    pub(crate) fn has_more(&self) -> bool {
        self.readable || self.outbox.has_more()
    }

    /// Whether everything went out.
    pub(crate) fn is_drained(&self) -> bool {
        self.outbox.is_drained()
    }

    /// Receives what is there, up to the budget. Returns whether there was anything.
    pub(crate) fn receive(
        &mut self,
        buffers: &mut ReceiveBuffers,
        mut handle: impl FnMut(Datagram<'_>),
    ) -> bool {
        let mut any = false;
        for _ in 0..RECEIVES_PER_TURN {
            if !self.readable {
                break;
            }
            match self.socket.receive(buffers) {
                Ok(_) => buffers.datagrams(self.id).for_each(&mut handle),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    break;
                }
                Err(error) => debug!(%error, "a datagram could not be received"),
            }
            any = true;
        }
        any
    }

    /// Sends what the core has for this socket, up to the budget or until the socket is full.
    /// Returns whether there was anything.
    pub(crate) fn transmit(&mut self, now: Instant, server: &mut Server) -> bool {
        let id = self.id;
        self.outbox.flush(&mut self.socket, |buffer| {
            server.poll_transmit(now, id, buffer)
        })
    }
}

impl Outlet for UdpSocket {
    #[cfg(target_os = "linux")]
    fn send_together(&mut self, trains: &[(Transmit, &[u8])]) -> usize {
        UdpSocket::send_together(self, trains)
    }

    fn send(&mut self, transmit: &Transmit, contents: &[u8], from: usize) -> Sent {
        UdpSocket::send(self, transmit, contents, from)
    }
}
