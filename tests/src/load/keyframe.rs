//! Whether an RTP payload begins a picture that needs no other.

use str0m::format::Codec;

/// The first packet of a keyframe has come.
pub(super) fn begins(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Vp8 => vp8(payload).unwrap_or(false),
        Codec::Vp9 => vp9(payload).unwrap_or(false),
        Codec::H264 => h264(payload).unwrap_or(false),
        // N: a coded video sequence begins (AV1 RTP specification §4.4).
        Codec::Av1 => payload.first().is_some_and(|first| first & 0x08 != 0),
        _ => false,
    }
}

/// A payload descriptor whose partition begins here, and the header of a keyframe (RFC 7741 §4.2, §4.3).
fn vp8(payload: &[u8]) -> Option<bool> {
    let (&first, rest) = payload.split_first()?;
    if first & 0x17 != 0x10 {
        return Some(false);
    }
    let mut skip = 0;
    if first & 0x80 != 0 {
        let extension = rest.first()?;
        skip = 1;
        if extension & 0x80 != 0 {
            skip += if rest.get(1)? & 0x80 != 0 { 2 } else { 1 };
        }
        skip += usize::from(extension & 0x40 != 0) + usize::from(extension & 0x30 != 0);
    }
    Some(rest.get(skip)? & 1 == 0)
}

/// Not predicted from another picture, and a frame begins here (RFC 9628 §4.2), on the lowest layer.
fn vp9(payload: &[u8]) -> Option<bool> {
    let (&first, rest) = payload.split_first()?;
    if first & 0x48 != 0x08 {
        return Some(false);
    }
    if first & 0x20 == 0 {
        return Some(true);
    }
    let picture_id = match (first & 0x80 != 0, rest.first()?) {
        (false, _) => 0,
        (true, id) if id & 0x80 != 0 => 2,
        (true, _) => 1,
    };
    Some(rest.get(picture_id)? & 0x0e == 0)
}

/// A sequence parameter set, or the beginning of an IDR slice, alone, with others or in pieces (RFC
/// 6184 §5).
fn h264(payload: &[u8]) -> Option<bool> {
    let is_key = |header: u8| matches!(header & 0x1f, 5 | 7);
    let (&first, mut rest) = payload.split_first()?;
    match first & 0x1f {
        24 => {
            while let Some((len, more)) = rest.split_first_chunk::<2>() {
                if is_key(*more.first()?) {
                    return Some(true);
                }
                rest = more.get(usize::from(u16::from_be_bytes(*len))..)?;
            }
            Some(false)
        }
        28 => {
            let header = *rest.first()?;
            Some(header & 0x80 != 0 && is_key(header))
        }
        _ => Some(is_key(first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::media::Source;

    #[test]
    fn keyframes_of_sources_are_known_by_their_first_packets() {
        for codec in [Codec::Vp8, Codec::H264] {
            let mut source = Source::new(codec, 1, 1);
            for _ in 0..2 {
                let key = source.keyframe(40, 1150);
                let delta = source.delta(8, 1150);
                assert!(begins(codec, &key[0].payload), "{codec}");
                let others = delta.iter().chain(key.get(2..).unwrap());
                assert!(
                    others.into_iter().all(|p| !begins(codec, &p.payload)),
                    "{codec}"
                );
            }
        }
    }

    #[test]
    fn descriptors_with_all_their_parts_are_passed_over() {
        assert!(begins(
            Codec::Vp8,
            &[0x90, 0xe0, 0x81, 0x02, 0x05, 0x00, 0x00]
        ));
        assert!(!begins(
            Codec::Vp8,
            &[0x90, 0xe0, 0x81, 0x02, 0x05, 0x00, 0x01]
        ));
        assert!(begins(Codec::Vp9, &[0xa8, 0x81, 0x02, 0x00]));
        assert!(!begins(Codec::Vp9, &[0xe8, 0x81, 0x02, 0x00]));
        assert!(
            !begins(Codec::Vp9, &[0xa8, 0x81, 0x02, 0x02]),
            "of a higher layer"
        );
        assert!(begins(Codec::Av1, &[0x18, 0x0a]));
        for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1] {
            assert!(!begins(codec, &[]));
        }
    }
}
