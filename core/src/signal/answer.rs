//! The SDP answer to an offer, from the plan that was made of it.
//!
//! Everything that comes from the offer (mids, formats, parameters) was one word or one line there
//! and is one here: what a peer writes cannot make lines of its own.

use std::fmt::{self, Write as _};

use crate::media::{Codec, CodecName, MediaKind};
use crate::signal::Role;
use crate::signal::offer::{Offer, Section};
use crate::signal::policy::{DtlsRole, Fate, MID_URI, Plan, TRANSPORT_CC_URI, TrackPlan};

/// Our side of a session, as the answer tells it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Local<'a> {
    /// Number of the session in the `o=` line, below 2⁶³ (RFC 9429 §5.2.1).
    pub(crate) session_id: u64,
    /// Our ICE user name fragment.
    pub(crate) ufrag: &'a str,
    /// Our ICE password.
    pub(crate) pwd: &'a str,
    /// SHA-256 of our certificate.
    pub(crate) fingerprint: &'a [u8],
    /// Complete `a=candidate:` lines, each with its CRLF. All there will ever be.
    pub(crate) candidates: &'a str,
}

/// The sources a viewer will see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources<'a> {
    /// Canonical name (RFC 3550 §6.5.1), the same for both: they are to be played in sync. Also
    /// the id of the media stream.
    pub(crate) cname: &'a str,
    /// Of video.
    pub(crate) video: Source,
    /// Of audio.
    pub(crate) audio: Source,
}

/// The sources of one track.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    /// Of media.
    pub(crate) ssrc: u32,
    /// Of repairs, where they are negotiated.
    pub(crate) rtx_ssrc: u32,
}

/// Writes the answer for a publisher.
pub(crate) fn publish(offer: &Offer, plan: &Plan, local: &Local<'_>) -> String {
    debug_assert_eq!(plan.role, Role::Publish);
    write(offer, plan, local, None)
}

/// Writes the answer for a viewer.
pub(crate) fn view(offer: &Offer, plan: &Plan, local: &Local<'_>, sources: &Sources<'_>) -> String {
    debug_assert_eq!(plan.role, Role::View);
    write(offer, plan, local, Some(sources))
}

fn write(offer: &Offer, plan: &Plan, local: &Local<'_>, sources: Option<&Sources<'_>>) -> String {
    let mut answer = Answer {
        text: String::with_capacity(2048),
        plan,
        local,
        sources,
        candidates_told: false,
    };
    answer.session(offer);
    for (section, fate) in offer.sections.iter().zip(&plan.fates) {
        answer.section(section, *fate);
    }
    answer.text
}

struct Answer<'a> {
    text: String,
    plan: &'a Plan,
    local: &'a Local<'a>,
    sources: Option<&'a Sources<'a>>,
    candidates_told: bool,
}

impl Answer<'_> {
    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(line);
        self.text.push_str("\r\n");
    }

    fn session(&mut self, offer: &Offer) {
        self.line(format_args!("v=0"));
        self.line(format_args!(
            "o=- {} 2 IN IP4 127.0.0.1",
            self.local.session_id
        ));
        self.line(format_args!("s=-"));
        self.line(format_args!("t=0 0"));
        let stays = |mid: &&String| {
            offer
                .sections
                .iter()
                .zip(&self.plan.fates)
                .any(|(section, fate)| section.mid.as_ref() == Some(mid) && *fate != Fate::Rejected)
        };
        let bundled: Vec<&str> = offer
            .bundle
            .iter()
            .filter(stays)
            .map(String::as_str)
            .collect();
        if !bundled.is_empty() {
            self.line(format_args!("a=group:BUNDLE {}", bundled.join(" ")));
        }
        self.line(format_args!("a=msid-semantic: WMS *"));
        self.line(format_args!("a=ice-lite"));
    }

    fn section(&mut self, section: &Section, fate: Fate) {
        let track = match fate {
            Fate::Taken(MediaKind::Video) => self.plan.video.as_ref(),
            Fate::Taken(MediaKind::Audio) => self.plan.audio.as_ref(),
            Fate::Inactive | Fate::Rejected => None,
        };
        match (fate, track, section.known().next()) {
            (Fate::Taken(_), Some(track), _) => self.taken(section, track),
            (Fate::Inactive, _, Some((payload, codec))) => {
                self.inactive(section, payload.payload_type, codec)
            }
            _ => self.rejected(section),
        }
    }

    fn taken(&mut self, section: &Section, track: &TrackPlan) {
        let payload_type = track.payload_type;
        match track.rtx_payload_type {
            Some(rtx) => self.line(format_args!(
                "m={} 9 {} {payload_type} {rtx}",
                section.media, section.protocol
            )),
            None => self.line(format_args!(
                "m={} 9 {} {payload_type}",
                section.media, section.protocol
            )),
        }
        self.transport(section);
        for (id, uri) in [
            (track.transport_cc_id, TRANSPORT_CC_URI),
            (track.mid_id, MID_URI),
        ] {
            if let Some(id) = id {
                self.line(format_args!("a=extmap:{id} {uri}"));
            }
        }
        match self.plan.role {
            Role::Publish => self.line(format_args!("a=recvonly")),
            Role::View => self.line(format_args!("a=sendonly")),
        }
        if let Some(sources) = self.sources {
            self.line(format_args!("a=msid:{} {}", sources.cname, track.kind));
        }
        self.rtcp(section);
        self.payload(payload_type, &track.codec, track.fmtp.as_deref());
        self.feedback(track);
        if let Some(rtx) = track.rtx_payload_type {
            self.line(format_args!(
                "a=rtpmap:{rtx} rtx/{}",
                track.codec.clock_rate
            ));
            self.line(format_args!("a=fmtp:{rtx} apt={payload_type}"));
        }
        if let Some(sources) = self.sources {
            let Source { ssrc, rtx_ssrc } = match track.kind {
                MediaKind::Video => sources.video,
                MediaKind::Audio => sources.audio,
            };
            let cname = sources.cname;
            if track.rtx_payload_type.is_some() {
                self.line(format_args!("a=ssrc-group:FID {ssrc} {rtx_ssrc}"));
            }
            self.line(format_args!("a=ssrc:{ssrc} cname:{cname}"));
            if track.rtx_payload_type.is_some() {
                self.line(format_args!("a=ssrc:{rtx_ssrc} cname:{cname}"));
            }
        }
    }

    fn inactive(&mut self, section: &Section, payload_type: u8, codec: &Codec) {
        self.line(format_args!(
            "m={} 9 {} {payload_type}",
            section.media, section.protocol
        ));
        self.transport(section);
        self.line(format_args!("a=inactive"));
        self.rtcp(section);
        let fmtp = section
            .known()
            .find(|(payload, _)| payload.payload_type == payload_type)
            .and_then(|(payload, _)| payload.fmtp.as_deref());
        self.payload(payload_type, codec, fmtp);
    }

    fn rejected(&mut self, section: &Section) {
        self.line(format_args!(
            "m={} 0 {} {}",
            section.media, section.protocol, section.formats
        ));
        self.line(format_args!("c=IN IP4 0.0.0.0"));
        if let Some(mid) = &section.mid {
            self.line(format_args!("a=mid:{mid}"));
        }
        self.line(format_args!("a=inactive"));
    }

    /// What every section that stays says, though all share one transport: older peers read it
    /// from any of them.
    fn transport(&mut self, section: &Section) {
        self.line(format_args!("c=IN IP4 0.0.0.0"));
        if !self.candidates_told {
            self.candidates_told = true;
            self.text.push_str(self.local.candidates);
            self.line(format_args!("a=end-of-candidates"));
        }
        self.line(format_args!("a=ice-ufrag:{}", self.local.ufrag));
        self.line(format_args!("a=ice-pwd:{}", self.local.pwd));
        self.line(format_args!(
            "a=fingerprint:sha-256 {}",
            Colons(self.local.fingerprint)
        ));
        match self.plan.dtls {
            DtlsRole::Server => self.line(format_args!("a=setup:passive")),
            DtlsRole::Client => self.line(format_args!("a=setup:active")),
        }
        if let Some(mid) = &section.mid {
            self.line(format_args!("a=mid:{mid}"));
        }
    }

    fn rtcp(&mut self, section: &Section) {
        self.line(format_args!("a=rtcp-mux"));
        if section.rtcp_rsize {
            self.line(format_args!("a=rtcp-rsize"));
        }
        if section.receiver_rtt {
            self.line(format_args!("a=rtcp-xr:rcvr-rtt=all"));
        }
    }

    fn payload(&mut self, payload_type: u8, codec: &Codec, fmtp: Option<&str>) {
        let (encoding, clock_rate) = (codec.name.encoding(), codec.clock_rate);
        match codec.channels {
            1 => self.line(format_args!(
                "a=rtpmap:{payload_type} {encoding}/{clock_rate}"
            )),
            channels => self.line(format_args!(
                "a=rtpmap:{payload_type} {encoding}/{clock_rate}/{channels}"
            )),
        }
        let fmtp = fmtp
            .map(|fmtp| answered_parameters(codec.name, fmtp))
            .unwrap_or_default();
        if !fmtp.is_empty() {
            self.line(format_args!("a=fmtp:{payload_type} {fmtp}"));
        }
    }

    fn feedback(&mut self, track: &TrackPlan) {
        let (payload_type, feedback) = (track.payload_type, track.feedback);
        for (is_used, name) in [
            (feedback.transport_cc, "transport-cc"),
            (feedback.ccm_fir, "ccm fir"),
            (feedback.nack, "nack"),
            (feedback.nack_pli, "nack pli"),
        ] {
            if is_used {
                self.line(format_args!("a=rtcp-fb:{payload_type} {name}"));
            }
        }
    }
}

/// Parameters of an offer as an answer repeats them. What describes the offerer's own stream
/// (`sprop-parameter-sets`, RFC 6184 §8.2.2) does not belong there.
fn answered_parameters(codec: CodecName, fmtp: &str) -> String {
    if codec.kind() == MediaKind::Audio {
        return fmtp.to_owned();
    }
    let kept: Vec<_> = fmtp
        .split(';')
        .filter(|parameter| !parameter.trim_start().starts_with("sprop-"))
        .map(str::trim)
        .filter(|parameter| !parameter.is_empty())
        .collect();
    kept.join(";")
}

/// Bytes as a fingerprint spells them.
struct Colons<'a>(&'a [u8]);

impl fmt::Display for Colons<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_char(':')?;
            }
            for half in [byte >> 4, byte & 0xf] {
                let digit = char::from_digit(half.into(), 16).unwrap_or_default();
                f.write_char(digit.to_ascii_uppercase())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
