//! An SDP offer, read into what decides about it.
//!
//! The text comes from outside, at most [`MAX_BODY_LEN`](crate::signal::MAX_BODY_LEN) of it.
//! Reading is lenient: an attribute that does not parse counts as absent, and real peers' oddities
//! pass (mids that are words, codec names in any case, bare line feeds, attributes on the session's
//! level). What is missed is said by [`policy`](crate::signal::policy), which knows what is needed.

mod payload;
mod text;

use std::cmp::Reverse;

use sdp_types::{ExtMap, Group, GroupSemantics, Media, SsrcGroup, TypedAttribute};

use crate::fingerprint::{Fingerprint, Hash};
use crate::media::MediaKind;
pub(crate) use crate::signal::offer::payload::{Feedback, Payload};
use crate::signal::offer::text::{Attribute, Text};
use crate::signal::refusal::{Refusal, shown};

/// Media sections that are read. A publisher or viewer needs two, a browser with a history of
/// transceivers a few more; the answer has as many.
pub(crate) const SECTIONS_MAX: usize = 32;

/// Names that are read of a BUNDLE group. Beyond one for each section they mean nothing.
const GROUP_MAX: usize = 2 * SECTIONS_MAX;

/// Fingerprints that are kept of a section.
const FINGERPRINTS_MAX: usize = 8;

/// An SDP offer (RFC 3264, JSEP RFC 9429).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The mids of the first BUNDLE group (RFC 9143), in its order, each that of a section. Empty:
    /// there is none.
    pub(crate) bundle: Vec<String>,
    /// The `m=` sections in order.
    pub(crate) sections: Vec<Section>,
}

impl Offer {
    /// Reads an offer.
    ///
    /// # Errors
    /// [`Refusal`], with status 400, for what is not SDP, has too many sections, or sections that
    /// cannot be told apart.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let text = Text::parse(text).map_err(|error| Refusal::NotSdp(shown(&error.to_string())))?;
        if text.sections().len() == 0 {
            return Err(Refusal::NotSdp("no m= line".to_owned()));
        }
        if text.sections().len() > SECTIONS_MAX {
            return Err(Refusal::TooManySections(text.sections().len()));
        }
        let fallback = Transport::new(text.session());
        let direction = Direction::of(text.session()).unwrap_or(Direction::SendRecv);
        let sections: Vec<_> = text
            .sections()
            .map(|(media, own)| Section::new(media, own, &fallback, direction))
            .collect();
        for (index, section) in sections.iter().enumerate() {
            let Some(mid) = &section.mid else { continue };
            if sections
                .iter()
                .skip(index + 1)
                .any(|other| other.mid.as_ref() == Some(mid))
            {
                return Err(Refusal::DuplicateMid(shown(mid)));
            }
        }
        let mut bundle: Vec<String> = Vec::new();
        let group = typed::<Group>(text.session())
            .find(|group| group.semantics.as_str().eq_ignore_ascii_case("BUNDLE"));
        let names = group.into_iter().flat_map(|group| group.mid_tags);
        for mid in names.take(GROUP_MAX) {
            let is_here = sections
                .iter()
                .any(|section| section.mid.as_ref() == Some(&mid));
            if is_here && !bundle.contains(&mid) {
                bundle.push(mid);
            }
        }
        Ok(Self { bundle, sections })
    }

    /// Whether a section shares the transport of its BUNDLE group.
    pub(crate) fn is_bundled(&self, section: &Section) -> bool {
        section
            .mid
            .as_ref()
            .is_some_and(|mid| self.bundle.contains(mid))
    }
}

/// One `m=` section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// `None`: neither video nor audio (`m=application`).
    pub(crate) kind: Option<MediaKind>,
    /// The first word of the `m=` line.
    pub(crate) media: String,
    /// The transport protocol of the `m=` line.
    pub(crate) protocol: String,
    /// The formats of the `m=` line, as they stand there.
    pub(crate) formats: String,
    /// 0 means off, unless it is [`bundle_only`](Self::bundle_only).
    pub(crate) port: u16,
    /// Port 0 is meant, since the section only exists within its BUNDLE group (RFC 9143 §6).
    pub(crate) bundle_only: bool,
    /// The section's name (RFC 5888): any token.
    pub(crate) mid: Option<String>,
    /// Who sends.
    pub(crate) direction: Direction,
    /// RTCP on the port of RTP (RFC 5761).
    pub(crate) rtcp_mux: bool,
    /// RTCP packets need not be compound (RFC 5506).
    pub(crate) rtcp_rsize: bool,
    /// Receivers may ask for their round-trip time (RFC 3611 §5.1: `rcvr-rtt`).
    pub(crate) receiver_rtt: bool,
    /// ICE and DTLS: the section's own, or else the session's.
    pub(crate) transport: Transport,
    /// Payload types in order of preference, each once.
    pub(crate) payloads: Vec<Payload>,
    /// RTP header extensions (RFC 8285).
    pub(crate) extensions: Vec<Extension>,
    /// The sources that are announced (RFC 5576), in order, each once.
    pub(crate) ssrcs: Vec<u32>,
    /// Pairs of a source and its repair source (FID groups, RFC 5576).
    pub(crate) repairs: Vec<(u32, u32)>,
    /// The layers of a simulcast (`a=rid … send`, RFC 8851), in order.
    pub(crate) rids: Vec<String>,
}

impl Section {
    fn new(
        media: &Media,
        own: &[Attribute<'_>],
        session: &Transport,
        direction: Direction,
    ) -> Self {
        let kind = match media.media.as_str() {
            "video" => Some(MediaKind::Video),
            "audio" => Some(MediaKind::Audio),
            _ => None,
        };
        let is_rtp = media.proto.contains("RTP/");
        let mut ssrcs = Vec::new();
        let announced =
            values(own, "ssrc").filter_map(|value| value.split(' ').next()?.parse().ok());
        for ssrc in announced.take(SSRCS_MAX) {
            if !ssrcs.contains(&ssrc) {
                ssrcs.push(ssrc);
            }
        }
        Self {
            kind: kind.filter(|_| is_rtp),
            media: media.media.clone(),
            protocol: media.proto.clone(),
            formats: media.fmt.clone(),
            port: media.port,
            bundle_only: has(own, "bundle-only"),
            mid: values(own, "mid")
                .next()
                .filter(|mid| is_token(mid))
                .map(str::to_owned),
            direction: Direction::of(own).unwrap_or(direction),
            rtcp_mux: has(own, "rtcp-mux") || has(own, "rtcp-mux-only"),
            rtcp_rsize: has(own, "rtcp-rsize"),
            receiver_rtt: values(own, "rtcp-xr")
                .flat_map(|value| value.split(' '))
                .any(|format| format.starts_with("rcvr-rtt=")),
            transport: Transport::new(own).or(session),
            payloads: if is_rtp {
                payload::payloads(media, own)
            } else {
                Vec::new()
            },
            extensions: typed::<ExtMap>(own)
                .map(|extension| Extension {
                    id: extension.id,
                    uri: extension.uri,
                })
                .collect(),
            ssrcs,
            repairs: typed::<SsrcGroup>(own)
                .filter(|group| group.semantics == GroupSemantics::FID)
                .filter_map(|group| match group.ssrc_ids.as_slice() {
                    [ssrc, repair, ..] => Some((*ssrc, *repair)),
                    _ => None,
                })
                .collect(),
            rids: values(own, "rid")
                .filter_map(|value| value.split_once(' '))
                .filter(|(_, rest)| rest.split(' ').next() == Some("send"))
                .map(|(rid, _)| rid.to_owned())
                .collect(),
        }
    }

    /// Names of the offered codecs, for messages. At most 16: there are no more that anybody knows.
    pub(crate) fn codec_names(&self) -> String {
        let mut names: Vec<String> = Vec::new();
        for payload in &self.payloads {
            let name = shown(&payload.encoding);
            if names.len() < 16 && !names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
                names.push(name);
            }
        }
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    }
}

/// Sources that are read of a section. A simulcast of three layers with repair announces six.
const SSRCS_MAX: usize = 64;

/// `a=sendrecv` and its like, as the peer sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// It sends and receives. The default.
    SendRecv,
    /// It sends.
    SendOnly,
    /// It receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    fn of(attributes: &[Attribute<'_>]) -> Option<Self> {
        attributes
            .iter()
            .find_map(|attribute| match attribute.name {
                "sendrecv" => Some(Self::SendRecv),
                "sendonly" => Some(Self::SendOnly),
                "recvonly" => Some(Self::RecvOnly),
                "inactive" => Some(Self::Inactive),
                _ => None,
            })
    }

    /// The peer would send.
    pub(crate) fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// The peer would receive.
    pub(crate) fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}

/// What the peer says of its ICE and DTLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transport {
    /// ICE user name fragment (RFC 8839 §5.4).
    pub(crate) ufrag: Option<String>,
    /// ICE password.
    pub(crate) pwd: Option<String>,
    /// Of the certificate it will show, strongest hash first (RFC 8122).
    pub(crate) fingerprints: Vec<Fingerprint>,
    /// `a=setup` (RFC 4145), as it stands there.
    pub(crate) setup: Option<String>,
}

impl Transport {
    fn new(attributes: &[Attribute<'_>]) -> Self {
        let credential = |name| {
            values(attributes, name)
                .next()
                .filter(|text| is_ice_credential(text))
                .map(str::to_owned)
        };
        Self {
            ufrag: credential("ice-ufrag"),
            pwd: credential("ice-pwd"),
            fingerprints: fingerprints(attributes),
            setup: values(attributes, "setup").next().map(str::to_owned),
        }
    }

    /// What is missing here holds from the session's level.
    fn or(mut self, session: &Self) -> Self {
        self.ufrag = self.ufrag.or_else(|| session.ufrag.clone());
        self.pwd = self.pwd.or_else(|| session.pwd.clone());
        if self.fingerprints.is_empty() {
            self.fingerprints.clone_from(&session.fingerprints);
        }
        self.setup = self.setup.or_else(|| session.setup.clone());
        self
    }
}

/// An RTP header extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Extension {
    /// What it goes by in packets.
    pub(crate) id: u8,
    /// What it is.
    pub(crate) uri: String,
}

fn fingerprints(attributes: &[Attribute<'_>]) -> Vec<Fingerprint> {
    let mut fingerprints: Vec<_> = values(attributes, "fingerprint")
        .filter_map(fingerprint)
        .take(FINGERPRINTS_MAX)
        .collect();
    fingerprints.sort_by_key(|fingerprint| Reverse(fingerprint.hash));
    fingerprints
}

/// `sha-256 AB:CD…` (RFC 8122 §5), whatever the case.
fn fingerprint(value: &str) -> Option<Fingerprint> {
    let (name, digits) = value.split_once(' ')?;
    let hash = [Hash::Sha256, Hash::Sha384, Hash::Sha512]
        .into_iter()
        .find(|hash| hash.as_str().eq_ignore_ascii_case(name))?;
    let digit = |byte: u8| char::from(byte).to_digit(16)?.try_into().ok();
    let mut bytes = Vec::with_capacity(hash.len());
    for part in digits.split(':') {
        let (pairs, []) = part.as_bytes().as_chunks::<2>() else {
            return None;
        };
        for [high, low] in pairs {
            let (high, low): (u8, u8) = (digit(*high)?, digit(*low)?);
            bytes.push(high << 4 | low);
        }
    }
    (bytes.len() == hash.len()).then_some(Fingerprint { hash, bytes })
}

/// Characters of RFC 8839 §5.4 and those that peers use besides. A colon would end the name early
/// in STUN.
pub(crate) fn is_ice_credential(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b':')
}

/// RFC 8866 §9.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]".contains(&byte))
}

fn has(attributes: &[Attribute<'_>], name: &str) -> bool {
    attributes.iter().any(|attribute| attribute.name == name)
}

fn values<'a>(attributes: &[Attribute<'a>], name: &str) -> impl Iterator<Item = &'a str> {
    attributes
        .iter()
        .filter(move |attribute| attribute.name == name)
        .filter_map(|attribute| attribute.value.map(str::trim))
}

/// Those attributes of one name that parse.
fn typed<T: TypedAttribute>(attributes: &[Attribute<'_>]) -> impl Iterator<Item = T> {
    values(attributes, T::NAME).filter_map(|value| value.parse().ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::CodecName;

    fn read(text: &str) -> Offer {
        Offer::parse(text.as_bytes()).unwrap()
    }

    fn refused(text: &str) -> Refusal {
        Offer::parse(text.as_bytes()).unwrap_err()
    }

    /// An offer with one section of the given lines.
    fn section(lines: &str) -> Section {
        read(&format!(
            "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\n{lines}"
        ))
        .sections
        .remove(0)
    }

    #[test]
    fn chromium_s_offer_is_read_whole() {
        let offer = read(include_str!("testdata/chromium-publish.sdp"));
        assert_eq!(offer.bundle, ["0", "1"]);
        let [audio, video] = offer.sections.as_slice() else {
            panic!("two sections")
        };
        assert_eq!(audio.kind, Some(MediaKind::Audio));
        assert_eq!(audio.direction, Direction::SendOnly);
        assert!(audio.rtcp_mux && audio.rtcp_rsize);
        assert_eq!(audio.transport.setup.as_deref(), Some("actpass"));
        assert_eq!(
            audio.transport.fingerprints.first().unwrap().hash,
            Hash::Sha256
        );
        assert_eq!(
            audio.codec_names(),
            "opus, red, G722, PCMU, PCMA, CN, telephone-event"
        );

        assert_eq!(video.kind, Some(MediaKind::Video));
        assert_eq!(video.mid.as_deref(), Some("1"));
        let (vp8, codec) = video.known().next().unwrap();
        assert_eq!((vp8.payload_type, codec.name), (96, CodecName::Vp8));
        assert_eq!(
            vp8.feedback,
            Feedback {
                nack: true,
                nack_pli: true,
                ccm_fir: true,
                transport_cc: true
            }
        );
        assert_eq!(video.payloads[1].repairs, Some(96));
        assert_eq!(video.repairs.len(), 1);
        assert_eq!(video.ssrcs, [video.repairs[0].0, video.repairs[0].1]);
    }

    #[test]
    fn a_data_channel_is_neither_video_nor_audio() {
        let offer = read(include_str!("testdata/chromium-view.sdp"));
        let application = &offer.sections[2];
        assert_eq!(
            (application.kind, application.media.as_str()),
            (None, "application")
        );
        assert_eq!(application.formats, "webrtc-datachannel");
        assert!(application.payloads.is_empty());
    }

    #[test]
    fn layers_of_a_simulcast_keep_their_order() {
        let offer = read(include_str!("testdata/chromium-simulcast.sdp"));
        assert_eq!(offer.sections[0].rids, ["h", "l"]);
        assert!(offer.sections[0].ssrcs.is_empty());
    }

    #[test]
    fn gstreamer_s_oddities_pass() {
        let offer = read(include_str!("testdata/gstreamer-publish.sdp"));
        let audio = &offer.sections[1];
        assert_eq!(audio.mid.as_deref(), Some("audio1"));
        assert!(audio.bundle_only && audio.port == 0);
        assert_eq!(audio.known().next().unwrap().1.name, CodecName::Opus);
    }

    #[test]
    fn bare_line_feeds_pass() {
        let offer = read(include_str!("testdata/ffmpeg-publish.sdp"));
        assert_eq!(offer.sections.len(), 2);
        assert_eq!(offer.sections[1].repairs, [(1_168_048_479, 1_168_048_480)]);
        let crlf = include_str!("testdata/ffmpeg-publish.sdp").replace('\n', "\r\n");
        assert_eq!(read(&crlf), offer);
    }

    #[test]
    fn the_strongest_fingerprint_comes_first() {
        let offer = read(include_str!("testdata/aiortc-publish.sdp"));
        let hashes: Vec<_> = offer.sections[0]
            .transport
            .fingerprints
            .iter()
            .map(|fingerprint| fingerprint.hash)
            .collect();
        assert_eq!(hashes, [Hash::Sha512, Hash::Sha384, Hash::Sha256]);
    }

    #[test]
    fn a_fingerprint_knows_its_certificate() {
        let certificate = b"not really one";
        let hash: Vec<_> = ring::digest::digest(&ring::digest::SHA256, certificate)
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let section = section(&format!("a=fingerprint:SHA-256 {}\r\n", hash.join(":")));
        let fingerprint = &section.transport.fingerprints[0];
        assert!(fingerprint.matches(certificate));
        assert!(!fingerprint.matches(b"another"));
    }

    #[test]
    fn weak_and_cut_fingerprints_count_as_absent() {
        let section = section("a=fingerprint:sha-1 00:01:02\r\na=fingerprint:sha-256 00:01:02\r\n");
        assert!(section.transport.fingerprints.is_empty());
    }

    #[test]
    fn attributes_of_the_session_hold_where_a_section_has_none() {
        let offer = read(
            "v=0\r\na=ice-ufrag:session\r\na=ice-pwd:secret\r\na=setup:passive\r\na=sendonly\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:own\r\na=recvonly\r\n",
        );
        assert_eq!(
            offer.sections[0].transport.ufrag.as_deref(),
            Some("session")
        );
        assert_eq!(offer.sections[0].direction, Direction::SendOnly);
        assert_eq!(offer.sections[1].transport.ufrag.as_deref(), Some("own"));
        assert_eq!(offer.sections[1].transport.pwd.as_deref(), Some("secret"));
        assert_eq!(
            offer.sections[1].transport.setup.as_deref(),
            Some("passive")
        );
        assert_eq!(offer.sections[1].direction, Direction::RecvOnly);
    }

    #[test]
    fn static_payload_types_need_no_rtpmap() {
        let offer = read("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 8 3 0\r\n");
        let known: Vec<_> = offer.sections[0]
            .known()
            .map(|(_, codec)| codec.name)
            .collect();
        assert_eq!(known, [CodecName::Pcma, CodecName::Pcmu]);
        assert_eq!(
            offer.sections[0].codec_names(),
            "PCMA, payload type 3 without a=rtpmap, PCMU"
        );
    }

    #[test]
    fn feedback_for_all_payload_types_is_for_each() {
        let section =
            section("a=rtpmap:96 VP8/90000\r\na=rtcp-fb:* nack pli\r\na=rtcp-fb:97 nack\r\n");
        assert!(
            section
                .payloads
                .iter()
                .all(|payload| payload.feedback.nack_pli)
        );
        assert!(!section.payloads[0].feedback.nack && section.payloads[1].feedback.nack);
    }

    #[test]
    fn payload_types_that_look_like_rtcp_are_not_read() {
        let offer = read("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 72 64 95 128 63 96\r\n");
        let payloads = offer.sections[0].payloads.iter();
        let numbers: Vec<_> = payloads.map(|payload| payload.payload_type).collect();
        assert_eq!(numbers, [63, 96]);
    }

    #[test]
    fn a_codec_under_the_wrong_kind_is_not_known() {
        assert_eq!(section("a=rtpmap:96 opus/48000/2\r\n").known().count(), 0);
    }

    #[test]
    fn what_does_not_parse_counts_as_absent() {
        let section = section(
            "a=rtpmap:96 VP8/fast\r\na=fmtp:97\r\na=mid:two words\r\na=ice-ufrag:with:colon\r\na=ssrc:many\r\n\
             a=extmap:0 urn:x\r\na=ssrc-group:FID 1\r\na=rtcp-fb:\r\n",
        );
        assert_eq!(section.known().count(), 0);
        assert_eq!((section.mid, section.transport.ufrag), (None, None));
        assert!(
            section.ssrcs.is_empty() && section.extensions.is_empty() && section.repairs.is_empty()
        );
    }

    #[test]
    fn what_is_not_sdp_is_refused_with_400() {
        for text in [
            "",
            "hello",
            "{\"type\":\"offer\"}",
            "v=1\r\n",
            "v=0\r\ns=-\r\nt=0 0\r\n",
        ] {
            let refusal = refused(text);
            assert!(matches!(refusal, Refusal::NotSdp(_)), "{text:?}");
            assert_eq!(refusal.status(), 400);
        }
        assert!(matches!(
            Offer::parse(b"v=0\r\ns=\xff\xfe\r\nm=audio 9 RTP/AVP 0\r\n"),
            Err(Refusal::NotSdp(_))
        ));
    }

    #[test]
    fn a_group_names_each_of_its_sections_once() {
        let names = "a x b a ".repeat(10_000);
        let offer = read(&format!(
            "v=0\r\na=group:BUNDLE {names}\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:a\r\n\
             m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:b\r\n"
        ));
        assert_eq!(offer.bundle, ["a", "b"]);
    }

    #[test]
    fn sections_are_bounded_and_have_names_of_their_own() {
        let many = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n".repeat(SECTIONS_MAX + 1);
        assert_eq!(
            refused(&format!("v=0\r\n{many}")),
            Refusal::TooManySections(SECTIONS_MAX + 1)
        );
        let twins = "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:a\r\n".repeat(2);
        assert_eq!(
            refused(&format!("v=0\r\n{twins}")),
            Refusal::DuplicateMid("a".to_owned())
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(
            lines in proptest::collection::vec(
                prop_oneof![
                    "a=(rtpmap|fmtp|rtcp-fb|extmap|ssrc|ssrc-group|rid|group|fingerprint|mid|setup):[ -~]{0,24}",
                    "m=(video|audio|application) [0-9]{1,6} [A-Z/]{0,12}( [0-9]{1,4}){0,4}",
                    "[a-z]=[ -~]{0,24}",
                    "\\PC{0,16}",
                ],
                0..24,
            )
        ) {
            let _ = Offer::parse(format!("v=0\r\n{}\r\n", lines.join("\r\n")).as_bytes());
        }

        #[test]
        fn no_cut_of_an_offer_makes_it_panic(length in 0_usize..6_000) {
            let whole = include_bytes!("testdata/chromium-publish.sdp");
            let _ = Offer::parse(&whole[..length.min(whole.len())]);
        }
    }
}
