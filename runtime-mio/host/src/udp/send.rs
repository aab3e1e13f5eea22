//! Trains out.
//!
//! GSO is given up for good only when it is the device that cannot do it. quinn-udp gives it up at
//! any `EINVAL` or `EIO`, and `EINVAL` also stands for a source address that this machine lost,
//! and on older kernels for a segment larger than the path's MTU: neither may cost all other
//! viewers their trains, so those cases are told apart here and GSO is taken up again.

use std::io;
use std::net::{IpAddr, SocketAddr};
#[cfg(target_os = "linux")]
use std::os::fd::AsFd as _;

use kvill_core::net::Transmit;
use tracing::{debug, warn};

#[cfg(target_os = "linux")]
use super::TOGETHER_MAX;
#[cfg(target_os = "linux")]
use super::together::{self, Message};
use super::{UdpSocket, options};
use crate::address::mapped;

/// The largest UDP payload.
const PAYLOAD_LEN_MAX: usize = 65_507;

/// A payload that fits every path: IPv6's least MTU of 1,280 bytes (RFC 8200 §5) without the IPv6
/// and UDP headers. A train of such segments is never refused for their size.
const SAFE_SEGMENT_LEN: usize = 1_280 - 40 - 8;

/// What became of a transmit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Sent {
    /// Nothing of it is left: it went out, or was dropped and counted.
    Done,
    /// The socket is full. What begins at byte `next` is still to be sent, once it is writable.
    Full {
        /// Where to go on, in bytes from the start of the transmit.
        next: usize,
    },
}

/// Totals of one socket since it was bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// System calls that sent something: several trains, one, or a single datagram.
    pub sends: u64,
    /// Datagrams sent.
    pub datagrams: u64,
    /// Datagrams dropped because they are larger than the system sends (`EMSGSIZE`).
    pub too_large: u64,
    /// Datagrams dropped because of another error: no route, say.
    pub failed: u64,
    /// Trains that were refused as such, and went out segment by segment.
    pub trains_split: u64,
    /// Times that the socket was full.
    pub full: u64,
}

impl UdpSocket {
    /// Sends `contents[from..]` as `transmit` says: `contents` are its bytes, `from` is 0, or
    /// [`Sent::Full`]'s `next` when it is tried again. Never blocks. An error drops the datagrams
    /// it concerns, and is counted.
    pub fn send(&mut self, transmit: &Transmit, contents: &[u8], from: usize) -> Sent {
        debug_assert!(
            contents.len() == transmit.size,
            "the contents are the transmit's bytes"
        );
        let sent = self.send_chunks(transmit, contents, from, Self::try_send);
        if self.gso && self.state.max_gso_segments() == 1 {
            self.restore_gso();
        }
        sent
    }

    /// Sends the first of these transmits by one system call, as many as it takes. Returns how many
    /// are gone. The next one is for [`send`](Self::send), which tells what is the matter with it.
    #[cfg(target_os = "linux")]
    pub(crate) fn send_together(&mut self, trains: &[(Transmit, &[u8])]) -> usize {
        let messages: heapless::Vec<_, TOGETHER_MAX> = trains
            .iter()
            .map_while(|(transmit, contents)| self.message(transmit, contents))
            .take(TOGETHER_MAX)
            .collect();
        if messages.is_empty() {
            return 0;
        }
        let gone = together::send(self.socket.as_fd(), &messages).unwrap_or(0);
        let datagrams = |message: &Message<'_>| {
            let len = message.segment_len.unwrap_or(message.contents.len());
            message.contents.len().div_ceil(len.max(1)) as u64
        };
        self.counters.sends += u64::from(gone > 0);
        self.counters.datagrams += messages.iter().take(gone).map(datagrams).sum::<u64>();
        gone
    }

    /// A transmit that can go out whole. `None`: it cannot, or can go nowhere.
    #[cfg(target_os = "linux")]
    fn message<'a>(&self, transmit: &Transmit, contents: &'a [u8]) -> Option<Message<'a>> {
        let (destination, source) = self.ends(transmit)?;
        let len = transmit.segment_size.unwrap_or(contents.len()).max(1);
        if contents.len().div_ceil(len) > self.segments_max(len) {
            return None;
        }
        Some(Message {
            destination,
            source,
            contents,
            segment_len: (contents.len() > len).then_some(len),
        })
    }

    /// Where it goes, and where from if that is told, as this socket's family writes it. `None`: it
    /// cannot go there.
    fn ends(&self, transmit: &Transmit) -> Option<(SocketAddr, Option<IpAddr>)> {
        let destination = self.for_this_family(transmit.destination)?;
        let source = self.for_this_family(transmit.source).filter(|source| {
            !transmit.source.ip().is_unspecified() && source.is_ipv4() == destination.is_ipv4()
        });
        Some((destination, source.map(|source| source.ip())))
    }

    /// The source address of a datagram that was dropped since the last call because this machine
    /// has the address no more; the last one, if there were several. To be asked for after a turn,
    /// and told to [`on_send_failed`](crate::interfaces::InterfaceProvider::on_send_failed). Costs
    /// nothing unless a send failed, and a few system calls if one did.
    ///
    /// What the send itself says does not tell: Linux has `ENETUNREACH` for IPv4, which is also a
    /// missing route, and `EINVAL` for IPv6, which is also much else. So the address is tried.
    ///
    /// Sessions that used the address go on trying until they end, so it may be told many times.
    pub fn take_lost_address(&mut self) -> Option<IpAddr> {
        self.suspect.take().filter(|&address| is_gone(address))
    }

    /// `try_send` makes one system call.
    pub(super) fn send_chunks(
        &mut self,
        transmit: &Transmit,
        contents: &[u8],
        from: usize,
        mut try_send: impl FnMut(&Self, &Transmit, &[u8], usize) -> io::Result<()>,
    ) -> Sent {
        let segment_len = transmit.segment_size.unwrap_or(contents.len()).max(1);
        let mut segments_max = self.segments_max(segment_len);
        let mut refusal: Option<io::Error> = None;
        let mut next = from;
        while let Some(rest) = contents.get(next..).filter(|rest| !rest.is_empty()) {
            let chunk = &rest[..rest.len().min(segments_max * segment_len)];
            let result = try_send(self, transmit, chunk, segment_len);
            if matches!(&result, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                self.counters.full += 1;
                return Sent::Full { next };
            }
            let segments = chunk.len().div_ceil(segment_len) as u64;
            match result {
                Err(error) if segments > 1 && concerns_train(&error) => {
                    self.counters.trains_split += 1;
                    segments_max = 1;
                    refusal = Some(error);
                    continue;
                }
                Ok(()) => {
                    if let Some(refusal) = refusal.take() {
                        self.judge_gso(&refusal, segment_len);
                    }
                    self.counters.sends += 1;
                    self.counters.datagrams += segments;
                }
                Err(error) if refusal.as_ref().is_some_and(is_invalid) && is_invalid(&error) => {
                    // An address of the transmit cannot work: it meets every segment.
                    let segments = rest.len().div_ceil(segment_len) as u64;
                    self.count_dropped(&error, segments, transmit);
                    return Sent::Done;
                }
                Err(error) => self.count_dropped(&error, segments, transmit),
            }
            next += chunk.len();
        }
        Sent::Done
    }

    fn segments_max(&self, segment_len: usize) -> usize {
        if !self.gso {
            return 1;
        }
        self.state
            .max_gso_segments()
            .min(PAYLOAD_LEN_MAX / segment_len)
            .max(1)
    }

    pub(super) fn try_send(
        &self,
        transmit: &Transmit,
        chunk: &[u8],
        segment_len: usize,
    ) -> io::Result<()> {
        let (destination, src_ip) = self.ends(transmit).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                "an IPv6 destination on an IPv4 socket",
            )
        })?;
        let transmit = quinn_udp::Transmit {
            destination,
            ecn: None,
            contents: chunk,
            // Never on a single segment: it costs, and some devices refuse it.
            segment_size: (chunk.len() > segment_len).then_some(segment_len),
            src_ip,
        };
        self.state.try_send(self.sock_ref(), &transmit)
    }

    /// The address as this socket's family writes it.
    fn for_this_family(&self, address: SocketAddr) -> Option<SocketAddr> {
        match (self.local, address) {
            (SocketAddr::V6(_), SocketAddr::V4(_)) => {
                Some(SocketAddr::new(mapped(address.ip()).into(), address.port()))
            }
            (SocketAddr::V4(_), SocketAddr::V6(_)) => None,
            _ => Some(address),
        }
    }

    /// A train was refused with `refusal`, and a segment of it then went out alone: neither its
    /// addresses nor the route were at fault. Unless it can be its size, it is GSO.
    fn judge_gso(&mut self, refusal: &io::Error, segment_len: usize) {
        let may_be_its_size = segment_len > SAFE_SEGMENT_LEN && !is_io_error(refusal);
        if self.state.max_gso_segments() == 1 && !may_be_its_size {
            self.gso = false;
            warn!(local = %self.local, %refusal, "no UDP GSO here: sending costs more system calls");
        }
    }

    /// Has quinn-udp forget that it gave up GSO.
    fn restore_gso(&mut self) {
        match options::configure(&self.socket, self.local.is_ipv4()) {
            Ok(state) => self.state = state,
            Err(error) => warn!(local = %self.local, %error, "UDP GSO stays off for now"),
        }
    }

    fn count_dropped(&mut self, error: &io::Error, segments: u64, transmit: &Transmit) {
        let destination = transmit.destination;
        if quinn_udp::is_msg_size_err(error) {
            if self.counters.too_large == 0 {
                warn!(
                    local = %self.local, %destination, %error,
                    "a datagram was larger than the system sends: look at the MTU of the interfaces, \
                     and at what publishers send; further ones are logged at DEBUG and counted"
                );
            }
            self.counters.too_large += segments;
            debug!(%destination, "a datagram too large for the path was dropped");
        } else {
            if self.counters.failed == 0 {
                warn!(
                    local = %self.local, %destination, %error,
                    "datagrams could not be sent: look at routes, the firewall and whether this \
                     machine's addresses changed; further ones are logged at DEBUG and counted"
                );
            }
            self.counters.failed += segments;
            if !transmit.source.ip().is_unspecified() {
                self.suspect = Some(transmit.source.ip().to_canonical());
            }
            debug!(%destination, %error, "datagrams could not be sent");
        }
    }
}

/// Whether the segments of a train may do better one by one. Other errors (no route, a firewall)
/// meet each of them.
fn concerns_train(error: &io::Error) -> bool {
    quinn_udp::is_msg_size_err(error) || is_io_error(error) || is_invalid(error)
}

/// `EINVAL`: a device without GSO, or an address that cannot work.
fn is_invalid(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

/// Whether this machine has no such address (any more), which systems say when it is bound to.
fn is_gone(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0))
        .is_err_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
}

/// `EIO`: the device cannot compute the checksums that GSO needs, whatever the size.
#[cfg(unix)]
fn is_io_error(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EIO)
}

#[cfg(not(unix))]
fn is_io_error(_error: &io::Error) -> bool {
    false
}
