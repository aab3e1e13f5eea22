//! What a viewer is sent: reports, SDES, answers to reference times, and BYE, in one packet.

use crate::rtcp::{EXTENDED_REPORT, GOODBYE, REFERENCE_DELAY, SENDER_REPORT, SOURCE_DESCRIPTION};

/// Characters of a canonical name: with two bytes of item header and two of end it is a multiple
/// of four.
const CNAME_LEN: usize = 16;

/// Bytes of one SDES chunk of ours: SSRC, a CNAME of [`CNAME_LEN`] characters, its end.
const SDES_CHUNK_LEN: usize = 4 + 2 + CNAME_LEN + 2;

const _: () = assert!(SDES_CHUNK_LEN.is_multiple_of(4));

const SENDER_REPORT_LEN: usize = 28;

/// Bytes of an extended report with one block for so many reference times.
const fn delays_len(count: usize) -> usize {
    8 + 4 + 12 * count
}

/// How many reference times of one viewer are answered at once: a browser has one for video and
/// one for audio.
pub(crate) const REFERENCES_MAX: usize = 2;

/// Room for the largest packet that a viewer is sent: sender reports of two tracks, SDES, answers
/// to reference times, and BYE for both.
const COMPOUND_LEN_MAX: usize =
    2 * SENDER_REPORT_LEN + 4 + 2 * SDES_CHUNK_LEN + delays_len(REFERENCES_MAX) + 4 + 2 * 4;

/// A canonical name (RFC 7022).
pub(crate) type Cname = [u8; CNAME_LEN];

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

/// The answer to a receiver that told its clock (RFC 3611 §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReferenceTime {
    /// Who told it.
    pub(crate) ssrc: u32,
    /// What it told: the middle of its NTP time.
    pub(crate) ntp: u32,
    /// How long ago that was, in 65,536ths of a second.
    pub(crate) delay: u32,
}

/// Which parts a packet has beside its reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// None (RFC 5506).
    Reduced,
    /// SDES (RFC 3550 §6.1).
    Compound,
    /// SDES, and BYE.
    Last,
}

/// A packet in a buffer of fixed size.
pub(crate) type Compound = heapless::Vec<u8, COMPOUND_LEN_MAX>;

/// Reports, SDES with one CNAME for all, answers, and BYE. Empty if there is nothing to report.
#[expect(
    clippy::cast_possible_truncation,
    reason = "two reports and sixteen characters at most"
)]
pub(crate) fn compound(
    reports: &[SenderReport],
    cname: &Cname,
    answers: &[ReferenceTime],
    shape: Shape,
) -> Compound {
    let mut out = Compound::new();
    debug_assert!(reports.len() <= 2 && answers.len() <= REFERENCES_MAX);
    let count = reports.len() as u8;
    for r in reports {
        put(&mut out, &header(0, SENDER_REPORT, SENDER_REPORT_LEN));
        put(&mut out, &r.ssrc.to_be_bytes());
        put(&mut out, &r.ntp.to_be_bytes());
        put(&mut out, &r.timestamp.to_be_bytes());
        put(&mut out, &r.packets.to_be_bytes());
        put(&mut out, &r.octets.to_be_bytes());
    }
    let Some(first) = reports.first() else {
        return out;
    };
    if shape != Shape::Reduced {
        let len = 4 + reports.len() * SDES_CHUNK_LEN;
        put(&mut out, &header(count, SOURCE_DESCRIPTION, len));
        for r in reports {
            put(&mut out, &r.ssrc.to_be_bytes());
            put(&mut out, &[1, CNAME_LEN as u8]);
            put(&mut out, cname);
            put(&mut out, &[0, 0]);
        }
    }
    if !answers.is_empty() {
        put(
            &mut out,
            &header(0, EXTENDED_REPORT, delays_len(answers.len())),
        );
        put(&mut out, &first.ssrc.to_be_bytes());
        put(&mut out, &[REFERENCE_DELAY, 0, 0, 3 * answers.len() as u8]);
        for answer in answers {
            put(&mut out, &answer.ssrc.to_be_bytes());
            put(&mut out, &answer.ntp.to_be_bytes());
            put(&mut out, &answer.delay.to_be_bytes());
        }
    }
    if shape == Shape::Last {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::read::Packets;
    use crate::rtcp::{Feedback, feedback};

    const CNAME: &Cname = b"0123456789abcdef";

    fn report(ssrc: u32) -> SenderReport {
        SenderReport {
            ssrc,
            ntp: 0x0102_0304_0506_0708,
            timestamp: 9,
            packets: 10,
            octets: 11,
        }
    }

    fn answer(ssrc: u32) -> ReferenceTime {
        ReferenceTime {
            ssrc,
            ntp: 12,
            delay: 13,
        }
    }

    fn packets(compound: &[u8]) -> Vec<(u8, u8, usize)> {
        Packets { rest: compound }
            .map(|p| (p.packet_type, p.format, p.body.len()))
            .collect()
    }

    #[test]
    fn the_largest_packet_is_well_formed() {
        let reports = [report(1), report(2)];
        let compound = compound(&reports, CNAME, &[answer(3), answer(4)], Shape::Last);
        assert_eq!(
            packets(&compound),
            [
                (SENDER_REPORT, 0, 24),
                (SENDER_REPORT, 0, 24),
                (SOURCE_DESCRIPTION, 2, 48),
                (EXTENDED_REPORT, 0, 32),
                (GOODBYE, 2, 8)
            ]
        );
        assert_eq!(compound.len(), COMPOUND_LEN_MAX);
        assert_eq!(feedback(&compound).collect::<Vec<_>>(), [Feedback::Goodbye]);
    }

    #[test]
    fn a_reduced_packet_has_reports_and_nothing_else() {
        let compound = |shape, reports: &[_]| compound(reports, CNAME, &[], shape);
        let reduced = compound(Shape::Reduced, &[report(1)]);
        assert_eq!(packets(&reduced), [(SENDER_REPORT, 0, 24)]);
        let usual = compound(Shape::Compound, &[report(1)]);
        assert_eq!(packets(&usual).last(), Some(&(SOURCE_DESCRIPTION, 1, 24)));
        assert!(compound(Shape::Last, &[]).is_empty());
    }
}
