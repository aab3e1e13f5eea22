//! Payload types, put together from the lines of a media section that speak of them.

use sdp_types::{Media, RtcpFb, RtcpFbCcm, RtcpFbNack, RtcpFbPt, RtcpFbVal, RtpMap};

use crate::media::Codec;
use crate::signal::offer::text::Attribute;
use crate::signal::offer::{typed, values};

/// One payload type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    /// 0 to 63 or 96 to 127.
    pub(crate) payload_type: u8,
    /// The encoding's name as offered. For messages.
    pub(crate) encoding: String,
    /// `a=fmtp` as offered, without the payload type.
    pub(crate) fmtp: Option<String>,
    /// RTCP feedback that the peer can do for it (RFC 4585).
    pub(crate) feedback: Feedback,
    /// Of RTX: the payload type it repairs (RFC 4588).
    pub(crate) repairs: Option<u8>,
    /// The codec, where it is one that is served.
    pub(crate) codec: Option<Codec>,
}

/// RTCP feedback of a payload type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Feedback {
    /// Lost packets are asked for (RFC 4585 §6.2.1).
    pub(crate) nack: bool,
    /// A keyframe is asked for since pictures were lost (RFC 4585 §6.3.1).
    pub(crate) nack_pli: bool,
    /// A keyframe is asked for (RFC 5104 §4.3.1).
    pub(crate) ccm_fir: bool,
    /// Arrival times for congestion control
    /// (draft-holmer-rmcat-transport-wide-cc-extensions-01).
    pub(crate) transport_cc: bool,
}

impl Feedback {
    fn add(&mut self, value: &RtcpFbVal) {
        match value {
            RtcpFbVal::Nack(None) => self.nack = true,
            RtcpFbVal::Nack(Some(RtcpFbNack::Pli)) => self.nack_pli = true,
            RtcpFbVal::Ccm(RtcpFbCcm::Fir) => self.ccm_fir = true,
            RtcpFbVal::TransportCc => self.transport_cc = true,
            _ => {}
        }
    }
}

/// Each attribute is looked at once, so that a hostile offer of thousands costs no more than its
/// length.
pub(super) fn payloads(media: &Media, attributes: &[Attribute<'_>]) -> Vec<Payload> {
    let mut raw: Vec<RawPayload> = Vec::new();
    for format in media.fmt.split_ascii_whitespace() {
        let Some(payload_type) = format
            .parse::<u8>()
            .ok()
            .filter(|payload_type| is_distinct_from_rtcp(*payload_type))
        else {
            continue;
        };
        if !raw
            .iter()
            .any(|payload| payload.payload_type == payload_type)
        {
            raw.push(RawPayload {
                payload_type,
                ..RawPayload::default()
            });
        }
    }
    for map in typed::<RtpMap>(attributes) {
        if let Some(payload) = raw
            .iter_mut()
            .find(|payload| payload.payload_type == map.payload_type)
        {
            payload.map.get_or_insert(map);
        }
    }
    for (number, fmtp) in values(attributes, "fmtp").filter_map(|value| value.split_once(' ')) {
        let number = number.parse().ok();
        if let Some(payload) = raw
            .iter_mut()
            .find(|payload| Some(payload.payload_type) == number)
        {
            payload.fmtp.get_or_insert_with(|| fmtp.trim().to_owned());
        }
    }
    for line in typed::<RtcpFb>(attributes) {
        let is_meant = |payload: &&mut RawPayload| match line.pt {
            RtcpFbPt::Wildcard => true,
            RtcpFbPt::Fmt(number) => number == payload.payload_type,
        };
        for payload in raw.iter_mut().filter(is_meant) {
            payload.feedback.add(&line.val);
        }
    }
    raw.into_iter().map(Payload::from).collect()
}

/// Whether packets with it can share a port with RTCP (RFC 5761 §4): with the marker bit, 64 to 95
/// look like RTCP packet types.
fn is_distinct_from_rtcp(payload_type: u8) -> bool {
    matches!(payload_type, 0..=63 | 96..=127)
}

/// A payload type with its lines, before they are made sense of.
#[derive(Default)]
struct RawPayload {
    payload_type: u8,
    map: Option<RtpMap>,
    fmtp: Option<String>,
    feedback: Feedback,
}

impl From<RawPayload> for Payload {
    fn from(raw: RawPayload) -> Self {
        let fmtp = raw.fmtp.as_deref();
        let codec = match &raw.map {
            Some(map) => {
                let channels = map.encoding_params.as_deref().map_or(Ok(1), str::parse);
                channels.ok().and_then(|channels| {
                    Codec::from_sdp(
                        &map.encoding_name,
                        map.clock_rate,
                        channels,
                        fmtp.unwrap_or_default(),
                    )
                })
            }
            None => Codec::from_static_payload_type(raw.payload_type),
        };
        let encoding = match (raw.map, &codec) {
            (Some(map), _) => map.encoding_name,
            (None, Some(codec)) => codec.name.encoding().to_owned(),
            (None, None) => format!("payload type {} without a=rtpmap", raw.payload_type),
        };
        let repairs = fmtp
            .filter(|_| encoding.eq_ignore_ascii_case("rtx"))
            .and_then(apt);
        Self {
            payload_type: raw.payload_type,
            encoding,
            fmtp: raw.fmtp,
            feedback: raw.feedback,
            repairs,
            codec,
        }
    }
}

/// The payload type that an RTX payload type repairs.
fn apt(fmtp: &str) -> Option<u8> {
    fmtp.split(';')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("apt"))
        .and_then(|(_, value)| value.trim().parse().ok())
}
