//! Packets as a publisher's repair needs them: RTP headers read (RFC 3550 §5.1), requests written
//! (RFC 4585 §6.2.1).

use crate::ingest::nacks::{ENTRIES_MAX, Entries};
use crate::rtcp::{Cname, RECEIVER_REPORT, SOURCE_DESCRIPTION, TRANSPORT_FEEDBACK};

/// The header of an RTP packet. Nothing has shown that it is genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) payload_type: u8,
    pub(super) marker: bool,
    pub(super) has_padding: bool,
    pub(super) number: u16,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
    /// Bytes before the payload, with CSRCs and extension.
    pub(super) len: usize,
}

impl Header {
    /// `None` for what is no RTP, or ends within its header.
    pub(super) fn parse(packet: &[u8]) -> Option<Self> {
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
    pub(super) fn unpadded<'a>(&self, payload: &'a [u8]) -> Option<&'a [u8]> {
        if !self.has_padding {
            return Some(payload);
        }
        let padding = usize::from(*payload.last()?);
        payload.get(..payload.len().checked_sub(padding)?)
    }
}

/// Characters of a canonical name.
const CNAME_LEN: usize = size_of::<Cname>();

/// Bytes of a receiver report without reports.
const EMPTY_REPORT_LEN: usize = 8;

/// Bytes of an SDES packet with one CNAME.
const DESCRIPTION_LEN: usize = 4 + 4 + 2 + CNAME_LEN + 2;

/// The longest request.
const REQUEST_LEN_MAX: usize = EMPTY_REPORT_LEN + DESCRIPTION_LEN + 12 + ENTRIES_MAX * 4;

const _: () = assert!(DESCRIPTION_LEN.is_multiple_of(4) && REQUEST_LEN_MAX < 1200);

/// Asks for packets of `media` again, in the name of `sender`. With a `cname` as a compound packet
/// that begins as RFC 3550 §6.1 has it, else in the reduced size of RFC 5506. Ends with `room`
/// bytes of zeros.
#[expect(
    clippy::cast_possible_truncation,
    reason = "both are short: see REQUEST_LEN_MAX"
)]
pub(super) fn request(
    sender: u32,
    media: u32,
    entries: &Entries,
    cname: Option<&Cname>,
    room: usize,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(REQUEST_LEN_MAX + room);
    if let Some(cname) = cname {
        out.extend([0x80, RECEIVER_REPORT, 0, 1]);
        out.extend(sender.to_be_bytes());
        let words = (DESCRIPTION_LEN / 4 - 1) as u8;
        out.extend([0x81, SOURCE_DESCRIPTION, 0, words]);
        out.extend(sender.to_be_bytes());
        out.extend([1, CNAME_LEN as u8]);
        out.extend(cname);
        out.extend([0, 0]);
    }
    out.extend([0x81, TRANSPORT_FEEDBACK]);
    out.extend((2 + entries.len() as u16).to_be_bytes());
    out.extend(sender.to_be_bytes());
    out.extend(media.to_be_bytes());
    for (number, following) in entries {
        out.extend(number.to_be_bytes());
        out.extend(following.to_be_bytes());
    }
    out.resize(out.len() + room, 0);
    out
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
    fn a_request_is_well_formed() {
        let entries = Entries::from_slice(&[(65_535, 0x8001), (9, 0)]).unwrap();
        let reduced = [
            0x81, 205, 0, 4, 0, 0, 0, 5, 0, 0, 0, 7, 0xff, 0xff, 0x80, 1, 0, 9, 0, 0,
        ];
        assert_eq!(request(5, 7, &entries, None, 0), reduced);
        let compound = request(5, 7, &entries, Some(b"0123456789abcdef"), 3);
        assert_eq!(compound[..8], [0x80, 201, 0, 1, 0, 0, 0, 5]);
        assert_eq!(compound[8..16], [0x81, 202, 0, 6, 0, 0, 0, 5]);
        assert_eq!(compound[16..36], *b"\x01\x100123456789abcdef\0\0");
        assert_eq!(compound[36..56], reduced);
        assert_eq!(compound[56..], [0; 3]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(header) = Header::parse(&bytes) {
                prop_assert!(header.len <= bytes.len());
                header.unpadded(&bytes[header.len..]);
            }
        }
    }
}
