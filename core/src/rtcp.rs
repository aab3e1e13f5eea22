//! RTCP (RFC 3550 §6, RFC 4585 §6): what viewers are sent, written in place, and what they send,
//! read through views that neither copy nor panic.

/// Bytes of one SDES chunk of ours: SSRC, a CNAME of [`CNAME_LEN`] characters, its end.
const SDES_CHUNK_LEN: usize = 4 + 2 + CNAME_LEN + 2;

/// Characters of a canonical name: with two bytes of item header and two of end it is a multiple
/// of four.
pub(crate) const CNAME_LEN: usize = 16;

const SENDER_REPORT_LEN: usize = 28;

/// Room for the largest compound packet that a viewer is sent: sender reports of two tracks, SDES
/// and BYE for both.
pub(crate) const COMPOUND_LEN_MAX: usize =
    2 * SENDER_REPORT_LEN + 4 + 2 * SDES_CHUNK_LEN + 4 + 2 * 4;

/// A canonical name (RFC 7022).
pub(crate) type Cname = [u8; CNAME_LEN];

const SENDER_REPORT: u8 = 200;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const PAYLOAD_FEEDBACK: u8 = 206;

/// What a sender says of one stream (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SenderReport {
    pub(crate) ssrc: u32,
    /// Seconds since 1900, 32 bits before and 32 behind the point.
    pub(crate) ntp: u64,
    pub(crate) timestamp: u32,
    pub(crate) packets: u32,
    pub(crate) octets: u32,
}

/// Builds a compound packet in a buffer of fixed size.
pub(crate) type Compound = heapless::Vec<u8, COMPOUND_LEN_MAX>;

/// A compound packet: reports, SDES with one CNAME for all, and BYE if `bye`. Empty if there is
/// nothing to report.
#[expect(
    clippy::cast_possible_truncation,
    reason = "two reports and sixteen characters at most"
)]
pub(crate) fn compound(reports: &[SenderReport], cname: &Cname, bye: bool) -> Compound {
    let mut out = Compound::new();
    debug_assert!(reports.len() <= 2);
    let count = reports.len() as u8;
    for r in reports {
        put(&mut out, &header(0, SENDER_REPORT, SENDER_REPORT_LEN));
        put(&mut out, &r.ssrc.to_be_bytes());
        put(&mut out, &r.ntp.to_be_bytes());
        put(&mut out, &r.timestamp.to_be_bytes());
        put(&mut out, &r.packets.to_be_bytes());
        put(&mut out, &r.octets.to_be_bytes());
    }
    if reports.is_empty() {
        return out;
    }
    put(
        &mut out,
        &header(
            count,
            SOURCE_DESCRIPTION,
            4 + reports.len() * SDES_CHUNK_LEN,
        ),
    );
    for r in reports {
        put(&mut out, &r.ssrc.to_be_bytes());
        put(&mut out, &[1, CNAME_LEN as u8]);
        put(&mut out, cname);
        put(&mut out, &[0, 0]);
    }
    if bye {
        put(&mut out, &header(count, GOODBYE, 4 + reports.len() * 4));
        for r in reports {
            put(&mut out, &r.ssrc.to_be_bytes());
        }
    }
    out
}

fn put(out: &mut Compound, bytes: &[u8]) {
    let fits = out.extend_from_slice(bytes).is_ok();
    debug_assert!(fits, "COMPOUND_LEN_MAX is too small");
}

/// `len` counts the whole packet, in bytes.
#[expect(
    clippy::cast_possible_truncation,
    reason = "no packet is longer than COMPOUND_LEN_MAX"
)]
fn header(count: u8, packet_type: u8, len: usize) -> [u8; 4] {
    let words = (len / 4 - 1) as u16;
    let [high, low] = words.to_be_bytes();
    [0x80 | count, packet_type, high, low]
}

/// What a viewer may say that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feedback {
    /// Picture loss (RFC 4585 §6.3.1) or full intra request (RFC 5104 §4.3.1) for an SSRC.
    Keyframe { ssrc: u32 },
    /// It goes.
    Goodbye,
}

/// The feedback in a decrypted compound packet, in order. Ends at the first byte that is not RTCP.
pub(crate) fn feedback(compound: &[u8]) -> impl Iterator<Item = Feedback> + '_ {
    Packets { rest: compound }.flat_map(|p| p.feedback())
}

/// Walks a compound packet.
struct Packets<'a> {
    rest: &'a [u8],
}

struct Packet<'a> {
    /// Count or format: the lower five bits of the first byte.
    format: u8,
    packet_type: u8,
    /// What follows the four bytes of header.
    body: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        let ([first, packet_type, high, low], rest) = self.rest.split_first_chunk::<4>()?;
        if first >> 6 != 2 {
            return None;
        }
        let len = usize::from(u16::from_be_bytes([*high, *low])) * 4;
        let (body, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some(Packet {
            format: first & 0x1f,
            packet_type: *packet_type,
            body,
        })
    }
}

impl<'a> Packet<'a> {
    fn feedback(&self) -> impl Iterator<Item = Feedback> + use<'a> {
        let (single, entries) = match (self.packet_type, self.format) {
            (PAYLOAD_FEEDBACK, 1) => {
                let ssrc = self.body.get(4..8).and_then(|b| b.first_chunk()).copied();
                (
                    ssrc.map(|b| Feedback::Keyframe {
                        ssrc: u32::from_be_bytes(b),
                    }),
                    [].as_slice(),
                )
            }
            (PAYLOAD_FEEDBACK, 4) => (None, self.body.get(8..).unwrap_or_default()),
            (GOODBYE, _) => (Some(Feedback::Goodbye), [].as_slice()),
            _ => (None, [].as_slice()),
        };
        let fir = entries.chunks_exact(8).filter_map(|e| {
            e.first_chunk().map(|b| Feedback::Keyframe {
                ssrc: u32::from_be_bytes(*b),
            })
        });
        single.into_iter().chain(fir)
    }
}

/// Whether a datagram that is RTP or RTCP by its first byte is RTCP by its second (RFC 5761 §4).
pub(crate) fn is_rtcp(contents: &[u8]) -> bool {
    contents.get(1).is_some_and(|b| (192..=223).contains(b))
}

const _: () = assert!(SDES_CHUNK_LEN.is_multiple_of(4));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn report(ssrc: u32) -> SenderReport {
        SenderReport {
            ssrc,
            ntp: 0x0102_0304_0506_0708,
            timestamp: 9,
            packets: 10,
            octets: 11,
        }
    }

    #[test]
    fn a_compound_packet_is_well_formed() {
        let compound = compound(&[report(1), report(2)], b"0123456789abcdef", true);
        let packets: Vec<_> = Packets { rest: &compound }
            .map(|p| (p.packet_type, p.format, p.body.len()))
            .collect();
        assert_eq!(
            packets,
            [
                (SENDER_REPORT, 0, 24),
                (SENDER_REPORT, 0, 24),
                (SOURCE_DESCRIPTION, 2, 48),
                (GOODBYE, 2, 8)
            ]
        );
        assert_eq!(compound.len(), COMPOUND_LEN_MAX);
        assert_eq!(feedback(&compound).collect::<Vec<_>>(), [Feedback::Goodbye]);
    }

    #[test]
    fn keyframe_requests_are_read() {
        let pli = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 7];
        let fir = [
            0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8, 5, 0, 0, 0,
        ];
        let both = [&pli[..], &fir[..]].concat();
        assert_eq!(
            feedback(&both).collect::<Vec<_>>(),
            [
                Feedback::Keyframe { ssrc: 7 },
                Feedback::Keyframe { ssrc: 8 }
            ]
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(feedback(&bytes).count() <= bytes.len());
            is_rtcp(&bytes);
        }
    }
}
