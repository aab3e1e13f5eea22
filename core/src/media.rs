//! What is known of media: codecs, their parameters, and how a keyframe looks on the wire.
//!
//! Everything here is a plain value or a pure function. Nothing panics on bytes from outside, and
//! nothing keeps more of them than the parameters that decide who can play what.

pub(crate) mod h264;
mod keyframe;
mod matching;
mod parameters;

use std::fmt;
use std::time::Duration;

pub(crate) use keyframe::is_keyframe;
pub(crate) use matching::Match;

/// A codec as an SDP payload type names it: encoding, clock, channels (RFC 8866 §6.6) and the
/// parameters that matter.
///
/// As a sentence it is the name, and of the parameters those that decide who can play it:
/// `H264 (profile-level-id 42e01f, packetization-mode 1)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codec {
    /// Which.
    pub(crate) name: CodecName,
    /// RTP timestamp units per second. G722 says 8,000, for historical reasons (RFC 3551 §4.5.2).
    pub(crate) clock_rate: u32,
    /// Channels of audio; 1 for video.
    pub(crate) channels: u8,
    /// Format parameters.
    pub(crate) fmtp: Fmtp,
}

impl Codec {
    /// H264 (RFC 6184) of a `profile-level-id`, `0x42e01f` say: Constrained Baseline at level 3.1,
    /// which every browser plays. Packetization mode 1: single NAL units, STAP-A and FU-A.
    ///
    /// Viewers are let in by it until the first keyframe shows the real profile and level.
    #[must_use]
    pub fn h264(profile_level_id: u32) -> Self {
        let [_, profile_idc, profile_iop, level_idc] = profile_level_id.to_be_bytes();
        Self::new(
            CodecName::H264,
            Fmtp::H264 {
                profile_idc,
                profile_iop,
                level_idc,
                packetization_mode: 1,
            },
        )
    }

    /// H265 (RFC 7798) of a `profile-id` (1 is Main, 2 is Main 10) and a `level-id` (thirty times the
    /// level: 93 is 3.1), Main tier.
    #[must_use]
    pub fn h265(profile_id: u8, level_id: u8) -> Self {
        Self::new(
            CodecName::H265,
            Fmtp::H265 {
                profile_id,
                tier_flag: 0,
                level_id,
                tx_mode: TxMode::Single,
            },
        )
    }

    /// VP8 (RFC 7741).
    #[must_use]
    pub fn vp8() -> Self {
        Self::new(CodecName::Vp8, Fmtp::None)
    }

    /// VP9 (RFC 9628) of a `profile-id`, 0 for 8 bits and 4:2:0.
    #[must_use]
    pub fn vp9(profile_id: u8) -> Self {
        Self::new(CodecName::Vp9, Fmtp::Vp9 { profile_id })
    }

    /// AV1 (RTP Payload Format For AV1) of a `profile`, 0 is Main. At level 3.1, Main tier.
    #[must_use]
    pub fn av1(profile: u8) -> Self {
        let (level_idx, tier) = (5, 0);
        Self::new(
            CodecName::Av1,
            Fmtp::Av1 {
                profile,
                level_idx,
                tier,
            },
        )
    }

    /// Opus (RFC 7587), with a clock of 48,000 Hz whatever it was sampled with.
    #[must_use]
    pub fn opus() -> Self {
        let text = String::new();
        Self::new(CodecName::Opus, Fmtp::Opus { text })
    }

    /// G.722 (RFC 3551 §4.5.2). Its RTP clock is 8,000 Hz, though it samples 16,000.
    #[must_use]
    pub fn g722() -> Self {
        Self::new(CodecName::G722, Fmtp::None)
    }

    /// G.711 µ-law (RFC 3551 §4.5.14), mono.
    #[must_use]
    pub fn pcmu() -> Self {
        Self::new(CodecName::Pcmu, Fmtp::None)
    }

    /// G.711 A-law (RFC 3551 §4.5.14), mono.
    #[must_use]
    pub fn pcma() -> Self {
        Self::new(CodecName::Pcma, Fmtp::None)
    }

    fn new(name: CodecName, fmtp: Fmtp) -> Self {
        let (clock_rate, channels) = name.clock_and_channels();
        Self {
            name,
            clock_rate,
            channels,
            fmtp,
        }
    }

    /// Makes sense of an `a=rtpmap` and its `a=fmtp`. `None`: not a codec that is served here, not
    /// with that clock, or with parameters that do not parse.
    #[must_use]
    pub fn from_sdp(encoding: &str, clock_rate: u32, channels: u8, fmtp: &str) -> Option<Self> {
        let name = CodecName::from_encoding(encoding)?;
        if (clock_rate, channels) != name.clock_and_channels() {
            return None;
        }
        Some(Self {
            name,
            clock_rate,
            channels,
            fmtp: Fmtp::parse(name, fmtp)?,
        })
    }

    /// The codec behind a payload type that needs no `a=rtpmap` (RFC 3551 §6).
    pub(crate) fn from_static_payload_type(payload_type: u8) -> Option<Self> {
        let name = match payload_type {
            0 => CodecName::Pcmu,
            8 => CodecName::Pcma,
            9 => CodecName::G722,
            _ => return None,
        };
        Some(Self::new(name, Fmtp::None))
    }

    /// Video or audio.
    #[must_use]
    pub fn kind(&self) -> MediaKind {
        self.name.kind()
    }

    /// The name as its RTP payload format registers it, for an `a=rtpmap`: `H264`, `opus`. Compared
    /// without regard to case.
    #[must_use]
    pub fn encoding(&self) -> &'static str {
        self.name.encoding()
    }

    /// Units of RTP timestamps per second.
    #[must_use]
    pub fn clock_rate(&self) -> u32 {
        self.clock_rate
    }

    /// So much time in units of RTP timestamps, which wrap. The nearest.
    #[expect(clippy::cast_possible_truncation, reason = "RTP timestamps wrap")]
    pub(crate) fn ticks(&self, interval: Duration) -> u32 {
        ((interval.as_nanos() * u128::from(self.clock_rate) + 500_000_000) / 1_000_000_000) as u32
    }
}

/// For people: the name, and of the parameters those that decide who can play it.
impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        match &self.fmtp {
            Fmtp::H264 {
                profile_idc,
                profile_iop,
                level_idc,
                packetization_mode,
            } => write!(
                f,
                " (profile-level-id {profile_idc:02x}{profile_iop:02x}{level_idc:02x}, packetization-mode \
                 {packetization_mode})"
            ),
            Fmtp::H265 {
                profile_id,
                level_id,
                ..
            } => write!(f, " (profile-id {profile_id}, level-id {level_id})"),
            Fmtp::Vp9 { profile_id } => write!(f, " (profile-id {profile_id})"),
            Fmtp::Av1 { profile, .. } => write!(f, " (profile {profile})"),
            Fmtp::Opus { .. } | Fmtp::None => Ok(()),
        }
    }
}

/// Video or audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

impl MediaKind {
    /// As an SDP `m=` line spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
        }
    }
}

impl fmt::Display for MediaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The codecs that are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum CodecName {
    /// RFC 6184.
    H264,
    /// RFC 7798.
    H265,
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// RTP Payload Format For AV1.
    Av1,
    /// RFC 7587.
    Opus,
    /// RFC 3551 §4.5.2.
    G722,
    /// RFC 3551 §4.5.14.
    Pcmu,
    /// RFC 3551 §4.5.14.
    Pcma,
}

impl CodecName {
    /// Every one of a kind, for messages that say what could be offered instead.
    pub(crate) fn all(kind: MediaKind) -> &'static [Self] {
        match kind {
            MediaKind::Video => &[Self::H264, Self::H265, Self::Vp8, Self::Vp9, Self::Av1],
            MediaKind::Audio => &[Self::Opus, Self::G722, Self::Pcmu, Self::Pcma],
        }
    }

    /// As people and interfaces spell it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::H265 => "H265",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::Av1 => "AV1",
            Self::Opus => "Opus",
            Self::G722 => "G722",
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
        }
    }

    /// As its RTP payload format registers it, for `a=rtpmap`. Read without regard to case.
    pub(crate) fn encoding(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            other => other.as_str(),
        }
    }

    /// Video or audio.
    pub(crate) fn kind(self) -> MediaKind {
        match self {
            Self::H264 | Self::H265 | Self::Vp8 | Self::Vp9 | Self::Av1 => MediaKind::Video,
            Self::Opus | Self::G722 | Self::Pcmu | Self::Pcma => MediaKind::Audio,
        }
    }

    fn from_encoding(encoding: &str) -> Option<Self> {
        [MediaKind::Video, MediaKind::Audio]
            .into_iter()
            .flat_map(Self::all)
            .copied()
            .find(|name| name.as_str().eq_ignore_ascii_case(encoding))
    }

    fn clock_and_channels(self) -> (u32, u8) {
        match self.kind() {
            MediaKind::Video => (90_000, 1),
            MediaKind::Audio if self == Self::Opus => (48_000, 2),
            MediaKind::Audio => (8_000, 1),
        }
    }
}

impl fmt::Display for CodecName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The format parameters of a payload type, with the defaults that its RFC gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fmtp {
    /// Nothing that matters.
    None,
    /// RFC 6184 §8.1.
    H264 {
        /// First byte of `profile-level-id`.
        profile_idc: u8,
        /// Second: the constraint flags.
        profile_iop: u8,
        /// Third.
        level_idc: u8,
        /// 0: single NAL units. 1: also STAP-A and FU-A. 2 is interleaved, which nobody offers.
        packetization_mode: u8,
    },
    /// RFC 7798 §7.1.
    H265 {
        /// 1 is Main, 2 is Main 10.
        profile_id: u8,
        /// 0 is Main tier, 1 is High tier.
        tier_flag: u8,
        /// Thirty times the level: 93 is 3.1.
        level_id: u8,
        /// How parameter sets and layers are spread over RTP streams.
        tx_mode: TxMode,
    },
    /// RFC 9628 §6.
    Vp9 {
        /// Bit depth and subsampling.
        profile_id: u8,
    },
    /// RTP Payload Format For AV1 §7.2.1.
    Av1 {
        /// 0 is Main, 1 is High, 2 is Professional.
        profile: u8,
        /// Of the highest operating point.
        level_idx: u8,
        /// 0 is Main tier, 1 is High tier.
        tier: u8,
    },
    /// RFC 7587 §6.1: wishes of a receiver, none of which decides who can play it.
    Opus {
        /// As offered.
        text: String,
    },
}

impl Fmtp {
    fn parse(name: CodecName, text: &str) -> Option<Self> {
        let number = |key: &str, default: u8| match parameter(text, key) {
            Some(value) => value.parse().ok(),
            None => Some(default),
        };
        Some(match name {
            CodecName::H264 => {
                // Without the parameter: Baseline at level 1 (RFC 6184 §8.1).
                let id = parameter(text, "profile-level-id").unwrap_or("42000a");
                if id.len() != 6 || !id.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return None;
                }
                let [_, profile_idc, profile_iop, level_idc] =
                    u32::from_str_radix(id, 16).ok()?.to_be_bytes();
                Self::H264 {
                    profile_idc,
                    profile_iop,
                    level_idc,
                    packetization_mode: number("packetization-mode", 0)
                        .filter(|mode| *mode <= 1)?,
                }
            }
            CodecName::H265 => Self::H265 {
                profile_id: number("profile-id", 1)?,
                tier_flag: number("tier-flag", 0)?,
                level_id: number("level-id", 93)?,
                tx_mode: match parameter(text, "tx-mode") {
                    Some(mode) if !mode.eq_ignore_ascii_case("SRST") => TxMode::Multiple,
                    _ => TxMode::Single,
                },
            },
            CodecName::Vp9 => Self::Vp9 {
                profile_id: number("profile-id", 0)?,
            },
            CodecName::Av1 => Self::Av1 {
                profile: number("profile", 0)?,
                level_idx: number("level-idx", 5)?,
                tier: number("tier", 0)?,
            },
            CodecName::Opus => Self::Opus {
                text: text.to_owned(),
            },
            CodecName::Vp8 | CodecName::G722 | CodecName::Pcmu | CodecName::Pcma => Self::None,
        })
    }
}

/// `tx-mode` of H265 (RFC 7798 §7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TxMode {
    /// SRST: one RTP stream. What everybody does.
    Single,
    /// MRST, MRMT.
    Multiple,
}

/// The value of `key` in `a=1;b=2`, whatever the case of the key and the spaces around.
fn parameter<'a>(fmtp: &'a str, key: &str) -> Option<&'a str> {
    fmtp.split(';')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case(key))
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_without_regard_to_case() {
        let codec = Codec::from_sdp("OPUS", 48_000, 2, "minptime=10").unwrap();
        assert_eq!(codec.name, CodecName::Opus);
        assert_eq!(codec.to_string(), "Opus");
        assert_eq!(codec.name.encoding(), "opus");
    }

    #[test]
    fn a_known_name_with_a_strange_clock_is_unknown() {
        assert_eq!(Codec::from_sdp("opus", 16_000, 2, ""), None);
        assert_eq!(Codec::from_sdp("H264", 8_000, 1, ""), None);
        assert_eq!(Codec::from_sdp("PCMU", 8_000, 2, ""), None);
    }

    #[test]
    fn parameters_come_in_any_case_and_spacing() {
        let codec = Codec::from_sdp(
            "h264",
            90_000,
            1,
            "Packetization-Mode=1; PROFILE-LEVEL-ID=42E01F",
        )
        .unwrap();
        assert_eq!(
            codec.fmtp,
            Fmtp::H264 {
                profile_idc: 0x42,
                profile_iop: 0xe0,
                level_idc: 0x1f,
                packetization_mode: 1
            }
        );
        assert_eq!(
            codec.to_string(),
            "H264 (profile-level-id 42e01f, packetization-mode 1)"
        );
    }

    #[test]
    fn parameters_that_are_missing_have_the_defaults_of_their_rfc() {
        let fmtp = |name| Codec::from_sdp(name, 90_000, 1, "").unwrap().fmtp;
        assert!(matches!(
            fmtp("H264"),
            Fmtp::H264 {
                profile_idc: 0x42,
                profile_iop: 0,
                level_idc: 10,
                packetization_mode: 0
            }
        ));
        assert!(matches!(
            fmtp("H265"),
            Fmtp::H265 {
                profile_id: 1,
                tier_flag: 0,
                level_id: 93,
                tx_mode: TxMode::Single
            }
        ));
        assert_eq!(fmtp("VP9"), Fmtp::Vp9 { profile_id: 0 });
        assert_eq!(
            fmtp("AV1"),
            Fmtp::Av1 {
                profile: 0,
                level_idx: 5,
                tier: 0
            }
        );
    }

    #[test]
    fn parameters_that_do_not_parse_make_the_codec_unknown() {
        assert_eq!(
            Codec::from_sdp("H264", 90_000, 1, "profile-level-id=42"),
            None
        );
        assert_eq!(
            Codec::from_sdp("H264", 90_000, 1, "profile-level-id=zzzzzz"),
            None
        );
        assert_eq!(
            Codec::from_sdp("H264", 90_000, 1, "profile-level-id=+42e01"),
            None
        );
        assert_eq!(
            Codec::from_sdp("H264", 90_000, 1, "packetization-mode=2"),
            None
        );
        assert_eq!(Codec::from_sdp("VP9", 90_000, 1, "profile-id=x"), None);
    }

    #[test]
    fn three_payload_types_need_no_rtpmap() {
        let name =
            |payload_type| Codec::from_static_payload_type(payload_type).map(|codec| codec.name);
        assert_eq!(name(0), Some(CodecName::Pcmu));
        assert_eq!(name(8), Some(CodecName::Pcma));
        assert_eq!(name(9), Some(CodecName::G722));
        assert_eq!(name(3), None);
    }
}
