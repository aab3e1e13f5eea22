//! Batches in.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;

use kvill_core::ids::TransportId;
use kvill_core::net::Datagram;
use quinn_udp::RecvMeta;

use super::UdpSocket;
use crate::address::canonical;

/// Messages taken by one system call. More saves calls under load and costs [`MESSAGE_LEN`] each.
const BATCH_LEN: usize = 16;
const _: () = assert!(BATCH_LEN <= quinn_udp::BATCH_SIZE || quinn_udp::BATCH_SIZE == 1);

/// Room for one message: the largest run of datagrams that GRO puts together.
const MESSAGE_LEN: usize = 65_535;

/// Memory for one batch; 1 MiB. One is enough for all sockets of a loop.
pub struct ReceiveBuffers {
    bytes: Vec<u8>,
    meta: [RecvMeta; BATCH_LEN],
    /// How many messages the last batch had.
    filled: usize,
    /// The address that the socket of the last batch is bound to.
    bound: SocketAddr,
}

impl fmt::Debug for ReceiveBuffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceiveBuffers")
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}

impl Default for ReceiveBuffers {
    fn default() -> Self {
        Self::new()
    }
}

impl ReceiveBuffers {
    /// Allocates.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: vec![0; BATCH_LEN * MESSAGE_LEN],
            meta: [RecvMeta::default(); BATCH_LEN],
            filled: 0,
            bound: SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0),
        }
    }

    /// The datagrams of the last batch, as ones of `transport`. What GRO put together is split.
    pub fn datagrams(&self, transport: TransportId) -> impl Iterator<Item = Datagram<'_>> {
        let messages = self
            .meta
            .iter()
            .zip(self.bytes.chunks_exact(MESSAGE_LEN))
            .take(self.filled);
        messages.flat_map(move |(meta, bytes)| {
            let local = match meta.dst_ip {
                Some(ip) => canonical(SocketAddr::new(ip, self.bound.port())),
                None => canonical(self.bound),
            };
            let remote = canonical(meta.addr);
            segments(&bytes[..meta.len.min(MESSAGE_LEN)], meta.stride).map(move |contents| {
                Datagram {
                    transport,
                    local,
                    remote,
                    contents,
                }
            })
        })
    }
}

/// Splits into pieces of `stride` bytes, the last may be shorter. An empty datagram is one piece.
fn segments(bytes: &[u8], stride: usize) -> impl Iterator<Item = &[u8]> {
    let empty = bytes.is_empty().then_some(bytes);
    empty.into_iter().chain(bytes.chunks(stride.max(1)))
}

impl UdpSocket {
    /// Receives one batch into `buffers` and returns how many messages it has, at least one.
    ///
    /// # Errors
    /// `WouldBlock`: nothing is there. Others concern one earlier datagram (Windows reports ICMP
    /// errors so), not the socket: count them and receive again.
    pub fn receive(&self, buffers: &mut ReceiveBuffers) -> io::Result<usize> {
        buffers.filled = 0;
        buffers.bound = self.local;
        let mut chunks = buffers.bytes.chunks_exact_mut(MESSAGE_LEN);
        let mut slices: [IoSliceMut<'_>; BATCH_LEN] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        buffers.filled = self
            .state
            .recv(self.sock_ref(), &mut slices, &mut buffers.meta)?;
        Ok(buffers.filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coalesced_message_is_split_by_its_stride() {
        let pieces: Vec<_> = segments(b"aabbc", 2).collect();
        assert_eq!(pieces, [&b"aa"[..], b"bb", b"c"]);
        assert_eq!(segments(b"aabbc", 5).collect::<Vec<_>>(), [b"aabbc"]);
    }

    #[test]
    fn an_empty_datagram_is_one_datagram() {
        assert_eq!(segments(b"", 0).collect::<Vec<_>>(), [b""]);
    }
}
