//! One UDP socket: batches in, trains out.
//!
//! Receives many datagrams by one system call (`recvmmsg`, GRO where the system has it) and sends
//! several trains by one (`sendmmsg` of GSO), a train by one where the system has no `sendmmsg`, or
//! segment by segment where there is no GSO. Knows the address each
//! datagram was sent to, and sends from the address it is told (`IP_PKTINFO`). Non-blocking: a
//! driver brings the readiness.
//!
//! Bound: a receive is at most one batch; a send is at most one system call per segment.

mod options;
mod receive;
mod send;
#[cfg(target_os = "linux")]
mod together;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};

use quinn_udp::{UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, SockRef, Type};
use tracing::debug;

use crate::address::{ipv4_wildcard, is_without_ipv6};
pub use receive::ReceiveBuffers;
pub use send::{Counters, Sent};

/// The kernel buffer size asked for, each way, in bytes; the system may grant less. More rides out
/// longer pauses of the loop and larger keyframes to more viewers; it costs kernel memory only
/// while it is full.
const KERNEL_BUFFER_LEN: usize = 4 << 20;

/// Trains that are sent by one system call. Eight take most of what can be had.
pub(crate) const TOGETHER_MAX: usize = 8;

/// A bound, non-blocking UDP socket.
#[derive(Debug)]
pub struct UdpSocket {
    socket: std::net::UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    /// The system has GSO, as far as is known.
    gso: bool,
    counters: Counters,
    /// What the last datagram that could not be sent was to leave from.
    suspect: Option<IpAddr>,
}

impl UdpSocket {
    /// Binds. `[::]` takes IPv4 too, and becomes `0.0.0.0` where there is no IPv6; port 0 lets the
    /// system choose.
    ///
    /// # Errors
    /// What the system says: the port is in use, say.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        match Self::bind_exactly(address) {
            Err(error)
                if address.ip().is_unspecified()
                    && address.is_ipv6()
                    && is_without_ipv6(&error) =>
            {
                Self::bind_exactly(ipv4_wildcard(address.port()))
            }
            result => result,
        }
    }

    fn bind_exactly(address: SocketAddr) -> io::Result<Self> {
        let socket = socket2::Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.bind(&address.into())?;
        let socket = std::net::UdpSocket::from(socket);
        let local = socket.local_addr()?;
        enlarge_kernel_buffers(&socket, local);
        let state = options::configure(&socket, local.is_ipv4())?;
        let gso = state.max_gso_segments() > 1;
        Ok(Self {
            socket,
            state,
            local,
            gso,
            counters: Counters::default(),
            suspect: None,
        })
    }

    /// The address it is bound to, with the port that the system chose for port 0.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// What was sent, and what could not be.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// A second handle to the same socket, for a runtime to watch its readiness by.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn watch_handle(&self) -> io::Result<std::net::UdpSocket> {
        self.socket.try_clone()
    }

    fn sock_ref(&self) -> UdpSockRef<'_> {
        UdpSockRef::from(&self.socket)
    }
}

fn enlarge_kernel_buffers(socket: &std::net::UdpSocket, local: SocketAddr) {
    let socket = SockRef::from(socket);
    let receive = socket.set_recv_buffer_size(KERNEL_BUFFER_LEN);
    let send = socket.set_send_buffer_size(KERNEL_BUFFER_LEN);
    debug!(
        %local,
        receive_len = ?receive.and_then(|()| socket.recv_buffer_size()),
        send_len = ?send.and_then(|()| socket.send_buffer_size()),
        "UDP socket bound"
    );
}
