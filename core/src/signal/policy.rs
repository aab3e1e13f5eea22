//! What is made of an offer: which sections and which codec of each, or a refusal.
//!
//! At most one video and one audio section are taken, the first of each that can be used. Others
//! become inactive, and what is not video or audio is rejected. From a publisher the first offered
//! codec that is known is taken; a viewer gets the payload type that fits the stream best.

use crate::media::{Codec, Match, MediaKind};
use crate::signal::Role;
use crate::signal::offer::{Direction, Feedback, Fingerprint, Offer, Payload, Section, Transport};
use crate::signal::refusal::Refusal;

/// The header extension with a transport-wide sequence number.
pub(crate) const TRANSPORT_CC_URI: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// The header extension with the mid (RFC 9143 §15).
pub(crate) const MID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";

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
    /// The payload type of its repairs (RFC 4588). Publishers only.
    pub(crate) rtx_payload_type: Option<u8>,
    /// What the payload type stands for.
    pub(crate) codec: Codec,
    /// Its `a=fmtp` as offered.
    pub(crate) fmtp: Option<String>,
    /// The source that a publisher announces. One that announces none, or layers by name, is known
    /// by its payload types and the mid extension. No two of a plan are equal.
    pub(crate) ssrc: Option<u32>,
    /// The source of its repairs.
    pub(crate) rtx_ssrc: Option<u32>,
    /// Id of the header extension [`TRANSPORT_CC_URI`]. Publishers only.
    pub(crate) transport_cc_id: Option<u8>,
    /// Id of the header extension [`MID_URI`]. Publishers only.
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
    let choice = Choice::new(offer, Direction::sends).ok_or(Refusal::NothingSent)?;
    let (dtls, remote, fates) = choice.transport(offer)?;
    let track = |section: Option<(usize, &Section)>| match section {
        Some((m_line, section)) => publisher_track(m_line, section).map(Some),
        None => Ok(None),
    };
    let mut plan = Plan {
        role: Role::Publish,
        dtls,
        remote,
        video: track(choice.video)?,
        audio: track(choice.audio)?,
        fates,
    };
    forget_repeated_sources(&mut plan);
    Ok(plan)
}

/// Makes a plan for a viewer of a stream with the given codecs (WHEP).
///
/// Pictures decide. Who offers to receive video and cannot decode the stream's is refused, since a
/// black picture with sound would hide why. Who cannot decode its audio sees it without sound, and
/// is refused if there is nothing to see.
///
/// # Errors
/// [`Refusal`] with status 400 for an offer that cannot be answered at all, 406 for one that cannot
/// play the stream.
pub(crate) fn view(offer: &Offer, video: Option<&Codec>, audio: Option<&Codec>) -> Result<Plan, Refusal> {
    let choice = Choice::new(offer, Direction::receives).ok_or(Refusal::NothingReceived)?;
    let track = |section: Option<(usize, &Section)>, stream: Option<&Codec>| match (section, stream) {
        (Some((m_line, section)), Some(stream)) => viewer_track(m_line, section, stream).map(Some),
        _ => Ok(None),
    };
    let video_track = track(choice.video, video)?;
    let audio_track = match track(choice.audio, audio) {
        Err(_) if video_track.is_some() => None,
        other => other?,
    };
    let taken = Choice {
        video: choice.video.filter(|_| video_track.is_some()),
        audio: choice.audio.filter(|_| audio_track.is_some()),
    };
    if video_track.is_none() && audio_track.is_none() {
        let (has, wants) = if video.is_some() {
            (MediaKind::Video, MediaKind::Audio)
        } else {
            (MediaKind::Audio, MediaKind::Video)
        };
        return Err(Refusal::OtherKind { has, wants });
    }
    let (dtls, remote, fates) = taken.transport(offer)?;
    Ok(Plan {
        role: Role::View,
        dtls,
        remote,
        video: video_track,
        audio: audio_track,
        fates,
    })
}

/// The sections to take, with their places.
#[derive(Clone, Copy)]
struct Choice<'a> {
    video: Option<(usize, &'a Section)>,
    audio: Option<(usize, &'a Section)>,
}

impl<'a> Choice<'a> {
    fn new(offer: &'a Offer, is_wanted: fn(Direction) -> bool) -> Option<Self> {
        let first = |kind| {
            offer.sections.iter().enumerate().find(|(_, section)| {
                section.kind == Some(kind) && offer.is_active(section) && is_wanted(section.direction)
            })
        };
        let choice = Self {
            video: first(MediaKind::Video),
            audio: first(MediaKind::Audio),
        };
        (choice.video.is_some() || choice.audio.is_some()).then_some(choice)
    }

    fn kind_at(&self, m_line: usize) -> Option<MediaKind> {
        let is_here = |section: Option<(usize, &Section)>| section.is_some_and(|(place, _)| place == m_line);
        if is_here(self.video) {
            Some(MediaKind::Video)
        } else {
            is_here(self.audio).then_some(MediaKind::Audio)
        }
    }

    /// Checks that the sections can share one transport, and finds it.
    fn transport(&self, offer: &Offer) -> Result<(DtlsRole, Remote, Vec<Fate>), Refusal> {
        let is_bundled = |section: Option<(usize, &Section)>| section.is_none_or(|(_, section)| offer.is_bundled(section));
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
        let dtls = match transports.iter().find_map(|transport| transport.setup.as_deref()) {
            None | Some("actpass" | "active") => DtlsRole::Server,
            Some("passive") => DtlsRole::Client,
            Some(other) => return Err(Refusal::Setup(other.to_owned())),
        };

        if self.video.is_some() && self.audio.is_some() && !all_bundled {
            return Err(Refusal::NoBundle);
        }
        for (kind, section) in [(MediaKind::Video, self.video), (MediaKind::Audio, self.audio)] {
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
        in_group(true).chain(in_group(false)).map(|section| &section.transport).collect()
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
    let rtx_payload_type = section
        .payloads
        .iter()
        .find(|rtx| rtx.repairs == Some(payload.payload_type))
        .map(|rtx| rtx.payload_type);
    let repair = section.repairs.first().copied();
    let transport_cc_id = section.extension(TRANSPORT_CC_URI).filter(|_| payload.feedback.transport_cc);
    Ok(TrackPlan {
        m_line,
        mid: section.mid_or_place(m_line),
        kind,
        payload_type: payload.payload_type,
        rtx_payload_type,
        codec: codec.clone(),
        fmtp: payload.fmtp.clone(),
        ssrc: repair.map(|(ssrc, _)| ssrc).or(section.ssrcs.first().copied()),
        rtx_ssrc: repair.map(|(_, rtx)| rtx).filter(|_| rtx_payload_type.is_some()),
        transport_cc_id,
        mid_id: section.extension(MID_URI),
        feedback: Feedback {
            transport_cc: transport_cc_id.is_some(),
            ..payload.feedback
        },
    })
}

fn viewer_track(m_line: usize, section: &Section, stream: &Codec) -> Result<TrackPlan, Refusal> {
    let fitting = |wanted: Match| section.known().find(|(_, codec)| stream.fits(codec) == wanted);
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
        rtx_payload_type: None,
        codec: codec.clone(),
        fmtp: payload.fmtp.clone(),
        ssrc: None,
        rtx_ssrc: None,
        transport_cc_id: None,
        mid_id: None,
        feedback: Feedback {
            nack_pli: payload.feedback.nack_pli,
            ccm_fir: payload.feedback.ccm_fir,
            ..Feedback::default()
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
