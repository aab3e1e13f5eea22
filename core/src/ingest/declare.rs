//! What was negotiated with a publisher, in str0m's words.

use str0m::format::{Codec as Str0mCodec, CodecSpec, FormatParams, PayloadParams};
use str0m::media::{Frequency, MediaKind as Str0mMediaKind, Mid, Pt};
use str0m::{Rtc, RtcError};

use crate::control::Credentials;
use crate::ingest::nacks::Nacks;
use crate::ingest::{Extensions, Lane, Published, str0m_credentials};
use crate::media::{CodecName, MediaKind};

/// Tells str0m what was negotiated. The tracks' histories record numbers of so large a `window`.
pub(super) fn declare(
    rtc: &mut Rtc,
    tracks: Vec<Published>,
    credentials: &Credentials,
    extensions: Extensions,
    window: usize,
) -> Result<heapless::Vec<Lane, 2>, RtcError> {
    let mut lanes = heapless::Vec::new();
    let mut api = rtc.direct_api();
    api.set_ice_controlling(false);
    api.set_remote_ice_credentials(str0m_credentials());
    api.set_remote_fingerprint(str0m::crypto::Fingerprint {
        hash_func: credentials.fingerprint.hash.as_str().to_owned(),
        bytes: credentials.fingerprint.bytes.clone(),
    });
    if extensions.transport_cc.is_some() {
        api.enable_twcc_feedback();
    }
    for (place, published) in tracks.into_iter().enumerate() {
        // str0m cuts mids at 16 bytes. Where none comes in packets, any two will do that differ.
        let mid = match extensions.mid {
            Some(_) => Mid::from(published.mid.as_str()),
            None => Mid::from(place.to_string().as_str()),
        };
        let kind = match published.codec.kind() {
            MediaKind::Video => Str0mMediaKind::Video,
            MediaKind::Audio => Str0mMediaKind::Audio,
        };
        api.declare_media(mid, kind);
        if let Some(ssrc) = published.ssrc {
            // What is missing is asked for by us.
            api.expect_stream_rx(ssrc.into(), published.rtx_ssrc.map(Into::into), mid, None)
                .suppress_nack(true);
        }
        let nacks = Nacks::new(window, published.nack);
        let pushed = lanes.push(Lane {
            published,
            mid,
            ssrc: None,
            rtx: None,
            nacks,
        });
        debug_assert!(
            pushed.is_ok(),
            "a publisher has one video and one audio track at most"
        );
    }
    api.start_dtls(credentials.active)?;
    Ok(lanes)
}

/// A track's payload type as str0m knows it.
pub(super) fn payload_params(published: &Published) -> PayloadParams {
    let codec = &published.codec;
    let spec = CodecSpec {
        codec: match codec.name {
            CodecName::H264 => Str0mCodec::H264,
            CodecName::H265 => Str0mCodec::H265,
            CodecName::Vp8 => Str0mCodec::Vp8,
            CodecName::Vp9 => Str0mCodec::Vp9,
            CodecName::Av1 => Str0mCodec::Av1,
            CodecName::Opus => Str0mCodec::Opus,
            CodecName::G722 => Str0mCodec::G722,
            CodecName::Pcmu => Str0mCodec::PCMU,
            CodecName::Pcma => Str0mCodec::PCMA,
        },
        // str0m knows of G722 that its RTP clock is not its sampling rate.
        clock_rate: match codec.name {
            CodecName::G722 => Frequency::SIXTEEN_KHZ,
            CodecName::Pcmu | CodecName::Pcma => Frequency::EIGHT_KHZ,
            CodecName::Opus => Frequency::FORTY_EIGHT_KHZ,
            _ => Frequency::NINETY_KHZ,
        },
        channels: (codec.kind() == MediaKind::Audio).then_some(codec.channels),
        format: FormatParams::default(),
    };
    let rtx = published.rtx_payload_type.map(Pt::new_with_value);
    let mut params = PayloadParams::new(Pt::new_with_value(published.payload_type), rtx, spec);
    params.set_fb_nack(published.nack);
    params.set_fb_pli(published.pli);
    params.set_fb_fir(published.fir);
    params.set_fb_transport_cc(published.transport_cc);
    params.set_fb_remb(false);
    params
}
