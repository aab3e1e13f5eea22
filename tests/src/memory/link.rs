//! What is between the server and its clients.

use std::net::SocketAddr;
use std::time::Instant;

use crate::network::Delays;

/// A datagram between the server and a client.
#[derive(Debug, Clone, Copy)]
pub struct Crossing<'a> {
    /// When.
    pub now: Instant,
    /// Which way.
    pub way: Way,
    /// The client, also when it has left since.
    pub client: SocketAddr,
    /// The UDP payload.
    pub contents: &'a [u8],
}

/// From whom to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// From a client.
    ToServer,
    /// To a client.
    ToClient,
}

/// What becomes of datagrams under way.
pub trait Link {
    /// Whether this one arrives.
    fn carries(&mut self, crossing: &Crossing<'_>) -> bool;

    /// The datagrams that arrive instead of one that [`carries`](Self::carries) lets through, if
    /// it does not arrive as it is.
    fn changes(&mut self, _: &Crossing<'_>) -> Option<Vec<Vec<u8>>> {
        None
    }

    /// How long it is under way that [`carries`](Self::carries) lets through, and how often it
    /// arrives.
    fn delays(&mut self, _: &Crossing<'_>) -> Delays {
        Delays::AT_ONCE
    }

    /// A client has another address.
    fn on_moved(&mut self, _old: SocketAddr, _new: SocketAddr) {}
}

/// Everything arrives.
#[derive(Debug, Clone, Copy, Default)]
pub struct Perfect;

impl Link for Perfect {
    fn carries(&mut self, _: &Crossing<'_>) -> bool {
        true
    }
}
