//! Datagrams in, datagrams out.

use std::net::SocketAddr;

use crate::ids::TransportId;

/// A UDP datagram as the driver received it. One that the kernel coalesced (GRO) is split first.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// The socket it came in by.
    pub transport: TransportId,
    /// The address it was sent to (`IP_PKTINFO`). Answers leave from here. Where the system does
    /// not tell, the address the socket is bound to.
    pub local: SocketAddr,
    /// The address it came from. IPv4-mapped IPv6 addresses are taken for what they map.
    pub remote: SocketAddr,
    /// The UDP payload.
    pub contents: &'a [u8],
}

/// What [`poll_transmit`](crate::Server::poll_transmit) wrote into the driver's buffer: one
/// datagram, or a *train* of equal-sized ones to one destination (UDP GSO).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// The local address to send from. Its IP is unspecified where the system is to choose.
    pub source: SocketAddr,
    /// Where to. IPv4 destinations are plain IPv4 addresses, also on a dual-stack socket.
    pub destination: SocketAddr,
    /// How many bytes of the buffer are to be sent.
    pub size: usize,
    /// `Some(n)`: the bytes are several datagrams of `n` bytes each, of which the last may be
    /// shorter. `None`: one datagram.
    pub segment_size: Option<usize>,
}

/// The buffer size with which [`poll_transmit`](crate::Server::poll_transmit) never has to cut a
/// train: the largest UDP payload.
pub const TRANSMIT_BUFFER_LEN: usize = 65_507;

/// An address of this machine, as the driver's interface provider found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The system's name for it, `eth0` say.
    pub name: String,
    /// One address. An interface with several addresses is listed several times.
    pub address: std::net::IpAddr,
}
