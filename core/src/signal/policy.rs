//! What is made of an offer: which sections and which codec of each, or a refusal.
//!
//! At most one video and one audio section are taken, the first of each that can be used. Others
//! become inactive, and what is not video or audio is rejected. From a publisher the first offered
//! codec that is known is taken; a viewer gets the payload type that fits the stream best.

use crate::fingerprint::Fingerprint;
use crate::media::{Codec, Match, MediaKind};
use crate::signal::Role;
use crate::signal::offer::{Direction, Feedback, Offer, Payload, Section, Transport};
use crate::signal::refusal::{Refusal, shown};

/// The header extension with a transport-wide sequence number.
pub(crate) const TRANSPORT_CC_URI: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// The header extension with the mid (RFC 9143 §15).
pub(crate) const MID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";

/// The longest mid that fits into a header extension of the short form (RFC 8285 §4.2), and into
/// str0m.
const MID_LEN_MAX: usize = 16;

/// What is made of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Whose offer it was.
    pub(crate) role: Role,
    /// Our part in DTLS.
    pub(crate) dtls: DtlsRole,
    /// What the peer says of itself.
    pub(crate) remote: Remote,
    /// The video section that is taken.
    pub(crate) video: Option<TrackPlan>,
    /// The audio section that is taken.
    pub(crate) audio: Option<TrackPlan>,
    /// What becomes of each section of the offer, in its order.
    pub(crate) fates: Vec<Fate>,
}

impl Plan {
    /// Whether RTCP packets need not be compound (RFC 5506): only if that is so for all tracks that
    /// are taken, for reports speak of all.
    pub(crate) fn reduced_rtcp(&self, offer: &Offer) -> bool {
        self.tracks()
            .filter_map(|track| offer.sections.get(track.m_line))
            .all(|section| section.rtcp_rsize)
    }

    /// The tracks that are taken, video first.
    pub(crate) fn tracks(&self) -> impl Iterator<Item = &TrackPlan> {
        self.video.iter().chain(&self.audio)
    }
}

/// Our part in the DTLS handshake (RFC 8842).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DtlsRole {
    /// We wait for the peer's hello and choose the SRTP profile: `a=setup:passive`.
    Server,
    /// We begin: `a=setup:active`, where the peer offers to be passive only.
    Client,
}

/// The peer's side of ICE and DTLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remote {
    /// ICE user name fragment.
    pub(crate) ufrag: String,
    /// ICE password.
    pub(crate) pwd: String,
    /// Hashes of the certificate it will show, strongest first. Never empty; to be checked against
    /// the first.
    pub(crate) fingerprints: Vec<Fingerprint>,
}

/// One section that is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TrackPlan {
    /// Its place among the sections of the offer.
    pub(crate) m_line: usize,
    /// Its name. Where the offer gives none, its place as a number.
    pub(crate) mid: String,
    /// Video or audio.
    pub(crate) kind: MediaKind,
    /// The payload type that is used.
    pub(crate) payload_type: u8,
    /// The payload type of its repairs (RFC 4588).
    pub(crate) rtx_payload_type: Option<u8>,
    /// What the payload type stands for.
    pub(crate) codec: Codec,
    /// Its `a=fmtp`: as offered, and for a viewer with the stream's level.
    pub(crate) fmtp: Option<String>,
    /// The source that a publisher announces. One that announces none, or layers by name, is known
    /// by its payload types and the mid extension. No two of a plan are equal.
    pub(crate) ssrc: Option<u32>,
    /// The source of its repairs.
    pub(crate) rtx_ssrc: Option<u32>,
    /// Id of the header extension [`TRANSPORT_CC_URI`]. Publishers only.
    pub(crate) transport_cc_id: Option<u8>,
    /// Id of the header extension [`MID_URI`]. Publishers only, and only where every mid fits.
    pub(crate) mid_id: Option<u8>,
    /// The RTCP feedback that is used.
    pub(crate) feedback: Feedback,
}

/// What becomes of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is [`Plan::video`] or [`Plan::audio`].
    Taken(MediaKind),
    /// It stays and nobody sends.
    Inactive,
    /// It is answered with port 0.
    Rejected,
}

/// Makes a plan for a publisher (WHIP, RFC 9725 §4.2).
///
/// # Errors
/// [`Refusal`] with status 400 for an offer that cannot be answered at all, 406 for one that offers
/// nothing of use.
pub(crate) fn publish(offer: &Offer) -> Result<Plan, Refusal> {
    let track = |kind| first_usable(wanted(offer, kind, Direction::sends), publisher_track);
    let (video, audio) = (track(MediaKind::Video)?, track(MediaKind::Audio)?);
    if video.is_none() && audio.is_none() {
        return Err(Refusal::NothingSent);
    }
    let (dtls, remote, fates) = Choice::new(offer, &video, &audio).transport(offer)?;
    let mut plan = Plan {
        role: Role::Publish,
        dtls,
        remote,
        video,
        audio,
        fates,
    };
    forget_repeated_sources(&mut plan);
    let has_room = |track: &TrackPlan| track.mid.len() <= MID_LEN_MAX;
    if !plan.tracks().all(has_room) {
        let tracks = [&mut plan.video, &mut plan.audio];
        tracks
            .into_iter()
            .flatten()
            .for_each(|track| track.mid_id = None);
    }
    Ok(plan)
}

/// Makes a plan for a viewer of a stream with the given codecs (WHEP), of which there is at least
/// one: a path without tracks is [`Refusal::NoStream`].
///
/// Pictures decide. Who offers to receive video and cannot decode the stream's is refused, since a
/// black picture with sound would hide why. Who cannot decode its audio sees it without sound, and
/// is refused if there is nothing to see.
///
/// # Errors
/// [`Refusal`] with status 400 for an offer that cannot be answered at all, 406 for one that cannot
/// play the stream.
pub(crate) fn view(
    offer: &Offer,
    video: Option<&Codec>,
    audio: Option<&Codec>,
) -> Result<Plan, Refusal> {
    let sections = |kind| wanted(offer, kind, Direction::receives);
    if [MediaKind::Video, MediaKind::Audio]
        .into_iter()
        .all(|kind| sections(kind).next().is_none())
    {
        return Err(Refusal::NothingReceived);
    }
    let track = |kind, stream: Option<&Codec>| match stream {
        Some(stream) => first_usable(sections(kind), |m_line, section| {
            viewer_track(m_line, section, stream)
        }),
        None => Ok(None),
    };
    let video_track = track(MediaKind::Video, video)?;
    let audio_track = match track(MediaKind::Audio, audio) {
        Err(_) if video_track.is_some() => None,
        other => other?,
    };
    if video_track.is_none() && audio_track.is_none() {
        let (has, wants) = if video.is_some() {
            (MediaKind::Video, MediaKind::Audio)
        } else {
            (MediaKind::Audio, MediaKind::Video)
        };
        return Err(Refusal::OtherKind { has, wants });
    }
    let (dtls, remote, fates) = Choice::new(offer, &video_track, &audio_track).transport(offer)?;
    Ok(Plan {
        role: Role::View,
        dtls,
        remote,
        video: video_track,
        audio: audio_track,
        fates,
    })
}

/// The sections of a kind that go the wanted way, with their places.
fn wanted(
    offer: &Offer,
    kind: MediaKind,
    is_wanted: fn(Direction) -> bool,
) -> impl Iterator<Item = (usize, &Section)> {
    offer
        .sections
        .iter()
        .enumerate()
        .filter(move |(_, section)| {
            section.kind == Some(kind) && offer.is_active(section) && is_wanted(section.direction)
        })
}

/// A track of the first section that can be used. If there are any and none can: what is wrong with
/// the first.
fn first_usable<'a>(
    sections: impl Iterator<Item = (usize, &'a Section)>,
    track: impl Fn(usize, &Section) -> Result<TrackPlan, Refusal>,
) -> Result<Option<TrackPlan>, Refusal> {
    let mut refusal = None;
    for (m_line, section) in sections {
        match track(m_line, section) {
            Ok(track) => return Ok(Some(track)),
            Err(why) => refusal = refusal.or(Some(why)),
        }
    }
    refusal.map_or(Ok(None), Err)
}

/// The sections to take, with their places.
struct Choice<'a> {
    video: Option<(usize, &'a Section)>,
    audio: Option<(usize, &'a Section)>,
}

impl<'a> Choice<'a> {
    fn new(offer: &'a Offer, video: &Option<TrackPlan>, audio: &Option<TrackPlan>) -> Self {
        let section = |track: &Option<TrackPlan>| {
            let m_line = track.as_ref()?.m_line;
            Some((m_line, offer.sections.get(m_line)?))
        };
        Self {
            video: section(video),
            audio: section(audio),
        }
    }

    fn kind_at(&self, m_line: usize) -> Option<MediaKind> {
        let is_here =
            |section: Option<(usize, &Section)>| section.is_some_and(|(place, _)| place == m_line);
        if is_here(self.video) {
            Some(MediaKind::Video)
        } else {
            is_here(self.audio).then_some(MediaKind::Audio)
        }
    }

    /// Checks that the sections can share one transport, and finds it.
    fn transport(&self, offer: &Offer) -> Result<(DtlsRole, Remote, Vec<Fate>), Refusal> {
        let is_bundled = |section: Option<(usize, &Section)>| {
            section.is_none_or(|(_, section)| offer.is_bundled(section))
        };
        let all_bundled = is_bundled(self.video) && is_bundled(self.audio);
        let fates: Vec<_> = offer
            .sections
            .iter()
            .enumerate()
            .map(|(m_line, section)| match self.kind_at(m_line) {
                Some(kind) => Fate::Taken(kind),
                None if all_bundled && can_stay(offer, section) => Fate::Inactive,
                None => Fate::Rejected,
            })
            .collect();

        let transports = transports(offer, &fates);
        let (ufrag, pwd) = transports
            .iter()
            .find_map(|transport| transport.ufrag.clone().zip(transport.pwd.clone()))
            .ok_or(Refusal::NoIceCredentials)?;
        let fingerprints = transports
            .iter()
            .find(|transport| !transport.fingerprints.is_empty())
            .map(|transport| transport.fingerprints.clone())
            .ok_or(Refusal::NoFingerprint)?;
        let dtls = match transports
            .iter()
            .find_map(|transport| transport.setup.as_deref())
        {
            None | Some("actpass" | "active") => DtlsRole::Server,
            Some("passive") => DtlsRole::Client,
            Some(other) => return Err(Refusal::Setup(shown(other))),
        };

        if self.video.is_some() && self.audio.is_some() && !all_bundled {
            return Err(Refusal::NoBundle);
        }
        for (kind, section) in [
            (MediaKind::Video, self.video),
            (MediaKind::Audio, self.audio),
        ] {
            if section.is_some_and(|(_, section)| !section.rtcp_mux) {
                return Err(Refusal::NoRtcpMux(kind));
            }
        }
        let remote = Remote {
            ufrag,
            pwd,
            fingerprints,
        };
        Ok((dtls, remote, fates))
    }
}

/// Whether a section that is not taken can be answered as inactive: it costs no transport of its
/// own, and the answer can name a codec.
fn can_stay(offer: &Offer, section: &Section) -> bool {
    section.kind.is_some()
        && (section.port != 0 || section.bundle_only)
        && offer.is_bundled(section)
        && section.rtcp_mux
        && section.known().next().is_some()
}

/// Where the transport that is used may be described, best first: the section that is tagged by
/// the answer (RFC 9143 §7.3), others that stay, others of the group, since those that are
/// bundle-only may leave it out, and without a group the taken section.
fn transports<'a>(offer: &'a Offer, fates: &[Fate]) -> Vec<&'a Transport> {
    let with_fates = || offer.sections.iter().zip(fates);
    let stays = |fate: &Fate| *fate != Fate::Rejected;
    let in_group = |wanted: bool| {
        offer.bundle.iter().filter_map(move |mid| {
            with_fates()
                .find(|(section, fate)| section.mid.as_ref() == Some(mid) && stays(fate) == wanted)
                .map(|(section, _)| section)
        })
    };
    let taken = || with_fates().filter(|(_, fate)| matches!(fate, Fate::Taken(_)));
    if taken().all(|(section, _)| offer.is_bundled(section)) {
        in_group(true)
            .chain(in_group(false))
            .map(|section| &section.transport)
            .collect()
    } else {
        taken().map(|(section, _)| &section.transport).collect()
    }
}

impl Offer {
    fn is_active(&self, section: &Section) -> bool {
        section.port != 0 || (section.bundle_only && self.is_bundled(section))
    }
}

impl Section {
    /// Its payload types that can be used, with their codecs, in order.
    pub(crate) fn known(&self) -> impl Iterator<Item = (&Payload, &Codec)> {
        self.payloads
            .iter()
            .filter_map(|payload| payload.codec.as_ref().map(|codec| (payload, codec)))
            .filter(|(_, codec)| Some(codec.kind()) == self.kind)
    }

    fn extension(&self, uri: &str) -> Option<u8> {
        // Only ids that fit into a header of one byte (RFC 8285 §4.2), which everybody reads.
        self.extensions
            .iter()
            .find(|extension| extension.uri == uri && (1..=14).contains(&extension.id))
            .map(|extension| extension.id)
    }

    /// The payload type of the repairs of another.
    fn rtx_for(&self, payload: &Payload) -> Option<u8> {
        let mut payloads = self.payloads.iter();
        let rtx = payloads.find(|rtx| rtx.repairs == Some(payload.payload_type))?;
        Some(rtx.payload_type)
    }

    fn mid_or_place(&self, m_line: usize) -> String {
        self.mid.clone().unwrap_or_else(|| m_line.to_string())
    }
}

fn publisher_track(m_line: usize, section: &Section) -> Result<TrackPlan, Refusal> {
    let kind = section.kind.unwrap_or(MediaKind::Video);
    let (payload, codec) = section.known().next().ok_or_else(|| Refusal::NoCodec {
        kind,
        offered: section.codec_names(),
    })?;
    let rtx_payload_type = section.rtx_for(payload);
    let repair = section.repairs.first().copied();
    let transport_cc_id = section
        .extension(TRANSPORT_CC_URI)
        .filter(|_| payload.feedback.transport_cc);
    Ok(TrackPlan {
        m_line,
        mid: section.mid_or_place(m_line),
        kind,
        payload_type: payload.payload_type,
        rtx_payload_type,
        codec: codec.clone(),
        fmtp: payload.fmtp.clone(),
        ssrc: repair
            .map(|(ssrc, _)| ssrc)
            .or(section.ssrcs.first().copied()),
        rtx_ssrc: repair
            .map(|(_, rtx)| rtx)
            .filter(|_| rtx_payload_type.is_some()),
        transport_cc_id,
        mid_id: section.mid.as_ref().and(section.extension(MID_URI)),
        feedback: Feedback {
            transport_cc: transport_cc_id.is_some(),
            ..payload.feedback
        },
    })
}

fn viewer_track(m_line: usize, section: &Section, stream: &Codec) -> Result<TrackPlan, Refusal> {
    let fitting = |wanted: Match| {
        section
            .known()
            .find(|(_, codec)| stream.fits(codec) == wanted)
    };
    let (payload, codec) = fitting(Match::Exact)
        .or_else(|| fitting(Match::Compatible))
        .ok_or_else(|| Refusal::CannotDecode {
            kind: stream.kind(),
            codec: stream.to_string(),
            offered: section.codec_names(),
        })?;
    Ok(TrackPlan {
        m_line,
        mid: section.mid_or_place(m_line),
        kind: stream.kind(),
        payload_type: payload.payload_type,
        rtx_payload_type: section.rtx_for(payload).filter(|_| payload.feedback.nack),
        codec: codec.clone(),
        fmtp: payload.fmtp.as_deref().map(|fmtp| stream.answered(fmtp)),
        ssrc: None,
        rtx_ssrc: None,
        transport_cc_id: None,
        mid_id: None,
        feedback: Feedback {
            transport_cc: false,
            ..payload.feedback
        },
    })
}

/// One source cannot be two. An offer that says so is believed the first time only.
fn forget_repeated_sources(plan: &mut Plan) {
    let mut seen: Vec<u32> = Vec::with_capacity(4);
    for track in [&mut plan.video, &mut plan.audio].into_iter().flatten() {
        for ssrc in [&mut track.ssrc, &mut track.rtx_ssrc] {
            match *ssrc {
                Some(value) if seen.contains(&value) => *ssrc = None,
                Some(value) => seen.push(value),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Hash;
    use crate::media::CodecName;

    const CHROMIUM: &str = include_str!("testdata/chromium-publish.sdp");
    const CHROMIUM_VIEW: &str = include_str!("testdata/chromium-view.sdp");

    fn offer(text: &str) -> Offer {
        Offer::parse(text.as_bytes()).unwrap()
    }

    fn publish_text(text: &str) -> Result<Plan, Refusal> {
        publish(&offer(text))
    }

    fn video(name: &str, fmtp: &str) -> Codec {
        Codec::from_sdp(name, 90_000, 1, fmtp).unwrap()
    }

    fn opus() -> Codec {
        Codec::from_sdp("opus", 48_000, 2, "").unwrap()
    }

    fn without(text: &str, pattern: &str) -> String {
        text.lines()
            .filter(|line| !line.starts_with(pattern))
            .map(|line| format!("{line}\r\n"))
            .collect()
    }

    #[test]
    fn a_browser_publishes_its_first_codecs() {
        let plan = publish_text(CHROMIUM).unwrap();
        assert_eq!(plan.dtls, DtlsRole::Server);
        let video = plan.video.as_ref().unwrap();
        assert_eq!((video.m_line, video.mid.as_str()), (1, "1"));
        assert_eq!((video.codec.name, video.payload_type), (CodecName::Vp8, 96));
        assert_eq!(video.rtx_payload_type, Some(97));
        assert!(video.ssrc.is_some() && video.rtx_ssrc.is_some() && video.ssrc != video.rtx_ssrc);
        assert!(video.transport_cc_id.is_some() && video.mid_id.is_some());
        assert!(
            video.feedback.nack
                && video.feedback.nack_pli
                && video.feedback.ccm_fir
                && video.feedback.transport_cc
        );
        let audio = plan.audio.as_ref().unwrap();
        assert_eq!(
            (audio.codec.name, audio.payload_type),
            (CodecName::Opus, 111)
        );
        assert_eq!((audio.rtx_payload_type, audio.rtx_ssrc), (None, None));
        assert_eq!(
            plan.tracks().map(|track| track.m_line).collect::<Vec<_>>(),
            [1, 0]
        );
    }

    #[test]
    fn one_who_offers_to_be_passive_is_met_actively() {
        let plan = publish_text(include_str!("testdata/ffmpeg-publish.sdp")).unwrap();
        assert_eq!(plan.dtls, DtlsRole::Client);
        let video = plan.video.unwrap();
        assert_eq!(video.codec.name, CodecName::H264);
        assert!(video.feedback.nack && !video.feedback.nack_pli);
        assert_eq!(video.transport_cc_id, None);
        assert_eq!(
            (video.ssrc, video.rtx_ssrc),
            (Some(1_168_048_479), Some(1_168_048_480))
        );
    }

    #[test]
    fn a_bundle_only_section_with_port_0_is_taken() {
        let plan = publish_text(include_str!("testdata/gstreamer-publish.sdp")).unwrap();
        assert_eq!(plan.audio.unwrap().mid, "audio1");
        assert_eq!(plan.video.unwrap().mid, "video0");
    }

    #[test]
    fn a_bundle_only_section_may_leave_the_transport_to_the_tagged_one() {
        let text = "v=0\r\na=group:BUNDLE a v\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:a\r\na=rtcp-mux\r\n\
                    a=ice-ufrag:name\r\na=ice-pwd:secret\r\na=setup:active\r\na=inactive\r\na=fingerprint:sha-256 "
            .to_owned()
            + &["AB"; 32].join(":")
            + "\r\nm=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\na=bundle-only\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n";
        let plan = publish_text(&text).unwrap();
        assert_eq!(plan.remote.ufrag, "name");
        assert_eq!(plan.remote.fingerprints[0].hash, Hash::Sha256);
        assert_eq!(plan.fates, [Fate::Inactive, Fate::Taken(MediaKind::Video)]);
    }

    #[test]
    fn the_first_section_of_the_group_tells_the_transport() {
        let text = include_str!("testdata/aiortc-publish.sdp");
        let second = text.rfind("a=ice-ufrag:").unwrap();
        let (first, rest) = text.split_at(second);
        let line_end = rest.find("\r\n").unwrap();
        let mixed = format!("{first}a=ice-ufrag:other{}", &rest[line_end..]);
        let ufrag = offer(&mixed).sections[0].transport.ufrag.clone().unwrap();
        assert_ne!(ufrag, "other");
        assert_eq!(publish_text(&mixed).unwrap().remote.ufrag, ufrag);
    }

    #[test]
    fn further_sections_stay_inactive_and_data_channels_are_rejected() {
        let plan = view(&offer(CHROMIUM_VIEW), Some(&video("VP8", "")), None).unwrap();
        assert_eq!(
            plan.fates,
            [
                Fate::Taken(MediaKind::Video),
                Fate::Inactive,
                Fate::Rejected
            ]
        );
    }

    #[test]
    fn a_single_section_needs_neither_group_nor_mid() {
        let audio = CHROMIUM.find("m=audio").unwrap();
        let video = CHROMIUM.find("m=video").unwrap();
        let text = format!("v=0\r\n{}", without(&CHROMIUM[audio..video], "a=mid:"));
        let plan = publish_text(&text).unwrap();
        assert_eq!(plan.audio.unwrap().mid, "0");
        assert_eq!(plan.fates, [Fate::Taken(MediaKind::Audio)]);
    }

    #[test]
    fn offers_that_cannot_be_answered_are_refused_with_400() {
        let refusal = |pattern: &str| publish_text(&without(CHROMIUM, pattern)).unwrap_err();
        assert_eq!(refusal("a=ice-ufrag"), Refusal::NoIceCredentials);
        assert_eq!(refusal("a=ice-pwd"), Refusal::NoIceCredentials);
        assert_eq!(refusal("a=fingerprint"), Refusal::NoFingerprint);
        let held = CHROMIUM.replace("a=setup:actpass", "a=setup:holdconn");
        assert_eq!(
            publish_text(&held),
            Err(Refusal::Setup("holdconn".to_owned()))
        );
    }

    #[test]
    fn offers_without_bundle_or_rtcp_mux_are_refused_with_406() {
        let refusal = |pattern: &str| publish_text(&without(CHROMIUM, pattern)).unwrap_err();
        assert_eq!(refusal("a=group:BUNDLE"), Refusal::NoBundle);
        assert_eq!(refusal("a=mid:"), Refusal::NoBundle);
        assert_eq!(refusal("a=rtcp-mux"), Refusal::NoRtcpMux(MediaKind::Video));
        assert_eq!(refusal("a=rtcp-mux").status(), 406);
    }

    #[test]
    fn regress_of_several_sections_the_first_that_can_be_used_is_taken() {
        let section = |mid: &str, direction: &str, codec: &str| {
            format!(
                "m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:{mid}\r\na=rtcp-mux\r\na={direction}\r\n\
                 a=rtpmap:96 {codec}/90000\r\n"
            )
        };
        let text = |direction: &str, codecs: [&str; 2]| {
            let head = "v=0\r\na=group:BUNDLE a b\r\na=ice-ufrag:name\r\na=ice-pwd:secret\r\n\
                        a=fingerprint:sha-256 ";
            let [a, b] = codecs;
            [
                head,
                &["AB"; 32].join(":"),
                "\r\n",
                &section("a", direction, a),
                &section("b", direction, b),
            ]
            .concat()
        };
        let plan = publish_text(&text("sendonly", ["theora", "VP8"])).unwrap();
        assert_eq!(plan.video.unwrap().mid, "b");
        assert_eq!(plan.fates, [Fate::Rejected, Fate::Taken(MediaKind::Video)]);
        let wish = offer(&text("recvonly", ["H264", "VP8"]));
        let plan = view(&wish, Some(&video("VP8", "")), None).unwrap();
        assert_eq!(plan.video.unwrap().mid, "b");
        assert_eq!(plan.fates, [Fate::Inactive, Fate::Taken(MediaKind::Video)]);
        let refusal = view(&wish, Some(&video("AV1", "")), None).unwrap_err();
        assert!(refusal.to_string().contains("(H264)"), "{refusal}");
    }

    #[test]
    fn an_offer_that_sends_nothing_is_no_publisher_s() {
        assert_eq!(publish_text(CHROMIUM_VIEW), Err(Refusal::NothingSent));
        let view = view(&offer(CHROMIUM), Some(&video("VP8", "")), None);
        assert_eq!(view, Err(Refusal::NothingReceived));
    }

    #[test]
    fn a_publisher_with_strange_codecs_is_told_what_was_offered_and_what_is_taken() {
        let strange = "v=0\r\na=ice-ufrag:name\r\na=ice-pwd:secret\r\na=fingerprint:sha-256 "
            .to_owned()
            + &["AB"; 32].join(":")
            + "\r\nm=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=rtcp-mux\r\na=rtpmap:96 H263-1998/90000\r\na=rtpmap:97 theora/90000\r\n";
        let refusal = publish_text(&strange).unwrap_err();
        assert_eq!(refusal.status(), 406);
        assert_eq!(
            refusal.to_string(),
            "none of the offered video codecs can be taken (H263-1998, theora): offer H264, H265, VP8, VP9 or AV1"
        );
    }

    #[test]
    fn one_source_is_not_two_tracks() {
        let text = include_str!("testdata/ffmpeg-publish.sdp").replace("1168048478", "1168048479");
        let plan = publish_text(&text).unwrap();
        assert_eq!(plan.video.unwrap().ssrc, Some(1_168_048_479));
        assert_eq!(plan.audio.unwrap().ssrc, None);
    }

    #[test]
    fn mids_that_no_packet_can_carry_are_not_asked_for_in_packets() {
        let long = "a-name-of-17-byte";
        assert_eq!(long.len(), MID_LEN_MAX + 1);
        let renamed = |mid: &str| {
            CHROMIUM
                .replace("a=group:BUNDLE 0 1", &format!("a=group:BUNDLE 0 {mid}"))
                .replace("a=mid:1\r\n", &format!("a=mid:{mid}\r\n"))
        };
        let plan = publish_text(&renamed(long)).unwrap();
        assert!(plan.tracks().all(|track| track.mid_id.is_none()));
        assert_eq!(plan.video.unwrap().mid, long);
        let plan = publish_text(&renamed(&long[1..])).unwrap();
        assert!(plan.tracks().all(|track| track.mid_id == Some(4)));
    }

    #[test]
    fn extension_ids_that_need_long_headers_are_not_taken() {
        let text = CHROMIUM.replace(
            "a=extmap:3 http://www.ietf.org",
            "a=extmap:16 http://www.ietf.org",
        );
        let plan = publish_text(&text).unwrap();
        assert!(
            plan.tracks()
                .all(|track| track.transport_cc_id.is_none() && !track.feedback.transport_cc)
        );
        assert!(plan.tracks().all(|track| track.mid_id == Some(4)));
    }

    #[test]
    fn a_viewer_gets_the_exact_profile_first() {
        let plan = |fmtp| {
            view(
                &offer(CHROMIUM_VIEW),
                Some(&video("H264", fmtp)),
                Some(&opus()),
            )
            .unwrap()
        };
        let taken = |fmtp| {
            let video = plan(fmtp).video.unwrap();
            (video.payload_type, video.fmtp.unwrap())
        };
        let (payload_type, fmtp) = taken("profile-level-id=42e01f;packetization-mode=1");
        assert_eq!(payload_type, 108);
        assert!(
            fmtp.contains("42e01f") && fmtp.contains("packetization-mode=1"),
            "{fmtp}"
        );
        let (payload_type, fmtp) = taken("profile-level-id=42c033;packetization-mode=0");
        assert_eq!(payload_type, 114);
        assert!(fmtp.contains("packetization-mode=0"), "{fmtp}");
    }

    #[test]
    fn a_viewer_may_ask_for_lost_packets_and_keyframes_and_gets_no_extensions() {
        let plan = view(
            &offer(CHROMIUM_VIEW),
            Some(&video("VP9", "")),
            Some(&opus()),
        )
        .unwrap();
        let video = plan.video.unwrap();
        assert_eq!(video.payload_type, 98);
        assert_eq!(
            video.feedback,
            Feedback {
                nack: true,
                nack_pli: true,
                ccm_fir: true,
                transport_cc: false,
            }
        );
        assert_eq!((video.transport_cc_id, video.mid_id), (None, None));
        assert_eq!(video.rtx_payload_type, Some(99));
        let audio = plan.audio.unwrap();
        assert_eq!((audio.payload_type, audio.feedback.nack), (111, false));
    }

    #[test]
    fn repairs_have_no_payload_type_where_none_are_asked_for() {
        let text = without(CHROMIUM_VIEW, "a=rtcp-fb:98 nack");
        let plan = view(&offer(&text), Some(&video("VP9", "")), None).unwrap();
        let video = plan.video.unwrap();
        assert!(!video.feedback.nack && !video.feedback.nack_pli);
        assert_eq!(video.rtx_payload_type, None);
    }

    #[test]
    fn a_viewer_who_cannot_decode_the_video_is_told_its_codec() {
        let stream = video("H265", "profile-id=1");
        let refusal = view(
            &offer(include_str!("testdata/aiortc-view.sdp")),
            Some(&stream),
            Some(&opus()),
        )
        .unwrap_err();
        assert_eq!(refusal.status(), 406);
        let text = refusal.to_string();
        assert!(
            text.starts_with("the stream's video is H265 (profile-id 1,"),
            "{text}"
        );
        assert!(text.contains("(VP8, rtx, H264)"), "{text}");
    }

    #[test]
    fn a_viewer_who_cannot_decode_the_audio_sees_the_video() {
        let deaf = without(CHROMIUM_VIEW, "a=rtpmap:111");
        let plan = view(&offer(&deaf), Some(&video("VP8", "")), Some(&opus())).unwrap();
        assert!(plan.video.is_some() && plan.audio.is_none());
        let refusal = view(&offer(&deaf), None, Some(&opus())).unwrap_err();
        assert!(matches!(
            refusal,
            Refusal::CannotDecode {
                kind: MediaKind::Audio,
                ..
            }
        ));
    }

    #[test]
    fn a_viewer_of_one_kind_gets_that_kind_only() {
        let audio_only = CHROMIUM_VIEW.replace("m=video 6", "m=text 6");
        assert_ne!(audio_only, CHROMIUM_VIEW);
        let plan = view(&offer(&audio_only), Some(&video("H265", "")), Some(&opus())).unwrap();
        assert!(plan.video.is_none() && plan.audio.is_some());
        let refusal = view(&offer(&audio_only), Some(&video("VP8", "")), None).unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "the stream has video only, and the offer receives audio only: offer to receive video"
        );
    }
}

#[cfg(test)]
mod properties;
