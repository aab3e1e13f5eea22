//! Offers that a client did not write: those of other implementations, and odd ones.
//!
//! The text stays as it is but for what says whose it is: ICE credentials and the fingerprint.
//! What the answer makes of it is told to str0m by its direct interface, so that str0m's own
//! reading of SDP has no say.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use str0m::config::{DtlsCert, Fingerprint};
use str0m::format::{Codec, CodecConfig, CodecSpec, PayloadParams};
use str0m::media::{Frequency, MediaKind, Mid, Pt};
use str0m::rtp::{Extension, Ssrc};
use str0m::{Candidate, IceCreds, Rtc, RtcConfig};

/// Mids that fit into str0m, and into a header extension of one byte (RFC 8285 §4.2).
const MID_LEN_MAX: usize = 16;

/// An offer, and who makes it.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) offer: String,
    credentials: IceCreds,
    certificate: DtlsCert,
}

/// What an answer made of an offer.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) rtc: Rtc,
    pub(super) tracks: Vec<Track>,
}

/// One media section that was taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Track {
    pub(super) kind: MediaKind,
    pub(super) mid: Mid,
    pub(super) pt: Pt,
}

impl Text {
    /// Makes the offer that of a client with this certificate.
    pub(super) fn new(text: &str, certificate: DtlsCert) -> Self {
        let credentials = IceCreds::new();
        let digest = ring::digest::digest(&ring::digest::SHA256, &certificate.certificate);
        let fingerprint = digest.as_ref().iter().map(|byte| format!("{byte:02X}"));
        let fingerprint = fingerprint.collect::<Vec<_>>().join(":");
        let mut offer = String::new();
        for line in text.split_inclusive('\n') {
            let (body, end) = line.split_at(line.trim_end().len());
            let name = body.split([':', ' ']).next().unwrap_or_default();
            match (name, body.split_once(' ')) {
                ("a=ice-ufrag", _) => offer += &format!("{name}:{}{end}", credentials.ufrag),
                ("a=ice-pwd", _) => offer += &format!("{name}:{}{end}", credentials.pass),
                // Whatever the case of the name, and of the digits.
                ("a=fingerprint", Some((hash, digits))) => {
                    if !hash.eq_ignore_ascii_case("a=fingerprint:sha-256") {
                        continue;
                    }
                    let is_lower = digits.bytes().any(|byte| byte.is_ascii_lowercase());
                    let digits = if is_lower {
                        fingerprint.to_ascii_lowercase()
                    } else {
                        fingerprint.clone()
                    };
                    offer += &format!("{hash} {digits}{end}");
                }
                _ => offer += line,
            }
        }
        Self {
            offer,
            credentials,
            certificate,
        }
    }

    /// Does what an answer says.
    pub(super) fn settle(
        &self,
        now: Instant,
        local: SocketAddr,
        config: RtcConfig,
        answer: &str,
    ) -> Result<Settled, String> {
        let (session, answered) = sections(answer);
        let (_, offered) = sections(&self.offer);
        if answered.len() != offered.len() {
            return Err("the answer has another number of sections".to_owned());
        }
        let stays: Vec<_> = answered
            .iter()
            .zip(&offered)
            .filter(|(section, _)| section.split(' ').nth(1) != Some("0"))
            .collect();
        // The one that describes the transport of all (RFC 9143 §7.1.3), inactive or not.
        let (first, _) = stays.first().ok_or("nothing was taken")?;
        let taken: Vec<_> = stays
            .iter()
            .filter(|(section, _)| !lines(section).any(|line| line == "a=inactive"))
            .collect();
        let of_transport = |name: &str| {
            value(first, name)
                .or_else(|| value(session, name))
                .ok_or_else(|| format!("the answer has no {name}"))
        };

        let (of_media, _) = taken.first().ok_or("nothing was taken")?;
        let mid_extension =
            value_ending(of_media, "a=extmap:", "urn:ietf:params:rtp-hdrext:sdes:mid");
        let payloads: Vec<_> = taken.iter().map(|(section, _)| payload(section)).collect();
        let payloads = payloads.into_iter().collect::<Result<Vec<_>, _>>()?;
        let mut config = config
            .set_dtls_cert(self.certificate.clone())
            .set_local_ice_credentials(self.credentials.clone())
            .clear_extension_map();
        if let Some(id) = mid_extension.and_then(|id| id.parse().ok()) {
            config = config.set_extension(id, Extension::RtpMid);
        }
        *config.codec_config() = CodecConfig::new_from_payload_params(payloads.clone());
        let mut rtc = config.build(now);
        let candidate = Candidate::host(local, "udp").map_err(|e| e.to_string())?;
        rtc.add_local_candidate(candidate);
        for line in lines(first).filter_map(|line| line.strip_prefix("a=candidate:")) {
            let candidate = Candidate::from_sdp_string(&format!("candidate:{line}"));
            rtc.add_remote_candidate(candidate.map_err(|e| e.to_string())?);
        }

        let mut api = rtc.direct_api();
        api.set_ice_controlling(true);
        api.set_remote_ice_credentials(IceCreds {
            ufrag: of_transport("a=ice-ufrag:")?.to_owned(),
            pass: of_transport("a=ice-pwd:")?.to_owned(),
        });
        api.set_remote_fingerprint(fingerprint(of_transport("a=fingerprint:")?)?);
        let mut tracks = Vec::new();
        for (index, ((section, offered), payload)) in taken.iter().zip(payloads).enumerate() {
            let kind = match section.starts_with("m=video ") {
                true => MediaKind::Video,
                false => MediaKind::Audio,
            };
            let name = value(section, "a=mid:").unwrap_or_default();
            if value(offered, "a=mid:").unwrap_or_default() != name {
                return Err(format!("{name} is not the mid that was offered"));
            }
            let mid = match mid_extension {
                Some(_) if name.len() <= MID_LEN_MAX => Mid::from(name),
                _ => Mid::from(index.to_string().as_str()),
            };
            api.declare_media(mid, kind);
            if lines(section).any(|line| line == "a=recvonly") {
                let (ssrc, repair) = sources(offered);
                let ssrc = ssrc.unwrap_or_else(|| api.new_ssrc());
                api.declare_stream_tx(ssrc, repair, mid, None);
            } else {
                let (ssrc, _) = sources(section);
                let ssrc = ssrc.ok_or("a viewer is not told its source")?;
                api.expect_stream_rx(ssrc, None, mid, None);
            }
            tracks.push(Track {
                kind,
                mid,
                pt: payload.pt(),
            });
        }
        let is_active = match of_transport("a=setup:")? {
            "passive" => true,
            "active" => false,
            other => return Err(format!("a=setup:{other} is no answer")),
        };
        api.start_dtls(is_active).map_err(|e| e.to_string())?;
        Ok(Settled { rtc, tracks })
    }
}

/// The session's part, and each section.
fn sections(text: &str) -> (&str, Vec<&str>) {
    let starts: Vec<_> = text.match_indices("\nm=").map(|(at, _)| at + 1).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let sections = starts.iter().zip(ends).map(|(from, to)| &text[*from..to]);
    let session = &text[..starts.first().copied().unwrap_or(text.len())];
    (session, sections.collect())
}

fn lines(section: &str) -> impl Iterator<Item = &str> {
    section.lines().map(str::trim_end)
}

fn value<'a>(section: &'a str, name: &str) -> Option<&'a str> {
    lines(section).find_map(|line| line.strip_prefix(name))
}

/// What stands between the start and the end of a line.
fn value_ending<'a>(section: &'a str, start: &str, end: &str) -> Option<&'a str> {
    lines(section)
        .filter_map(|line| line.strip_prefix(start))
        .find_map(|rest| rest.strip_suffix(end))
        .map(str::trim)
}

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    let (hash_func, digits) = text.split_once(' ').ok_or("a fingerprint has two parts")?;
    let bytes = digits.split(':').map(|byte| u8::from_str_radix(byte, 16));
    Ok(Fingerprint {
        hash_func: hash_func.to_owned(),
        bytes: bytes.collect::<Result<_, _>>().map_err(|e| e.to_string())?,
    })
}

/// The source that a section announces, and that of its repairs.
fn sources(section: &str) -> (Option<Ssrc>, Option<Ssrc>) {
    let number = |text: &str| text.parse::<u32>().ok().map(Ssrc::from);
    if let Some(group) = value(section, "a=ssrc-group:FID ") {
        let mut group = group.split(' ').map(number);
        return (group.next().flatten(), group.next().flatten());
    }
    let first = value(section, "a=ssrc:").and_then(|rest| number(rest.split(' ').next()?));
    (first, None)
}

/// The payload type of an answered section: one codec, and perhaps its repairs.
fn payload(section: &str) -> Result<PayloadParams, String> {
    let formats = section
        .lines()
        .next()
        .unwrap_or_default()
        .split(' ')
        .skip(3);
    let formats: Vec<u8> = formats
        .filter_map(|format| format.trim().parse().ok())
        .collect();
    let names: HashMap<u8, &str> = lines(section)
        .filter_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(' '))
        .filter_map(|(number, name)| Some((number.parse().ok()?, name)))
        .collect();
    let pt = *formats.first().ok_or("a section has no format")?;
    let name = names.get(&pt).ok_or("a format has no a=rtpmap")?;
    let encoding = name.split('/').next().unwrap_or_default();
    let (codec, clock_rate, channels) = match encoding.to_ascii_lowercase().as_str() {
        "h264" => (Codec::H264, Frequency::NINETY_KHZ, None),
        "h265" => (Codec::H265, Frequency::NINETY_KHZ, None),
        "vp8" => (Codec::Vp8, Frequency::NINETY_KHZ, None),
        "vp9" => (Codec::Vp9, Frequency::NINETY_KHZ, None),
        "av1" => (Codec::Av1, Frequency::NINETY_KHZ, None),
        "opus" => (Codec::Opus, Frequency::FORTY_EIGHT_KHZ, Some(2)),
        other => return Err(format!("{other} is no codec of these tests")),
    };
    let repair = formats.iter().find(|format| {
        names
            .get(format)
            .is_some_and(|name| name.to_ascii_lowercase().starts_with("rtx/"))
    });
    let spec = CodecSpec {
        codec,
        clock_rate,
        channels,
        format: Default::default(),
    };
    let mut params = PayloadParams::new(
        Pt::new_with_value(pt),
        repair.map(|repair| Pt::new_with_value(*repair)),
        spec,
    );
    let feedback = |what: &str| {
        let line = format!("a=rtcp-fb:{pt} {what}");
        lines(section).any(|l| l == line)
    };
    params.set_fb_nack(feedback("nack"));
    params.set_fb_pli(feedback("nack pli"));
    params.set_fb_fir(feedback("ccm fir"));
    params.set_fb_transport_cc(false);
    params.set_fb_remb(false);
    Ok(params)
}
