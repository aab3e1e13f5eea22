//! RTP packets (RFC 3550 §5.1): read, written, and as the program itself passes them in and gets them.

use std::sync::Arc;
use std::time::Instant;

use crate::media::MediaKind;

/// Bytes of an RTP header as it is written here: no CSRCs, no extension.
pub(crate) const HEADER_LEN: usize = 12;

/// One RTP packet that a program publishes, see [`handle_packet`](crate::Server::handle_packet).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpPacket<'a> {
    /// The sequence number, which wraps. Packets may come out of order.
    pub sequence: u16,
    /// The RTP timestamp, in units of the codec's clock.
    pub timestamp: u32,
    /// The marker bit: of video, the last packet of a frame.
    pub marker: bool,
    /// The payload in the codec's RTP format. At most [`PAYLOAD_LEN_MAX`] bytes are forwarded.
    pub payload: &'a [u8],
}

/// The largest RTP payload that is forwarded, in bytes. As SRTP and with the two bytes of an RTX
/// header it fills 1,500 bytes.
pub const PAYLOAD_LEN_MAX: usize = 1500 - HEADER_LEN - 16 - 2;

impl<'a> RtpPacket<'a> {
    /// Reads a whole RTP packet, as it comes by UDP without SRTP. CSRCs, header extensions and
    /// padding are left out; payload type and SSRC are the caller's to look at. `None`: it is no RTP
    /// packet.
    #[must_use]
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let header = Header::parse(packet)?;
        Some(Self {
            sequence: header.number,
            timestamp: header.timestamp,
            marker: header.marker,
            payload: header.unpadded(packet.get(header.len..)?)?,
        })
    }
}

/// One packet of a path, for a program that watches it. Cheap to clone: the payload is shared with
/// all who watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackPacket {
    /// Of which track.
    pub kind: MediaKind,
    /// The track's extended sequence number: it never wraps, and goes on when another publisher
    /// takes over. The lower 16 bits are what stands in an RTP header.
    pub sequence: u64,
    /// The RTP timestamp, in units of the codec's clock. It goes on as well.
    pub timestamp: u32,
    /// The marker bit: of video, the last packet of a frame.
    pub marker: bool,
    /// When it came in.
    pub arrived: Instant,
    /// The payload in the codec's RTP format.
    pub payload: Arc<[u8]>,
}

impl TrackPacket {
    /// Appends the packet as RTP to `out`: 12 bytes of header, then the payload. `payload_type` is
    /// below 128, and is to say what the codec is; `ssrc` is the same for all packets of a track.
    pub fn write_rtp(&self, payload_type: u8, ssrc: u32, out: &mut Vec<u8>) {
        let parts = (self.sequence, self.timestamp, self.marker);
        out.extend(write_header(payload_type & 0x7f, ssrc, parts));
        out.extend_from_slice(&self.payload);
    }
}

/// Version 2, no padding, no extension, no CSRCs. Of the sequence number the lower 16 bits count.
/// Written for every packet and viewer.
#[inline]
pub(crate) fn write_header(
    payload_type: u8,
    ssrc: u32,
    (sequence, timestamp, marker): (u64, u32, bool),
) -> [u8; HEADER_LEN] {
    let [.., seq_high, seq_low] = sequence.to_be_bytes();
    let [t0, t1, t2, t3] = timestamp.to_be_bytes();
    let [s0, s1, s2, s3] = ssrc.to_be_bytes();
    let second = u8::from(marker) << 7 | payload_type;
    [
        0x80, second, seq_high, seq_low, t0, t1, t2, t3, s0, s1, s2, s3,
    ]
}

/// The header of an RTP packet. Nothing has shown that it is genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) payload_type: u8,
    pub(crate) marker: bool,
    pub(crate) has_padding: bool,
    pub(crate) number: u16,
    pub(crate) timestamp: u32,
    pub(crate) ssrc: u32,
    /// Bytes before the payload, with CSRCs and extension.
    pub(crate) len: usize,
}

impl Header {
    /// `None` for what is no RTP, or ends within its header.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        let ([first, second, n0, n1, t0, t1, t2, t3, s0, s1, s2, s3], rest) =
            packet.split_first_chunk()?;
        if first >> 6 != 2 {
            return None;
        }
        let csrcs = usize::from(first & 0x0f) * 4;
        let mut len = 12 + csrcs;
        if first & 0x10 != 0 {
            let [_, _, high, low] = rest.get(csrcs..)?.first_chunk()?;
            len += 4 + usize::from(u16::from_be_bytes([*high, *low])) * 4;
        }
        (len <= packet.len()).then_some(Self {
            payload_type: second & 0x7f,
            marker: second & 0x80 != 0,
            has_padding: first & 0x20 != 0,
            number: u16::from_be_bytes([*n0, *n1]),
            timestamp: u32::from_be_bytes([*t0, *t1, *t2, *t3]),
            ssrc: u32::from_be_bytes([*s0, *s1, *s2, *s3]),
            len,
        })
    }

    /// A decrypted payload without its padding.
    pub(crate) fn unpadded<'a>(&self, payload: &'a [u8]) -> Option<&'a [u8]> {
        if !self.has_padding {
            return Some(payload);
        }
        let padding = usize::from(*payload.last()?);
        payload.get(..payload.len().checked_sub(padding)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_with_everything_is_read() {
        let mut packet = vec![
            0xb2, 0xe0, 0x12, 0x34, 0, 0, 0, 9, 0, 0, 0, 7, 1, 1, 1, 1, 2, 2, 2, 2,
        ];
        packet.extend([0xbe, 0xde, 0, 1, 0x10, 0x30, 0, 0]);
        packet.extend([5, 6, 7, 0, 2]);
        let header = Header::parse(&packet).unwrap();
        let expected = Header {
            payload_type: 96,
            marker: true,
            has_padding: true,
            number: 0x1234,
            timestamp: 9,
            ssrc: 7,
            len: 28,
        };
        assert_eq!(header, expected);
        assert_eq!(header.unpadded(&packet[28..]), Some(&[5, 6, 7][..]));
        for len in 0..28 {
            assert_eq!(Header::parse(&packet[..len]), None, "{len}");
        }
    }

    #[test]
    fn padding_that_is_longer_than_its_payload_is_none() {
        let packet = [0xa0, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7];
        let header = Header::parse(&packet).unwrap();
        assert_eq!(header.unpadded(&[]), None);
        assert_eq!(header.unpadded(&[0, 3]), None);
        assert_eq!(header.unpadded(&[0, 2]), Some(&[][..]));
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the arrival"
    )]
    fn what_is_written_is_read() {
        let packet = TrackPacket {
            kind: MediaKind::Video,
            sequence: 0x12_3456,
            timestamp: 0xdead_beef,
            marker: true,
            arrived: Instant::now(),
            payload: [1, 2, 3].into(),
        };
        let mut written = Vec::new();
        packet.write_rtp(96, 7, &mut written);
        assert_eq!(written.len(), HEADER_LEN + 3);
        let read = RtpPacket::parse(&written).unwrap();
        assert_eq!(
            (read.sequence, read.timestamp, read.marker, read.payload),
            (0x3456, 0xdead_beef, true, [1, 2, 3].as_slice())
        );
        let header = Header::parse(&written).unwrap();
        assert_eq!((header.payload_type, header.ssrc), (96, 7));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(header) = Header::parse(&bytes) {
                prop_assert!(header.len <= bytes.len());
                header.unpadded(&bytes[header.len..]);
            }
            let _ = RtpPacket::parse(&bytes);
        }
    }
}
