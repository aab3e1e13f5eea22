//! H264 access units as RTP payloads (RFC 6184), packetization mode 1.
//!
//! In goes what encoders give: NAL units behind start codes (Annex B of the standard). Out come
//! payloads of a bounded size, every NAL unit in its place and byte by byte: neighbours that fit into
//! one packet together as a STAP-A, what is too long in FU-A fragments of equal size (but the last),
//! for packets of one size make one train. Nothing is remembered between access units.

use std::sync::Arc;

/// Types of payloads that are no NAL unit of the encoder's (RFC 6184 §5.2). NAL units of types from
/// here on are not passed on: they would be taken for what they are not.
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

const TYPE_MASK: u8 = 0x1f;
const IMPORTANCE_MASK: u8 = 0x60;
const FORBIDDEN_BIT: u8 = 0x80;
const START_BIT: u8 = 0x80;
const END_BIT: u8 = 0x40;

/// The NAL units of an access unit, without their start codes and the zeros that may follow them
/// (H.264 B.1). `None`: it does not begin with a start code.
pub(crate) fn units(access_unit: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let (before, first) = split_at_start_code(access_unit)?;
    if before.iter().any(|byte| *byte != 0) {
        return None;
    }
    let mut rest = Some(first);
    let units = std::iter::from_fn(move || {
        let begin = rest.take()?;
        let (unit, after) = match split_at_start_code(begin) {
            Some((unit, after)) => (unit, Some(after)),
            None => (begin, None),
        };
        rest = after;
        // The last byte of a NAL unit is never zero (H.264 7.4.1).
        let end = unit.iter().rposition(|byte| *byte != 0);
        unit.get(..end.map_or(0, |last| last + 1))
    });
    Some(units.filter(|unit| {
        let kind = unit.first().map_or(0, |header| header & TYPE_MASK);
        (1..STAP_A).contains(&kind)
    }))
}

/// What is before the next start code, and what is after it.
fn split_at_start_code(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.windows(3).position(|three| three == [0, 0, 1])?;
    Some((bytes.get(..at)?, bytes.get(at + 3..)?))
}

/// The RTP payloads of an access unit in their order, each of at most `max` bytes. `max` is at least
/// 16.
pub(crate) fn payloads<'a>(
    units: impl Iterator<Item = &'a [u8]>,
    max: usize,
) -> impl Iterator<Item = Arc<[u8]>> {
    debug_assert!(max >= 16);
    let mut units = units.peekable();
    let mut fragments: Option<Fragments<'a>> = None;
    let mut scratch = Vec::with_capacity(max);
    std::iter::from_fn(move || {
        if let Some(next) = fragments.as_mut().and_then(|f| f.next(&mut scratch)) {
            return Some(next);
        }
        let first = units.next()?;
        if first.len() > max {
            return fragments
                .insert(Fragments::of(first, max)?)
                .next(&mut scratch);
        }
        // What a STAP-A with this one unit would take.
        let mut len = 1 + 2 + first.len();
        let mut fits = |next: &&[u8]| {
            len += 2 + next.len();
            len <= max
        };
        let Some(second) = units.next_if(&mut fits) else {
            return Some(first.into());
        };
        scratch.clear();
        scratch.push(STAP_A);
        aggregate(&mut scratch, first);
        aggregate(&mut scratch, second);
        while let Some(next) = units.next_if(&mut fits) {
            aggregate(&mut scratch, next);
        }
        Some(scratch.as_slice().into())
    })
}

/// Adds a unit to a STAP-A, whose first byte is as important as its most important unit, and has the
/// forbidden bit if one has it (RFC 6184 §5.7).
fn aggregate(payload: &mut Vec<u8>, unit: &[u8]) {
    if let (Some(header), Some(own)) = (payload.first_mut(), unit.first()) {
        let importance = (*header & IMPORTANCE_MASK).max(own & IMPORTANCE_MASK);
        *header = (*header | own) & FORBIDDEN_BIT | importance | STAP_A;
    }
    let len = u16::try_from(unit.len()).unwrap_or(u16::MAX);
    payload.extend(len.to_be_bytes());
    payload.extend_from_slice(unit);
}

/// A NAL unit that takes more than one packet (RFC 6184 §5.8).
struct Fragments<'a> {
    header: u8,
    rest: std::slice::Chunks<'a, u8>,
    begins: bool,
}

impl<'a> Fragments<'a> {
    fn of(unit: &'a [u8], max: usize) -> Option<Self> {
        let (header, body) = unit.split_first()?;
        let count = body.len().div_ceil(max - 2);
        Some(Self {
            header: *header,
            rest: body.chunks(body.len().div_ceil(count.max(1)).max(1)),
            begins: true,
        })
    }

    fn next(&mut self, scratch: &mut Vec<u8>) -> Option<Arc<[u8]>> {
        let fragment = self.rest.next()?;
        let is_last = self.rest.len() == 0;
        let begins = std::mem::take(&mut self.begins);
        scratch.clear();
        scratch.push(self.header & !TYPE_MASK | FU_A);
        let bits = u8::from(begins) * START_BIT + u8::from(is_last) * END_BIT;
        scratch.push(bits | (self.header & TYPE_MASK));
        scratch.extend_from_slice(fragment);
        Some(scratch.as_slice().into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::{CodecName, is_keyframe};

    /// Behind start codes of three and four bytes in turn.
    fn annex_b(units: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (n, unit) in units.iter().enumerate() {
            bytes.extend(&[0, 0, 0, 1][n % 2..]);
            bytes.extend(unit);
        }
        bytes
    }

    fn packetized(access_unit: &[u8], max: usize) -> Vec<Arc<[u8]>> {
        payloads(units(access_unit).unwrap(), max).collect()
    }

    /// What RFC 6184 says that a receiver does.
    fn depacketized(payloads: &[Arc<[u8]>]) -> Vec<Vec<u8>> {
        let mut units = Vec::new();
        for payload in payloads {
            match payload[0] & TYPE_MASK {
                STAP_A => {
                    let mut rest = &payload[1..];
                    while let [high, low, after @ ..] = rest {
                        let len = usize::from(u16::from_be_bytes([*high, *low]));
                        units.push(after[..len].to_vec());
                        rest = &after[len..];
                    }
                    assert!(rest.is_empty());
                }
                FU_A => {
                    if payload[1] & START_BIT != 0 {
                        units.push(vec![payload[0] & !TYPE_MASK | payload[1] & TYPE_MASK]);
                    }
                    units.last_mut().unwrap().extend(&payload[2..]);
                }
                _ => units.push(payload.to_vec()),
            }
        }
        units
    }

    #[test]
    fn parameter_sets_go_together_and_a_long_slice_in_equal_parts() {
        let sps = vec![0x67, 0x42, 0xe0, 0x1f];
        let pps = vec![0x68, 0xce, 0x3c, 0x80];
        let mut idr = vec![7; 2000];
        idr[0] = 0x65;
        let parts = packetized(&annex_b(&[sps, pps, idr]), 1000);
        let lens: Vec<_> = parts.iter().map(|part| part.len()).collect();
        assert_eq!(lens, [13, 669, 669, 667]);
        assert_eq!(parts[0][0], 0x78);
        assert_eq!(parts[1][..2], [0x7c, 0x85]);
        assert_eq!(parts[2][..2], [0x7c, 0x05]);
        assert_eq!(parts[3][..2], [0x7c, 0x45]);
        assert!(is_keyframe(CodecName::H264, &parts[0]));
    }

    #[test]
    fn a_slice_that_fits_goes_as_it_is() {
        let slice = vec![0x41, 0x9a, 1, 2, 3];
        let mut access_unit = annex_b(std::slice::from_ref(&slice));
        access_unit.extend([0, 0, 0]);
        let parts = packetized(&access_unit, 1000);
        assert_eq!(parts, [Arc::from(slice)]);
    }

    #[test]
    fn what_is_not_behind_start_codes_is_told() {
        assert!(units(&[0, 0, 0, 5, 0x65, 1, 2, 3, 4]).is_none());
        assert!(units(&[9, 0, 0, 1, 0x65, 1]).is_none());
        assert!(units(&[]).is_none());
        assert_eq!(units(&[0, 0, 1]).unwrap().count(), 0);
    }

    #[test]
    fn what_only_looks_like_a_payload_type_is_not_passed_on() {
        let units: Vec<_> = units(&[0, 0, 1, 0x7c, 0x85, 1, 0, 0, 1, 0x41, 9])
            .unwrap()
            .collect();
        assert_eq!(units, [[0x41, 9]]);
    }

    /// A NAL unit as an encoder makes it: no start code within, no zero at its end.
    fn unit() -> impl Strategy<Value = Vec<u8>> {
        let len = prop_oneof![0_usize..8, 0_usize..3000];
        (1_u8..24, 0_u8..8, len).prop_map(|(kind, importance, len)| {
            let body = (0..len).map(|n| u8::try_from(n % 250).unwrap() + 1);
            std::iter::once(importance << 5 | kind)
                .chain(body)
                .collect()
        })
    }

    proptest! {
        #[test]
        fn every_byte_arrives_in_its_place(
            made in prop::collection::vec(unit(), 1..12),
            max in 16_usize..1500,
        ) {
            let parts = packetized(&annex_b(&made), max);
            prop_assert!(parts.iter().all(|part| part.len() <= max));
            prop_assert_eq!(depacketized(&parts), made);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(0_u8..4, 0..200)) {
            if let Some(units) = units(&bytes) {
                payloads(units, 16).for_each(drop);
            }
        }
    }
}
