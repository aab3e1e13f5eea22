//! The one who knows everyone.

use std::time::{Instant, SystemTime};

use crate::config::{Config, ConfigError};
use crate::ids::{RequestId, TransportId};
use crate::net::{Datagram, Interface, Transmit};
use crate::signal::{Request, Response};
use crate::stats::Snapshot;
use crate::time::Deadline;

/// A WHIP and WHEP server without its sockets.
#[derive(Debug)]
pub struct Server {}

/// A coming or going that the driver may want to tell others of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A publisher finished its handshake.
    PublisherJoined {
        /// The path's name.
        path: String,
    },
    /// A publisher left, or was replaced.
    PublisherLeft {
        /// The path's name.
        path: String,
    },
    /// A viewer finished its handshake.
    ViewerJoined {
        /// The path's name.
        path: String,
    },
    /// A viewer left.
    ViewerLeft {
        /// The path's name.
        path: String,
    },
}

impl Server {
    /// A server with everything still to come. `seed` is where all its randomness comes from:
    /// the operating system's in production, a number in tests. `unix_time` is the wall clock at
    /// `now`; it is not asked for again.
    pub fn new(config: Config, seed: [u8; 32], now: Instant, unix_time: SystemTime) -> Result<Self, ConfigError> {
        let _ = (config, seed, now, unix_time);
        Ok(Self {})
    }

    /// Takes in one datagram. Never fails: what cannot be used is counted.
    pub fn handle_datagram(&mut self, now: Instant, datagram: Datagram<'_>) {
        let _ = (now, datagram);
    }

    /// Takes in one HTTP request. The answer comes by [`poll_response`](Self::poll_response), at
    /// once or later.
    pub fn handle_request(&mut self, now: Instant, id: RequestId, request: Request) {
        let _ = (now, id, request);
    }

    /// The client of a request went away before its response was delivered.
    pub fn handle_cancelled(&mut self, now: Instant, id: RequestId) {
        let _ = (now, id);
    }

    /// The next response to give.
    pub fn poll_response(&mut self) -> Option<(RequestId, Response)> {
        None
    }

    /// Replaces the list of this machine's addresses. To be called before the first request, and
    /// whenever the list changes.
    pub fn handle_interfaces(&mut self, now: Instant, interfaces: &[Interface]) {
        let _ = (now, interfaces);
    }

    /// Does what has fallen due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next.
    pub fn poll_timeout(&mut self) -> Option<Deadline> {
        None
    }

    /// Writes the next datagram or train for one of the driver's sockets into `buffer`. Is to be
    /// called until it returns `None`, or the socket refuses: then the driver keeps that transmit
    /// and sends it first, later.
    pub fn poll_transmit(&mut self, now: Instant, transport: TransportId, buffer: &mut [u8]) -> Option<Transmit> {
        let _ = (now, transport, buffer);
        None
    }

    /// The next coming or going. At most 1,024 are kept; the oldest are lost first.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// Ends every session (RTCP BYE, DTLS close) and refuses new ones with 503. What is to be sent
    /// still comes by [`poll_transmit`](Self::poll_transmit).
    pub fn shut_down(&mut self, now: Instant) {
        let _ = now;
    }

    /// What is going on. Walks all paths: for an occasional look, not for every packet.
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        Snapshot::default()
    }
}
