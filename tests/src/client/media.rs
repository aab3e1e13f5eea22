//! Media under a test's control: packets whose numbers, marks and bytes the test knows.
//!
//! The payloads are noise behind headers that are real enough for a server to tell a keyframe and
//! the first packet of a frame. No two packets of a process carry the same bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use str0m::format::Codec;
use str0m::rtp::RtpPacket;

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
    noise: fastrand::Rng,
}

/// Keeps all payloads of a process apart.
static STAMP: AtomicU64 = AtomicU64::new(0);

/// Bytes that identify a payload, big endian, at its end.
const STAMP_LEN: usize = 8;

impl Source {
    /// A track that starts with these numbers. The noise comes from fastrand's generator of this
    /// thread, hence from the test's seed.
    #[must_use]
    pub fn new(codec: Codec, seq: u64, timestamp: u32) -> Self {
        Self {
            codec,
            seq,
            timestamp,
            step: if codec.is_video() { 3000 } else { 960 },
            noise: fastrand::Rng::with_seed(fastrand::u64(..)),
        }
    }

    /// The codec.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// A frame that needs no other to be decoded, in `packets` packets of `len` payload bytes
    /// (16 at least, 40 for H.264).
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
                let seq = self.seq;
                self.seq += 1;
                Packet {
                    seq,
                    timestamp: self.timestamp,
                    marker: self.codec.is_video() && i + 1 == packets,
                    payload: self.payload(key, i, packets, len),
                }
            })
            .collect();
        self.timestamp = self.timestamp.wrapping_add(self.step);
        frame
    }

    fn payload(&mut self, key: bool, index: usize, count: usize, len: usize) -> Arc<[u8]> {
        let mut payload = match self.codec {
            Codec::Vp8 => vp8_head(key, index),
            Codec::H264 => h264_head(key, index, count, len),
            Codec::Opus => vec![0x78],
            other => panic!("no test media for {other}: use VP8, H264 or Opus"),
        };
        assert!(
            payload.len() + STAMP_LEN <= len,
            "{len} bytes are too few for a {} packet",
            self.codec
        );
        let noise = len - STAMP_LEN - payload.len();
        payload.extend(std::iter::repeat_with(|| self.noise.u8(..)).take(noise));
        payload.extend(STAMP.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        payload.into()
    }
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
