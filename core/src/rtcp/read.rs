//! What a viewer says, read from a decrypted compound packet in place.
//!
//! Nothing is copied or allocated, and no bytes make it panic: reading ends at the first byte that
//! is not RTCP, and what is cut short is passed over.

use crate::rtcp::{
    EXTENDED_REPORT, GOODBYE, PAYLOAD_FEEDBACK, RECEIVER_REPORT, REFERENCE_TIME, SENDER_REPORT,
    TRANSPORT_FEEDBACK, middle,
};

/// What a viewer may say that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feedback {
    /// Picture loss (RFC 4585 §6.3.1) or full intra request (RFC 5104 §4.3.1) for an SSRC.
    Keyframe { ssrc: u32 },
    /// Packets of an SSRC did not arrive (RFC 4585 §6.2.1).
    Nack { ssrc: u32, lost: Lost },
    /// How a stream arrives (RFC 3550 §6.4.1).
    Report(ReceptionReport),
    /// Its clock, which it would have back to learn its round-trip time (RFC 3611 §4.4).
    ReferenceTime {
        /// Who asks.
        ssrc: u32,
        /// The middle of its NTP time.
        ntp: u32,
    },
    /// It goes.
    Goodbye,
}

/// Up to 17 packets that did not arrive: one entry of a generic NACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost {
    /// The first one's sequence number.
    pub(crate) first: u16,
    /// Bit `n`: the one `n + 1` after it as well.
    pub(crate) following: u16,
}

#[cfg(test)]
impl Lost {
    /// Their sequence numbers.
    pub(crate) fn sequences(self) -> impl Iterator<Item = u16> {
        let following = (0..16).filter(move |n| self.following >> n & 1 == 1);
        std::iter::once(self.first).chain(following.map(move |n| self.first.wrapping_add(n + 1)))
    }
}

/// One reception report block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReceptionReport {
    /// The stream it is about.
    pub(crate) ssrc: u32,
    /// Of the packets since the last report, in 256ths.
    pub(crate) fraction_lost: u8,
    /// Since the beginning. Below zero where duplicates outnumber losses.
    pub(crate) lost: i32,
    /// In units of the timestamp.
    pub(crate) jitter: u32,
    /// The middle of the NTP time of the last sender report that came; 0: none has.
    pub(crate) last_report: u32,
    /// How long ago that was, in 65,536ths of a second.
    pub(crate) delay: u32,
}

/// The feedback in a compound packet, in order.
pub(crate) fn feedback(compound: &[u8]) -> impl Iterator<Item = Feedback> + '_ {
    Packets { rest: compound }.flat_map(|p| p.feedback())
}

/// Walks a compound packet.
pub(super) struct Packets<'a> {
    pub(super) rest: &'a [u8],
}

pub(super) struct Packet<'a> {
    /// Count or format: the lower five bits of the first byte.
    pub(super) format: u8,
    pub(super) packet_type: u8,
    /// What follows the four bytes of header.
    pub(super) body: &'a [u8],
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
    fn feedback(&self) -> Entries<'a> {
        let sender = word(self.body, 0);
        let source = word(self.body, 4);
        let from = |start: usize| self.body.get(start..).unwrap_or_default();
        let (kind, rest) = match (self.packet_type, self.format, sender, source) {
            (GOODBYE, ..) => (Some(Kind::Goodbye), from(0)),
            (PAYLOAD_FEEDBACK, 1, _, Some(ssrc)) => (Some(Kind::PictureLoss { ssrc }), from(8)),
            (PAYLOAD_FEEDBACK, 4, ..) => (Some(Kind::IntraRequest), from(8)),
            (TRANSPORT_FEEDBACK, 1, _, Some(ssrc)) => (Some(Kind::Nack { ssrc }), from(8)),
            (SENDER_REPORT, count, ..) => (Some(Kind::Reports { count }), from(24)),
            (RECEIVER_REPORT, count, ..) => (Some(Kind::Reports { count }), from(4)),
            (EXTENDED_REPORT, _, Some(ssrc), _) => (Some(Kind::Extended { ssrc }), from(4)),
            _ => (None, from(0)),
        };
        Entries { kind, rest }
    }
}

/// Walks the entries of one packet.
struct Entries<'a> {
    /// `None`: there are no more.
    kind: Option<Kind>,
    rest: &'a [u8],
}

/// What the entries of a packet are.
#[derive(Clone, Copy)]
enum Kind {
    Goodbye,
    PictureLoss {
        ssrc: u32,
    },
    IntraRequest,
    Nack {
        ssrc: u32,
    },
    /// So many are still to come.
    Reports {
        count: u8,
    },
    Extended {
        ssrc: u32,
    },
}

impl Entries<'_> {
    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*chunk)
    }

    /// The next reference time of an extended report, past blocks of other kinds.
    fn reference_time(&mut self, ssrc: u32) -> Option<Feedback> {
        loop {
            let [block_type, _, high, low] = self.chunk()?;
            let len = usize::from(u16::from_be_bytes([high, low])) * 4;
            let (block, rest) = self.rest.split_at_checked(len)?;
            self.rest = rest;
            if let (REFERENCE_TIME, Some(ntp)) = (block_type, block.first_chunk()) {
                let ntp = middle(u64::from_be_bytes(*ntp));
                return Some(Feedback::ReferenceTime { ssrc, ntp });
            }
        }
    }
}

impl Iterator for Entries<'_> {
    type Item = Feedback;

    fn next(&mut self) -> Option<Feedback> {
        match self.kind? {
            Kind::Goodbye => {
                self.kind = None;
                Some(Feedback::Goodbye)
            }
            Kind::PictureLoss { ssrc } => {
                self.kind = None;
                Some(Feedback::Keyframe { ssrc })
            }
            Kind::IntraRequest => {
                let [a, b, c, d, ..] = self.chunk::<8>()?;
                let ssrc = u32::from_be_bytes([a, b, c, d]);
                Some(Feedback::Keyframe { ssrc })
            }
            Kind::Nack { ssrc } => {
                let [a, b, c, d] = self.chunk()?;
                let lost = Lost {
                    first: u16::from_be_bytes([a, b]),
                    following: u16::from_be_bytes([c, d]),
                };
                Some(Feedback::Nack { ssrc, lost })
            }
            Kind::Reports { count } => {
                let left = count.checked_sub(1)?;
                self.kind = Some(Kind::Reports { count: left });
                self.chunk().map(report).map(Feedback::Report)
            }
            Kind::Extended { ssrc } => self.reference_time(ssrc),
        }
    }
}

fn report(block: [u8; 24]) -> ReceptionReport {
    let [
        s0,
        s1,
        s2,
        s3,
        fraction_lost,
        l0,
        l1,
        l2,
        _,
        _,
        _,
        _,
        j0,
        j1,
        j2,
        j3,
        r0,
        r1,
        r2,
        r3,
        d0,
        d1,
        d2,
        d3,
    ] = block;
    ReceptionReport {
        ssrc: u32::from_be_bytes([s0, s1, s2, s3]),
        fraction_lost,
        // 24 bits with a sign.
        lost: i32::from_be_bytes([l0, l1, l2, 0]) >> 8,
        jitter: u32::from_be_bytes([j0, j1, j2, j3]),
        last_report: u32::from_be_bytes([r0, r1, r2, r3]),
        delay: u32::from_be_bytes([d0, d1, d2, d3]),
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*word))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(compound: &[u8]) -> Vec<Feedback> {
        feedback(compound).collect()
    }

    #[test]
    fn keyframe_requests_are_read() {
        let pli = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 7];
        let fir = [
            0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8, 5, 0, 0, 0,
        ];
        assert_eq!(
            all(&[&pli[..], &fir[..]].concat()),
            [
                Feedback::Keyframe { ssrc: 7 },
                Feedback::Keyframe { ssrc: 8 }
            ]
        );
    }

    #[test]
    fn a_nack_names_packets_by_a_number_and_a_bit_mask() {
        let nack = [
            0x81, 205, 0, 4, 0, 0, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 0x80, 0x01, 0, 9, 0, 0,
        ];
        let lost = |feedback: &Feedback| match feedback {
            Feedback::Nack { ssrc: 7, lost } => lost.sequences().collect(),
            _ => vec![],
        };
        let read: Vec<Vec<u16>> = all(&nack).iter().map(lost).collect();
        assert_eq!(read, [vec![65_535, 0, 15], vec![9]]);
    }

    #[test]
    fn reports_and_reference_times_are_read() {
        let mut report = vec![0x81, 201, 0, 7, 0, 0, 0, 1];
        report.extend([0, 0, 0, 7, 64, 0xff, 0xff, 0xfe, 0, 0, 1, 0, 0, 0, 0, 90]);
        report.extend([1, 2, 3, 4, 0, 1, 0, 0]);
        // A block that is not known, then one that is.
        let extended = [
            0x80, 207, 0, 6, 0, 0, 0, 1, 9, 0, 0, 1, 0, 0, 0, 0, 4, 0, 0, 2, 0, 1, 2, 3, 4, 5, 6, 7,
        ];
        report.extend(extended);
        assert_eq!(
            all(&report),
            [
                Feedback::Report(ReceptionReport {
                    ssrc: 7,
                    fraction_lost: 64,
                    lost: -2,
                    jitter: 90,
                    last_report: 0x0102_0304,
                    delay: 0x0001_0000,
                }),
                Feedback::ReferenceTime {
                    ssrc: 1,
                    ntp: 0x0203_0405,
                }
            ]
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(feedback(&bytes).count() <= bytes.len());
        }

        #[test]
        fn no_body_makes_it_panic(
            packets in prop::collection::vec((0_u8..32, 200_u8..208, prop::collection::vec(any::<u8>(), 0..48)), 0..6),
        ) {
            let mut compound = Vec::new();
            for (format, packet_type, mut body) in packets {
                body.resize(body.len().next_multiple_of(4), 0);
                compound.extend([0x80 | format, packet_type, 0, u8::try_from(body.len() / 4).unwrap()]);
                compound.extend(body);
            }
            prop_assert_eq!(Packets { rest: &compound }.map(|p| 4 + p.body.len()).sum::<usize>(), compound.len());
            prop_assert!(feedback(&compound).count() <= compound.len());
        }
    }
}
