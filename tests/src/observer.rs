//! What the server and its publishers send, seen where it leaves: before any of it is lost.
//!
//! The nonce of an SRTP packet is its key, SSRC and index, of which the index's upper part is
//! never sent. An [`Observer`] works the indices out as a receiver does (RFC 3711 §3.3.1), and
//! holds that what comes twice under one index is the same bytes: so it was the same plaintext.
//! Every client has keys of its own, so the address that it first had stands for the key.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::memory::{Crossing, Way};

/// See the module.
#[derive(Debug, Default)]
pub struct Observer {
    streams: HashMap<(SocketAddr, u32), Stream>,
    /// The same of what publishers send.
    published: HashMap<(SocketAddr, u32), Stream>,
    reports: HashMap<(SocketAddr, u32, u32), Seal>,
    /// The addresses that clients have now, and those that they first had.
    moved: HashMap<SocketAddr, SocketAddr>,
}

/// One SSRC under one key.
#[derive(Debug, Default)]
pub struct Stream {
    sealed: HashMap<u64, Seal>,
    /// The highest index sealed.
    pub highest: u64,
    /// The lowest index sealed.
    pub lowest: u64,
    /// The payload type.
    pub payload_type: u8,
    /// Packets, those that came again too.
    pub packets: u64,
    /// Their UDP payload bytes.
    pub bytes: u64,
    /// Those that came again under their index.
    pub repeats: u64,
    /// Their UDP payload bytes.
    pub repeated_bytes: u64,
}

/// What tells two sealed packets apart: their lengths and the ends of them, which is where the
/// authentication tags are.
type Seal = (usize, [u8; 24]);

fn seal(datagram: &[u8]) -> Seal {
    let mut end = [0; 24];
    let len = end.len().min(datagram.len());
    end[..len].copy_from_slice(&datagram[datagram.len() - len..]);
    (datagram.len(), end)
}

/// An SRTP packet on its way to a viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The address that the viewer first had.
    pub viewer: SocketAddr,
    /// In the clear.
    pub ssrc: u32,
    /// Worked out.
    pub index: u64,
}

impl Observer {
    /// Looks at a datagram. Tells of it if it is an SRTP packet to a viewer.
    ///
    /// # Panics
    ///
    /// If two plaintexts have been sealed under one nonce.
    pub fn see(&mut self, crossing: &Crossing<'_>) -> Option<Seen> {
        let client = self.resident(crossing.client);
        match (crossing.way, crossing.contents) {
            (Way::ToClient, [128..192, 192..224, ..]) => {
                self.see_report(client, crossing.contents);
                None
            }
            (Way::ToClient, [128..192, ..]) => {
                Some(see_packet(&mut self.streams, client, crossing.contents))
            }
            (Way::ToServer, [128..192, ..192 | 224.., ..]) => {
                see_packet(&mut self.published, client, crossing.contents);
                None
            }
            _ => None,
        }
    }

    /// SRTCP with AEAD has its index at the end (RFC 7714 §9.2).
    fn see_report(&mut self, to: SocketAddr, datagram: &[u8]) {
        let ssrc = u32::from_be_bytes(datagram[4..8].try_into().expect("an RTCP header"));
        let index = datagram.last_chunk().expect("an SRTCP index");
        let index = u32::from_be_bytes(*index) & 0x7fff_ffff;
        let seal = seal(datagram);
        let sealed = *self.reports.entry((to, ssrc, index)).or_insert(seal);
        assert!(
            sealed == seal,
            "{to}: two reports under SSRC {ssrc:x}, index {index}"
        );
    }

    /// A client has another address, and the same keys.
    pub fn on_moved(&mut self, old: SocketAddr, new: SocketAddr) {
        // What is still sent to the old address is its as well.
        let resident = self.resident(old);
        self.moved.insert(new, resident);
    }

    /// The address that the client first had that has this one, or had it.
    #[must_use]
    pub fn resident(&self, client: SocketAddr) -> SocketAddr {
        self.moved.get(&client).copied().unwrap_or(client)
    }

    /// What was sent with an SSRC to a viewer, by the address that it first had.
    #[must_use]
    pub fn stream(&self, viewer: SocketAddr, ssrc: u32) -> Option<&Stream> {
        self.streams.get(&(viewer, ssrc))
    }

    /// What was sent to a viewer, by the address that it first had: each SSRC, in no order.
    pub fn viewed(&self, viewer: SocketAddr) -> impl Iterator<Item = (u32, &Stream)> {
        of(&self.streams, viewer)
    }

    /// What a publisher sent, by the address that it first had: each SSRC, in no order.
    pub fn published(&self, publisher: SocketAddr) -> impl Iterator<Item = (u32, &Stream)> {
        of(&self.published, publisher)
    }

    /// How many indices have been sealed.
    #[must_use]
    pub fn sealed(&self) -> usize {
        self.streams.values().map(|s| s.sealed.len()).sum()
    }

    /// The highest roll-over count of any stream.
    #[must_use]
    pub fn roll_overs(&self) -> u64 {
        let counts = self.streams.values().map(|s| s.highest >> 16);
        counts.max().unwrap_or(0)
    }
}

fn of(
    streams: &HashMap<(SocketAddr, u32), Stream>,
    client: SocketAddr,
) -> impl Iterator<Item = (u32, &Stream)> {
    let own = streams.iter().filter(move |((of, _), _)| *of == client);
    own.map(|((_, ssrc), stream)| (*ssrc, stream))
}

/// Takes a packet into the streams that it belongs to.
fn see_packet(
    streams: &mut HashMap<(SocketAddr, u32), Stream>,
    client: SocketAddr,
    datagram: &[u8],
) -> Seen {
    let header: &[u8; 12] = datagram.first_chunk().expect("an RTP header");
    let seq = u16::from_be_bytes([header[2], header[3]]);
    let ssrc = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
    let stream = streams.entry((client, ssrc)).or_default();
    let index = match stream.sealed.is_empty() {
        true => u64::from(seq),
        false => index(stream.highest, seq),
    };
    if stream.sealed.is_empty() {
        stream.lowest = index;
        stream.payload_type = header[1] & 0x7f;
    }
    let len = datagram.len() as u64;
    stream.highest = stream.highest.max(index);
    stream.lowest = stream.lowest.min(index);
    stream.packets += 1;
    stream.bytes += len;
    let seal = seal(datagram);
    if let Some(before) = stream.sealed.insert(index, seal) {
        assert!(
            before == seal,
            "{client}: two plaintexts under SSRC {ssrc:x}, index {index}"
        );
        stream.repeats += 1;
        stream.repeated_bytes += len;
    }
    Seen {
        viewer: client,
        ssrc,
        index,
    }
}

/// The index of a packet that comes when `highest` is the highest so far: the nearest that has
/// this sequence number.
fn index(highest: u64, seq: u16) -> u64 {
    let candidates = [0, 1, 2].map(|i| ((highest >> 16) + i) << 16 | u64::from(seq));
    let nearest = candidates
        .into_iter()
        .filter_map(|c| c.checked_sub(1 << 16));
    nearest
        .min_by_key(|c| c.abs_diff(highest))
        .expect("two candidates at least")
}
