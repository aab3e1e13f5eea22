//! Whether one who offers to receive a codec can play a stream of another.
//!
//! Levels are not compared: the field offers 3.1 and decodes whatever comes
//! (`level-asymmetry-allowed`), and a viewer refused for a level would have played.

use crate::media::{Codec, Fmtp, TxMode};

/// How well a receiver's payload type fits a stream. Better ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Match {
    /// The receiver would not decode it.
    No,
    /// Another profile, whose decoders play this one.
    Compatible,
    /// The same profile.
    Exact,
}

impl Codec {
    /// How well `receiver`, a payload type that a viewer offers, fits this stream.
    pub(crate) fn fits(&self, receiver: &Self) -> Match {
        if (self.name, self.clock_rate, self.channels)
            != (receiver.name, receiver.clock_rate, receiver.channels)
        {
            return Match::No;
        }
        match (&self.fmtp, &receiver.fmtp) {
            (
                Fmtp::H264 {
                    profile_idc,
                    profile_iop,
                    packetization_mode,
                    ..
                },
                Fmtp::H264 {
                    profile_idc: receiver_idc,
                    profile_iop: receiver_iop,
                    packetization_mode: receiver_mode,
                    ..
                },
            ) => {
                let profile = h264_profile(*profile_idc, *profile_iop);
                let decoder = h264_profile(*receiver_idc, *receiver_iop);
                profile
                    .fits(decoder)
                    .min(h264_mode(*packetization_mode, *receiver_mode))
            }
            (
                Fmtp::H265 {
                    profile_id,
                    tx_mode,
                    ..
                },
                Fmtp::H265 {
                    profile_id: receiver_profile,
                    tx_mode: receiver_mode,
                    ..
                },
            ) => h265(*profile_id, *receiver_profile).min(exact_if(
                tx_mode == receiver_mode && *tx_mode == TxMode::Single,
            )),
            (
                Fmtp::Vp9 { profile_id },
                Fmtp::Vp9 {
                    profile_id: receiver_profile,
                },
            ) => exact_if(profile_id == receiver_profile),
            (
                Fmtp::Av1 { profile, .. },
                Fmtp::Av1 {
                    profile: receiver_profile,
                    ..
                },
            ) => exact_if(profile == receiver_profile),
            // VP8 and the audio codecs: their parameters are wishes, not conditions.
            _ => Match::Exact,
        }
    }
}

fn exact_if(same: bool) -> Match {
    if same { Match::Exact } else { Match::No }
}

/// A receiver of packetization mode 1 takes what mode 0 sends: single NAL units (RFC 6184 §6.3).
fn h264_mode(stream: u8, receiver: u8) -> Match {
    match (stream, receiver) {
        (stream, receiver) if stream == receiver => Match::Exact,
        (0, 1) => Match::Compatible,
        _ => Match::No,
    }
}

/// Decoders of Main 10 must decode Main (H.265 A.3.3).
fn h265(stream: u8, receiver: u8) -> Match {
    match (stream, receiver) {
        (stream, receiver) if stream == receiver => Match::Exact,
        (1, 2) => Match::Compatible,
        _ => Match::No,
    }
}

/// What `profile_idc` and `profile_iop` say together (RFC 6184 §8.1, table 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    ConstrainedHigh,
    High,
    High444Predictive,
    /// Any other, by its two bytes.
    Other(u8, u8),
}

impl H264Profile {
    /// Each step's decoders play the steps before (H.264 A.2): it is 4:4:4 that Chromium names where
    /// it decodes in software, and High is not in its list. Within a step the profiles differ by tools that
    /// no real-time encoder uses: slice groups and redundant slices in Baseline, interlace and
    /// B slices in High.
    fn step(self) -> Option<u8> {
        match self {
            Self::ConstrainedBaseline | Self::Baseline => Some(0),
            Self::Main => Some(1),
            Self::ConstrainedHigh | Self::High => Some(2),
            Self::High444Predictive => Some(3),
            Self::Other(..) => None,
        }
    }

    fn fits(self, decoder: Self) -> Match {
        if self == decoder {
            return Match::Exact;
        }
        match (self.step(), decoder.step()) {
            (Some(stream), Some(decoder)) if stream <= decoder => Match::Compatible,
            _ => Match::No,
        }
    }
}

fn h264_profile(idc: u8, iop: u8) -> H264Profile {
    // Constraint flags set0, set1, … from the highest bit down.
    let (set0, set1, set3) = (iop & 0x80 != 0, iop & 0x40 != 0, iop & 0x10 != 0);
    match idc {
        0x42 if set1 => H264Profile::ConstrainedBaseline,
        0x42 => H264Profile::Baseline,
        0x4d if set0 => H264Profile::ConstrainedBaseline,
        0x4d => H264Profile::Main,
        0x58 if set0 && set1 => H264Profile::ConstrainedBaseline,
        0x58 if set0 => H264Profile::Baseline,
        0x64 if iop & 0x0c == 0x0c => H264Profile::ConstrainedHigh,
        0x64 => H264Profile::High,
        // With set3 it is the intra profile.
        0xf4 if !set3 => H264Profile::High444Predictive,
        _ => H264Profile::Other(idc, iop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(name: &str, fmtp: &str) -> Codec {
        Codec::from_sdp(name, 90_000, 1, fmtp).unwrap()
    }

    fn h264(profile: &str, mode: u8) -> Codec {
        video(
            "H264",
            &format!("profile-level-id={profile};packetization-mode={mode}"),
        )
    }

    #[test]
    fn the_same_h264_profile_is_exact_whatever_its_level() {
        assert_eq!(h264("42e01f", 1).fits(&h264("42e034", 1)), Match::Exact);
        assert_eq!(h264("42e02a", 1).fits(&h264("42c01f", 1)), Match::Exact);
        assert_eq!(h264("424028", 1).fits(&h264("42e01f", 1)), Match::Exact);
        assert_eq!(h264("4d801f", 1).fits(&h264("42e01f", 1)), Match::Exact);
        assert_eq!(h264("640c1f", 1).fits(&h264("640c34", 1)), Match::Exact);
        assert_eq!(h264("f4001f", 1).fits(&h264("f40028", 1)), Match::Exact);
    }

    #[test]
    fn h264_decoders_of_a_higher_profile_play_lower_ones() {
        for decoder in ["42001f", "4d001f", "64001f", "640c1f", "f4001f"] {
            assert_eq!(
                h264("42e01f", 1).fits(&h264(decoder, 1)),
                Match::Compatible,
                "{decoder}"
            );
        }
        assert_eq!(
            h264("42001f", 1).fits(&h264("42e01f", 1)),
            Match::Compatible
        );
        assert_eq!(
            h264("64001f", 1).fits(&h264("640c1f", 1)),
            Match::Compatible
        );
        assert_eq!(
            h264("4d001f", 1).fits(&h264("640c1f", 1)),
            Match::Compatible
        );
        assert_eq!(
            h264("64001f", 1).fits(&h264("f4001f", 1)),
            Match::Compatible
        );
    }

    #[test]
    fn h264_decoders_of_a_lower_profile_do_not_play_higher_ones() {
        assert_eq!(h264("64001f", 1).fits(&h264("42e01f", 1)), Match::No);
        assert_eq!(h264("64001f", 1).fits(&h264("4d001f", 1)), Match::No);
        assert_eq!(h264("4d001f", 1).fits(&h264("42001f", 1)), Match::No);
        assert_eq!(h264("f4001f", 1).fits(&h264("64001f", 1)), Match::No);
        assert_eq!(h264("64001f", 1).fits(&h264("f4101f", 1)), Match::No);
    }

    #[test]
    fn fragmented_h264_needs_a_receiver_of_fragments() {
        assert_eq!(h264("42e01f", 1).fits(&h264("42e01f", 0)), Match::No);
        assert_eq!(h264("42e01f", 0).fits(&h264("42e01f", 0)), Match::Exact);
        assert_eq!(
            h264("42e01f", 0).fits(&h264("42e01f", 1)),
            Match::Compatible
        );
    }

    #[test]
    fn h265_goes_by_profile_and_not_by_level() {
        let main = video("H265", "level-id=120;profile-id=1;tier-flag=0;tx-mode=SRST");
        assert_eq!(main.fits(&video("H265", "level-id=93")), Match::Exact);
        assert_eq!(main.fits(&video("H265", "profile-id=2")), Match::Compatible);
        assert_eq!(video("H265", "profile-id=2").fits(&main), Match::No);
        assert_eq!(main.fits(&video("H265", "tx-mode=MRST")), Match::No);
    }

    #[test]
    fn vp9_and_av1_go_by_profile_and_default_to_0() {
        assert_eq!(
            video("VP9", "").fits(&video("VP9", "profile-id=0")),
            Match::Exact
        );
        assert_eq!(
            video("VP9", "profile-id=2").fits(&video("VP9", "")),
            Match::No
        );
        assert_eq!(
            video("AV1", "level-idx=8;profile=0;tier=0").fits(&video("AV1", "")),
            Match::Exact
        );
        assert_eq!(video("AV1", "profile=1").fits(&video("AV1", "")), Match::No);
    }

    #[test]
    fn codecs_of_other_names_never_match() {
        assert_eq!(video("VP8", "").fits(&video("VP9", "")), Match::No);
        let pcmu = Codec::from_static_payload_type(0).unwrap();
        let pcma = Codec::from_static_payload_type(8).unwrap();
        assert_eq!(pcmu.fits(&pcma), Match::No);
        assert_eq!(pcmu.fits(&pcmu), Match::Exact);
    }

    #[test]
    fn opus_plays_whatever_the_receiver_wishes() {
        let opus = |fmtp| Codec::from_sdp("opus", 48_000, 2, fmtp).unwrap();
        assert_eq!(
            opus("stereo=1").fits(&opus("minptime=10;useinbandfec=1")),
            Match::Exact
        );
    }
}
