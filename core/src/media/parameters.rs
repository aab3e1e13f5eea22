//! A stream's real profile and level, as its keyframes show them, and how an answer tells them.
//!
//! What a publisher's offer says of its stream is what it could send, not what it sends: encoders
//! fall back to lower profiles, and programs write a fixed text. What a viewer is promised goes by
//! the stream.

use std::fmt::Write as _;

use crate::media::keyframe::aggregated;
use crate::media::{Codec, Fmtp, parameter};

/// Levels of H264 that peers know (H.264 table A-1). An answer with another one would be taken for
/// an unknown codec.
const H264_LEVELS: [u8; 16] = [
    10, 11, 12, 13, 20, 21, 22, 30, 31, 32, 40, 41, 42, 50, 51, 52,
];

impl Codec {
    /// Takes over what the RTP payload of a keyframe's packet says of the stream. Most say nothing.
    pub(crate) fn observe(&mut self, payload: &[u8]) {
        let seen = match &self.fmtp {
            Fmtp::H264 {
                packetization_mode, ..
            } => h264(payload, *packetization_mode),
            Fmtp::H265 { tx_mode, .. } => {
                h265(payload).map(|(profile_id, tier_flag, level_id)| Fmtp::H265 {
                    profile_id,
                    tier_flag,
                    level_id,
                    tx_mode: *tx_mode,
                })
            }
            Fmtp::Vp9 { .. } | Fmtp::Av1 { .. } | Fmtp::Opus { .. } | Fmtp::None => None,
        };
        if let Some(fmtp) = seen {
            self.fmtp = fmtp;
        }
    }

    /// What an answer says of this stream to a receiver that offered `fmtp` and fits it: the
    /// receiver's own words, with the stream's level. The profile stays as offered: it is the same
    /// one, or one whose decoders play it, and peers look for their own spelling of it.
    pub(crate) fn answered(&self, fmtp: &str) -> String {
        match self.fmtp {
            Fmtp::H264 { level_idc, .. } if H264_LEVELS.contains(&level_idc) => {
                let offered = parameter(fmtp, "profile-level-id").unwrap_or("42000a");
                let Some((profile, level)) = offered.split_at_checked(4) else {
                    return fmtp.to_owned();
                };
                // Without asymmetry an answer may not go above the offer (RFC 6184 §8.2.2).
                let is_free = parameter(fmtp, "level-asymmetry-allowed") == Some("1");
                let level = match u8::from_str_radix(level, 16) {
                    Ok(level) if !is_free => level.min(level_idc),
                    _ => level_idc,
                };
                with(fmtp, "profile-level-id", &format!("{profile}{level:02x}"))
            }
            Fmtp::H265 { level_id, .. } => with(fmtp, "level-id", &level_id.to_string()),
            _ => fmtp.to_owned(),
        }
    }
}

/// Parameters with one of them set.
fn with(fmtp: &str, key: &str, value: &str) -> String {
    let mut text = String::with_capacity(fmtp.len() + key.len() + value.len() + 2);
    let kept = fmtp.split(';').map(str::trim).filter(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        !pair.is_empty() && !name.trim().eq_ignore_ascii_case(key)
    });
    for pair in kept {
        text.push_str(pair);
        text.push(';');
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "{key}={value}");
    text
}

/// RFC 6184 §5.2: the three bytes behind the header of a sequence parameter set are what
/// `profile-level-id` says.
fn h264(payload: &[u8], packetization_mode: u8) -> Option<Fmtp> {
    const SPS: u8 = 7;
    const STAP_A: u8 = 24;
    const FU_A: u8 = 28;
    let (header, rest) = payload.split_first()?;
    let body = match header & 0x1f {
        SPS => Some(rest),
        STAP_A => aggregated(rest)
            .filter_map(<[u8]>::split_first)
            .find(|(header, _)| **header & 0x1f == SPS)
            .map(|(_, body)| body),
        FU_A => rest
            .split_first()
            .filter(|(fragment, _)| **fragment & 0x9f == 0x80 | SPS)
            .map(|(_, body)| body),
        _ => None,
    };
    let [profile_idc, profile_iop, level_idc, ..] = *body? else {
        return None;
    };
    Some(Fmtp::H264 {
        profile_idc,
        profile_iop,
        level_idc,
        packetization_mode,
    })
}

/// RFC 7798 §4.4 and H.265 §7.3.3: profile, tier and level of a sequence parameter set.
fn h265(payload: &[u8]) -> Option<(u8, u8, u8)> {
    const SPS: u8 = 33;
    const AGGREGATION: u8 = 48;
    let kind = |header: u8| (header >> 1) & 0x3f;
    let [header, _, rest @ ..] = payload else {
        return None;
    };
    let body = match kind(*header) {
        SPS => Some(rest),
        AGGREGATION => aggregated(rest)
            .filter(|unit| unit.first().is_some_and(|header| kind(*header) == SPS))
            .find_map(|unit| unit.get(2..)),
        _ => None,
    }?;
    // Behind two zeros a 3 only says that these are no start code (H.265 §7.4.2).
    let mut zeros = 0;
    let mut plain = body.iter().copied().filter(|byte| {
        let is_inserted = zeros >= 2 && *byte == 3;
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        !is_inserted
    });
    // The ids of parameter set and sub-layers come first; then profile, compatibility (4 bytes),
    // constraints (6 bytes), level.
    let profile = plain.nth(1)?;
    let level = plain.nth(10)?;
    Some((profile & 0x1f, profile >> 5 & 1, level))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::CodecName;

    fn video(name: &str, fmtp: &str) -> Codec {
        Codec::from_sdp(name, 90_000, 1, fmtp).unwrap()
    }

    fn observed(name: &str, payload: &[u8]) -> String {
        let mut codec = video(name, "");
        codec.observe(payload);
        codec.to_string()
    }

    #[test]
    fn h264_shows_its_profile_in_its_parameter_set_however_that_is_packed() {
        let shown = "H264 (profile-level-id 640c2a, packetization-mode 0)";
        assert_eq!(observed("H264", b"\x67\x64\x0c\x2a\xac"), shown);
        let aggregated = b"\x78\x00\x02\x09\x10\x00\x05\x67\x64\x0c\x2a\xac\x00\x02\x68\xee";
        assert_eq!(observed("H264", aggregated), shown);
        assert_eq!(observed("H264", b"\x7c\x87\x64\x0c\x2a"), shown);
        for nothing in [
            &b"\x65\x88\x84"[..],
            b"\x67\x64\x0c",
            b"\x7c\x07\x64\x0c\x2a",
            b"\x78\x00\x09\x67",
            b"",
        ] {
            assert_eq!(
                observed("H264", nothing),
                "H264 (profile-level-id 42000a, packetization-mode 0)"
            );
        }
    }

    #[test]
    fn h265_shows_its_profile_behind_emulation_prevention() {
        let unit = b"\x42\x01\x01\x02\x20\x00\x00\x03\x00\x90\x00\x00\x03\x00\x00\x03\x00\x78\xa0";
        let shown = "H265 (profile-id 2, level-id 120)";
        assert_eq!(observed("H265", unit), shown);
        let mut aggregated = b"\x60\x01\x00\x03\x40\x01\x0c\x00\x13".to_vec();
        aggregated.extend(unit);
        assert_eq!(observed("H265", &aggregated), shown);
        assert_eq!(
            observed("H265", &unit[..15]),
            "H265 (profile-id 1, level-id 93)"
        );
    }

    #[test]
    fn an_answer_keeps_the_receiver_s_profile_and_tells_the_stream_s_level() {
        let stream = video("H264", "profile-level-id=42c02a;packetization-mode=1");
        assert_eq!(
            stream
                .answered("level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e02a"
        );
        assert_eq!(
            stream.answered("Profile-Level-Id=42e01f; packetization-mode=1"),
            "packetization-mode=1;profile-level-id=42e01f",
            "no asymmetry: not above the offer"
        );
        let strange = video("H264", "profile-level-id=42c0ff;packetization-mode=1");
        assert_eq!(
            strange.answered("level-asymmetry-allowed=1;profile-level-id=42e01f"),
            "level-asymmetry-allowed=1;profile-level-id=42e01f",
            "nobody knows that level"
        );
        let stream = video("H265", "profile-id=1;level-id=150");
        assert_eq!(
            stream.answered("level-id=93;profile-id=1;tx-mode=SRST"),
            "profile-id=1;tx-mode=SRST;level-id=150"
        );
        assert_eq!(video("VP8", "").answered("max-fr=30"), "max-fr=30");
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic_or_another_codec(
            payload in proptest::collection::vec(any::<u8>(), 0..40),
            text in "[ -~]{0,40}",
        ) {
            for name in CodecName::all(crate::media::MediaKind::Video) {
                let mut codec = video(name.as_str(), "");
                codec.observe(&payload);
                prop_assert_eq!(codec.name, *name);
                let _ = codec.answered(&text);
            }
        }
    }
}
