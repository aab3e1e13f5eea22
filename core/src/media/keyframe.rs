//! Keyframes, as single RTP packets show them.
//!
//! The bytes come from outside. Every read is checked, and a payload that ends early proves
//! nothing.

use crate::media::CodecName;

/// Whether this RTP payload proves that its access unit is a keyframe: that a decoder which knows
/// nothing yet can begin with it.
///
/// Not every packet of a keyframe proves it (later fragments do not); one at the beginning does.
/// Audio can be begun anywhere, so every packet that carries any counts.
pub(crate) fn is_keyframe(codec: CodecName, payload: &[u8]) -> bool {
    let proof = match codec {
        CodecName::H264 => h264(payload),
        CodecName::H265 => h265(payload),
        CodecName::Vp8 => vp8(payload),
        CodecName::Vp9 => vp9(payload),
        CodecName::Av1 => av1(payload),
        CodecName::Opus | CodecName::G722 | CodecName::Pcmu | CodecName::Pcma => {
            payload.first().map(|_| true)
        }
    };
    proof.unwrap_or(false)
}

/// RFC 6184 §5.2: an IDR slice or a sequence parameter set, alone, in a STAP-A, or as the first
/// fragment of an FU-A.
fn h264(payload: &[u8]) -> Option<bool> {
    const IDR: u8 = 5;
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let begins = |header: u8| matches!(header & 0x1f, IDR | SPS);

    let (header, rest) = payload.split_first()?;
    match header & 0x1f {
        STAP_A => {
            Some(aggregated(rest).any(|unit| unit.first().is_some_and(|header| begins(*header))))
        }
        FU_A => {
            let fragment = rest.first()?;
            Some(fragment & 0x80 != 0 && begins(*fragment))
        }
        _ => Some(begins(*header)),
    }
}

/// RFC 7798 §4.4: an IRAP picture or a parameter set, alone, in an aggregation packet, or as a
/// first fragment. `sprop-max-don-diff` is 0 with WebRTC, so no DONL fields are there.
fn h265(payload: &[u8]) -> Option<bool> {
    const AGGREGATION: u8 = 48;
    const FRAGMENTATION: u8 = 49;
    let begins = |kind: u8| matches!(kind, 16..=21 | 32..=34);
    let kind = |header: u8| (header >> 1) & 0x3f;

    let (header, rest) = payload.split_first()?;
    let (_layer_and_temporal_id, rest) = rest.split_first()?;
    match kind(*header) {
        AGGREGATION => Some(
            aggregated(rest).any(|unit| unit.first().is_some_and(|header| begins(kind(*header)))),
        ),
        FRAGMENTATION => {
            let fragment = rest.first()?;
            Some(fragment & 0x80 != 0 && begins(fragment & 0x3f))
        }
        alone => Some(begins(alone)),
    }
}

/// The units of an aggregation packet, each behind its size in two bytes. Ends at the first that
/// is cut off.
pub(super) fn aggregated(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (size, units) = rest.split_first_chunk::<2>()?;
        let (unit, after) = units.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
        rest = after;
        Some(unit)
    })
}

/// RFC 7741 §4.2, §4.3: the start of the first partition (S, PID 0) of a frame whose P bit is 0.
fn vp8(payload: &[u8]) -> Option<bool> {
    let mut bytes = payload.iter().copied();
    let descriptor = bytes.next()?;
    if descriptor & 0x10 == 0 || descriptor & 0x07 != 0 {
        return Some(false);
    }
    if descriptor & 0x80 != 0 {
        let extension = bytes.next()?;
        // Picture ID, in one byte or two.
        if extension & 0x80 != 0 && bytes.next()? & 0x80 != 0 {
            bytes.next()?;
        }
        // TL0PICIDX.
        if extension & 0x40 != 0 {
            bytes.next()?;
        }
        // TID, Y, KEYIDX.
        if extension & 0x30 != 0 {
            bytes.next()?;
        }
    }
    Some(bytes.next()? & 0x01 == 0)
}

/// RFC 9628 §4.2: the start (B) of a frame of the lowest spatial layer that is not predicted from
/// other pictures (P). Flexible and non-flexible mode differ only in what follows.
fn vp9(payload: &[u8]) -> Option<bool> {
    let mut bytes = payload.iter().copied();
    let descriptor = bytes.next()?;
    let begins = descriptor & 0x08 != 0;
    let predicted = descriptor & 0x40 != 0;
    if !begins || predicted {
        return Some(false);
    }
    // Picture ID, in one byte or two.
    if descriptor & 0x80 != 0 && bytes.next()? & 0x80 != 0 {
        bytes.next()?;
    }
    // Layer indices: TID, U, SID, D.
    if descriptor & 0x20 != 0 {
        return Some((bytes.next()? >> 1) & 0x07 == 0);
    }
    Some(true)
}

/// RTP Payload Format For AV1 §4.4: the aggregation header says that a coded video sequence begins
/// (N), or the first OBU is whole and a sequence header.
fn av1(payload: &[u8]) -> Option<bool> {
    const SEQUENCE_HEADER: u8 = 1;
    let (aggregation, mut rest) = payload.split_first()?;
    if aggregation & 0x08 != 0 {
        return Some(!rest.is_empty());
    }
    let continues = aggregation & 0x80 != 0;
    if continues {
        return Some(false);
    }
    // Only a single OBU (W = 1) comes without its size, a LEB128 number.
    if aggregation & 0x30 != 0x10 {
        while let Some((byte, after)) = rest.split_first() {
            rest = after;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    Some((rest.first()? >> 3) & 0x0f == SEQUENCE_HEADER)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::MediaKind;

    #[test]
    fn h264_idr_and_sps_begin_and_slices_do_not() {
        assert!(is_keyframe(CodecName::H264, &[0x65, 0x88]));
        assert!(is_keyframe(CodecName::H264, &[0x67, 0x42, 0xe0, 0x1f]));
        assert!(!is_keyframe(CodecName::H264, &[0x41, 0x9a]));
        assert!(!is_keyframe(CodecName::H264, &[0x68, 0xce]));
    }

    #[test]
    fn h264_aggregates_are_searched() {
        // STAP-A of a delimiter and an SPS.
        assert!(is_keyframe(
            CodecName::H264,
            &[0x78, 0, 2, 0x09, 0xf0, 0, 2, 0x67, 0x42]
        ));
        // Of an SEI and a slice.
        assert!(!is_keyframe(
            CodecName::H264,
            &[0x78, 0, 2, 0x06, 0x05, 0, 2, 0x41, 0x9a]
        ));
        // The SPS is cut off by its size.
        assert!(!is_keyframe(
            CodecName::H264,
            &[0x78, 0, 2, 0x09, 0xf0, 0, 9, 0x67, 0x42]
        ));
    }

    #[test]
    fn h264_only_the_first_fragment_of_an_idr_begins() {
        assert!(is_keyframe(CodecName::H264, &[0x7c, 0x85, 0x88]));
        assert!(!is_keyframe(CodecName::H264, &[0x7c, 0x05, 0x88]));
        assert!(!is_keyframe(CodecName::H264, &[0x7c, 0x45, 0x88]));
        assert!(!is_keyframe(CodecName::H264, &[0x5c, 0x81, 0x9a]));
    }

    #[test]
    fn h265_irap_and_parameter_sets_begin() {
        let unit = |kind: u8| [kind << 1, 0x01, 0xaf];
        for kind in (16..=21).chain(32..=34) {
            assert!(is_keyframe(CodecName::H265, &unit(kind)), "{kind}");
        }
        for kind in [0, 1, 15, 22, 31, 35, 39, 50] {
            assert!(!is_keyframe(CodecName::H265, &unit(kind)), "{kind}");
        }
    }

    #[test]
    fn h265_aggregates_and_first_fragments_are_searched() {
        // Delimiter (35) and VPS (32).
        assert!(is_keyframe(
            CodecName::H265,
            &[48 << 1, 1, 0, 3, 35 << 1, 1, 0x50, 0, 3, 32 << 1, 1, 0x0c]
        ));
        // Two trailing pictures.
        assert!(!is_keyframe(
            CodecName::H265,
            &[48 << 1, 1, 0, 3, 1 << 1, 1, 0x50, 0, 3, 1 << 1, 1, 0x0c]
        ));
        assert!(is_keyframe(CodecName::H265, &[49 << 1, 1, 0x80 | 19, 0xaf]));
        assert!(!is_keyframe(CodecName::H265, &[49 << 1, 1, 19, 0xaf]));
        assert!(!is_keyframe(CodecName::H265, &[49 << 1, 1, 0x80 | 1, 0xaf]));
    }

    #[test]
    fn vp8_begins_where_partition_0_of_an_intra_frame_starts() {
        assert!(is_keyframe(CodecName::Vp8, &[0x10, 0x50, 0x9d]));
        assert!(!is_keyframe(CodecName::Vp8, &[0x10, 0x51]), "P bit");
        assert!(!is_keyframe(CodecName::Vp8, &[0x00, 0x50]), "not a start");
        assert!(!is_keyframe(CodecName::Vp8, &[0x11, 0x50]), "partition 1");
    }

    #[test]
    fn vp8_descriptor_extensions_are_skipped() {
        // I with 7 bits, I with 15 bits, all of I, L, T, K.
        assert!(is_keyframe(CodecName::Vp8, &[0x90, 0x80, 0x11, 0x50]));
        assert!(is_keyframe(CodecName::Vp8, &[0x90, 0x80, 0x81, 0x11, 0x50]));
        assert!(is_keyframe(
            CodecName::Vp8,
            &[0x90, 0xf0, 0x81, 0x11, 0x01, 0x21, 0x50]
        ));
        assert!(!is_keyframe(
            CodecName::Vp8,
            &[0x90, 0xf0, 0x81, 0x11, 0x01, 0x21, 0x51]
        ));
        assert!(
            !is_keyframe(CodecName::Vp8, &[0x90, 0xf0, 0x81, 0x11, 0x01, 0x20]),
            "cut off"
        );
    }

    #[test]
    fn vp9_begins_where_an_unpredicted_frame_of_layer_0_starts() {
        // Chromium: I, L, B, V, non-flexible, 15 bits of picture ID, layer byte, TL0PICIDX.
        assert!(is_keyframe(
            CodecName::Vp9,
            &[0xaa, 0x80, 0x01, 0x00, 0x07, 0x18]
        ));
        // Flexible mode, without layers.
        assert!(is_keyframe(CodecName::Vp9, &[0x98, 0x80, 0x01, 0x82]));
        assert!(
            !is_keyframe(CodecName::Vp9, &[0xe8, 0x80, 0x01, 0x00]),
            "P bit"
        );
        assert!(
            !is_keyframe(CodecName::Vp9, &[0xa0, 0x80, 0x01, 0x00]),
            "not a start"
        );
        assert!(
            !is_keyframe(CodecName::Vp9, &[0xa8, 0x80, 0x01, 0x03]),
            "spatial layer 1"
        );
        assert!(!is_keyframe(CodecName::Vp9, &[0xa8, 0x80]), "cut off");
    }

    #[test]
    fn av1_begins_with_a_new_sequence_or_a_sequence_header() {
        assert!(is_keyframe(CodecName::Av1, &[0x18, 0x0a, 0x0b]), "N bit");
        assert!(
            is_keyframe(CodecName::Av1, &[0x10, 0x08, 0x00]),
            "one OBU, without its size"
        );
        assert!(
            is_keyframe(CodecName::Av1, &[0x20, 0x0b, 0x08, 0x00]),
            "two OBUs"
        );
        assert!(
            is_keyframe(CodecName::Av1, &[0x00, 0x8b, 0x01, 0x08]),
            "a size of two bytes"
        );
        assert!(!is_keyframe(CodecName::Av1, &[0x10, 0x30]), "a frame OBU");
        assert!(
            !is_keyframe(CodecName::Av1, &[0x90, 0x08]),
            "a continued OBU"
        );
    }

    #[test]
    fn audio_can_be_begun_anywhere() {
        for codec in CodecName::all(MediaKind::Audio) {
            assert!(is_keyframe(*codec, &[0x78]));
            assert!(!is_keyframe(*codec, &[]));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..64)) {
            for kind in [MediaKind::Video, MediaKind::Audio] {
                for codec in CodecName::all(kind) {
                    is_keyframe(*codec, &payload);
                }
            }
        }

        #[test]
        fn bytes_after_a_proof_do_not_undo_it(payload in proptest::collection::vec(any::<u8>(), 0..16), more in any::<u8>()) {
            let mut longer = payload.clone();
            longer.push(more);
            for codec in CodecName::all(MediaKind::Video) {
                if is_keyframe(*codec, &payload) {
                    prop_assert!(is_keyframe(*codec, &longer), "{codec} {payload:02x?}");
                }
            }
        }
    }
}
