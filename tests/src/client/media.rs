//! Media under a test's control: packets whose numbers, marks and bytes the test knows.
//!
//! The payloads are noise behind headers that are real enough for a server to tell a keyframe and
//! the first packet of a frame, and end with the packet's [`Name`]. No two packets of a world carry
//! the same bytes, as long as their sources have numbers of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use str0m::format::Codec;
use str0m::rtp::RtpPacket;

use super::name::NAME_LEN;
pub use super::name::Name;

/// One RTP packet to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Extended sequence number; its low 16 bits go onto the wire. The first of a publisher must
    /// be below 65,536, or the receiver's guess of the roll-over count is wrong (RFC 3711 §3.3.1).
    pub seq: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit: the last packet of a video frame.
    pub marker: bool,
    /// RTP payload.
    pub payload: Arc<[u8]>,
}

/// Makes one track's packets in order.
#[derive(Debug, Clone)]
pub struct Source {
    codec: Codec,
    /// Sequence number of the next packet, see [`Packet::seq`].
    pub seq: u64,
    /// RTP timestamp of the next frame.
    pub timestamp: u32,
    /// How far the timestamp moves with every frame: 3,000 for video (30 per second), 960 for
    /// Opus (50 per second) unless it is set to something else.
    pub step: u32,
    /// What its packets' names say of it.
    number: u32,
    first: u64,
    frames: u32,
}

/// Keeps the sources of a process apart that are given no number.
static NUMBER: AtomicU32 = AtomicU32::new(1 << 31);

impl Source {
    /// A track that starts with these numbers.
    #[must_use]
    pub fn new(codec: Codec, seq: u64, timestamp: u32) -> Self {
        Self::numbered(
            NUMBER.fetch_add(1, Ordering::Relaxed),
            codec,
            seq,
            timestamp,
        )
    }

    /// The same, with a number of its own in its packets' names, below 2³¹.
    #[must_use]
    pub fn numbered(number: u32, codec: Codec, seq: u64, timestamp: u32) -> Self {
        Self {
            codec,
            seq,
            timestamp,
            step: if codec.is_video() { 3000 } else { 960 },
            number,
            first: seq,
            frames: 0,
        }
    }

    /// What its packets' names say of it.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The codec.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// A frame that needs no other to be decoded, in `packets` packets of `len` payload bytes
    /// (26 at least, 40 for H.264).
    pub fn keyframe(&mut self, packets: usize, len: usize) -> Vec<Packet> {
        self.frame(true, packets, len)
    }

    /// A frame that builds on the one before; for audio, one packet as good as any.
    pub fn delta(&mut self, packets: usize, len: usize) -> Vec<Packet> {
        self.frame(false, packets, len)
    }

    /// Leaves out `numbers` sequence numbers: what a receiver sees when they were lost.
    pub fn skip(&mut self, numbers: u64) {
        self.seq += numbers;
    }

    fn frame(&mut self, key: bool, packets: usize, len: usize) -> Vec<Packet> {
        let frame = (0..packets)
            .map(|i| {
                let name = self.name(key, i, packets);
                let seq = self.seq;
                self.seq += 1;
                Packet {
                    seq,
                    timestamp: self.timestamp,
                    marker: self.codec.is_video() && i + 1 == packets,
                    payload: payload(self.codec, &name, len).into(),
                }
            })
            .collect();
        self.timestamp = self.timestamp.wrapping_add(self.step);
        self.frames += 1;
        frame
    }

    fn name(&self, key: bool, index: usize, count: usize) -> Name {
        Name {
            source: self.number,
            frame: self.frames,
            ordinal: u32::try_from(self.seq - self.first).expect("a short test"),
            index: u16::try_from(index).expect("a frame of few packets"),
            count: u16::try_from(count).expect("a frame of few packets"),
            key,
        }
    }
}

/// The payload of a name: what a source of this codec makes, and a viewer has to get.
///
/// # Panics
///
/// If it does not fit into `len` bytes, or there is no such test media.
#[must_use]
pub fn payload(codec: Codec, name: &Name, len: usize) -> Vec<u8> {
    let (index, count) = (usize::from(name.index), usize::from(name.count));
    let mut payload = match codec {
        Codec::Vp8 => vp8_head(name.key, index),
        Codec::H264 => h264_head(name.key, index, count, len),
        Codec::Opus => vec![0x78],
        other => panic!("no test media for {other}: use VP8, H264 or Opus"),
    };
    assert!(
        payload.len() + NAME_LEN <= len,
        "{len} bytes are too few for a {codec} packet"
    );
    name.fill(&mut payload, len);
    payload
}

/// Compares what a viewer gets with what was published, packet by packet.
///
/// The viewer's sequence numbers and timestamps may differ from the publisher's by a constant;
/// nothing else may.
#[derive(Debug, Clone, Copy, Default)]
pub struct Follower {
    /// Packets that were right so far.
    pub count: usize,
    offsets: Option<(u64, u32)>,
}

impl Follower {
    /// Follows from the packet `count` of what was published.
    #[must_use]
    pub fn starting_at(count: usize) -> Self {
        Self {
            count,
            offsets: None,
        }
    }

    /// Says what is wrong with the next packet, if anything is. `published` is the whole track.
    pub fn follow(&mut self, published: &[Packet], got: &RtpPacket) -> Result<(), String> {
        let n = self.count;
        let Some(sent) = published.get(n) else {
            return Err(format!(
                "packet {n} came, {} were published",
                published.len()
            ));
        };
        let seq = got.seq_no.wrapping_sub(sent.seq);
        let timestamp = got.header.timestamp.wrapping_sub(sent.timestamp);
        let offsets = *self.offsets.get_or_insert((seq, timestamp));
        if offsets != (seq, timestamp) {
            return Err(format!(
                "packet {n}: the distance of (sequence number, timestamp) to the publisher's was \
                 {offsets:?} and is {:?}",
                (seq, timestamp)
            ));
        }
        if got.header.marker != sent.marker {
            return Err(format!("packet {n}: the marker is {}", got.header.marker));
        }
        if got.payload != sent.payload {
            return Err(format!("packet {n}: the payload differs"));
        }
        self.count += 1;
        Ok(())
    }
}

/// Payload descriptor (RFC 7741 §4.2), in the first packet the frame header too (RFC 6386 §9.1).
fn vp8_head(key: bool, index: usize) -> Vec<u8> {
    match (index, key) {
        (0, true) => vec![0x10, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01],
        (0, false) => vec![0x10, 0x11, 0x02, 0x00],
        _ => vec![0x00],
    }
}

/// NAL unit headers (RFC 6184 §5). A keyframe starts with parameter sets in a STAP-A, which also
/// holds the whole IDR slice if there is only one packet, else an SEI; then come the slice's
/// fragments. Any other frame is one slice, whole or in fragments.
fn h264_head(key: bool, index: usize, count: usize, len: usize) -> Vec<u8> {
    const STAP_A: u8 = 0x78;
    const FU_A: u8 = 0x7c;
    const SPS: [u8; 8] = [0, 6, 0x67, 0x42, 0xe0, 0x1f, 0xda, 0x05];
    const PPS: [u8; 6] = [0, 4, 0x68, 0xce, 0x06, 0xe2];
    const SEI: u8 = 0x06;
    const IDR: u8 = 0x65;
    const NON_IDR: u8 = 0x41;

    if key && index == 0 {
        let mut head = vec![STAP_A];
        head.extend(SPS);
        head.extend(PPS);
        let rest = u16::try_from(len.saturating_sub(head.len() + 2)).expect("an RTP payload");
        head.extend(rest.to_be_bytes());
        head.push(if count == 1 { IDR } else { SEI });
        return head;
    }
    let (slice, first) = if key { (IDR, 1) } else { (NON_IDR, 0) };
    if count - first == 1 {
        return vec![slice];
    }
    let start = u8::from(index == first) << 7;
    let end = u8::from(index + 1 == count) << 6;
    vec![FU_A, start | end | (slice & 0x1f)]
}
