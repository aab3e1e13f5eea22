//! How a publisher is asked for packets again (RFC 4585 §6.2.1).

use crate::ingest::nacks::{ENTRIES_MAX, Entries};
use crate::rtcp::{Cname, RECEIVER_REPORT, SOURCE_DESCRIPTION, TRANSPORT_FEEDBACK};

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
    use super::*;

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
}
