//! What is private and reads bytes from outside, for the fuzz targets of `kvill-fuzz`.
//!
//! Behind the feature `fuzzing`, which no program that is shipped has. Each function is a thin way
//! to one parser or one state machine and gives plain values: what has to hold of them is said by
//! the targets.

use std::net::SocketAddr;

use dimpl::SrtpProfile;
use is::stun::StunMessage;

use crate::ice::{Ice, Names};
use crate::ids::{self, TransportId};
use crate::media::Codec;
use crate::net::{Route, canonical};
use crate::rtcp;
use crate::signal::answer::{self, Local, Source, Sources};
use crate::signal::fragment;
use crate::signal::offer::Offer;
use crate::signal::policy::{self, Plan};
use crate::signal::refusal::Refusal;
use crate::srtp::{self, Opener, Sealer};

/// What a viewer's RTCP says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feedback {
    /// A keyframe of this SSRC is needed.
    Keyframe(u32),
    /// Packets of this SSRC are missing: the first, and of those after it the ones with a bit.
    Nack(u32, u16, u16),
    /// A reception report: SSRC, share lost, number lost, jitter, last report, delay.
    Report(u32, u8, i32, u32, u32, u32),
    /// The SSRC's clock.
    ReferenceTime(u32, u32),
    /// It goes.
    Goodbye,
}

/// Reads a decrypted compound RTCP packet.
pub fn feedback(compound: &[u8]) -> impl Iterator<Item = Feedback> + '_ {
    rtcp::feedback(compound).map(|feedback| match feedback {
        rtcp::Feedback::Keyframe { ssrc } => Feedback::Keyframe(ssrc),
        rtcp::Feedback::Nack { ssrc, lost } => Feedback::Nack(ssrc, lost.first, lost.following),
        rtcp::Feedback::Report(r) => Feedback::Report(
            r.ssrc,
            r.fraction_lost,
            r.lost,
            r.jitter,
            r.last_report,
            r.delay,
        ),
        rtcp::Feedback::ReferenceTime { ssrc, ntp } => Feedback::ReferenceTime(ssrc, ntp),
        rtcp::Feedback::Goodbye => Feedback::Goodbye,
    })
}

/// The ICE of one session.
#[derive(Debug)]
pub struct IceSession(Ice);

impl IceSession {
    /// A session of these names: our ufrag and password, the peer's ufrag.
    #[must_use]
    pub fn new(ufrag: &str, password: &str, remote_ufrag: &str) -> Self {
        let names = Names {
            local_ufrag: ufrag.to_owned(),
            local_password: password.to_owned(),
            remote_ufrag: remote_ufrag.to_owned(),
            remote_password: String::new(),
        };
        Self(Ice::new(
            names,
            crate::dtls::crypto_provider().sha1_hmac_provider,
        ))
    }

    /// Takes in a datagram. Gives what it is answered, if it is genuine.
    pub fn handle(&mut self, remote: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
        let message = StunMessage::parse(datagram).ok()?;
        let route = Route {
            transport: TransportId(0),
            local: SocketAddr::from(([192, 0, 2, 1], 8189)),
            remote: canonical(remote),
        };
        self.0.handle(route, &message)?;
        self.0.poll_reply().map(|(_, reply)| reply)
    }

    /// Where the peer wants everything.
    #[must_use]
    pub fn selected(&self) -> Option<SocketAddr> {
        self.0.selected().map(|route| route.remote)
    }
}

/// An ICE fragment, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// ICE user name fragment.
    pub ufrag: Option<String>,
    /// ICE password.
    pub pwd: Option<String>,
    /// The first word of the first `m=` line, and the section's name.
    pub section: Option<(String, Option<String>)>,
    /// How many candidates it brings.
    pub candidates: usize,
    /// No more will come.
    pub ended: bool,
}

/// Reads an ICE fragment.
#[must_use]
pub fn read_fragment(text: &[u8]) -> Option<Fragment> {
    let read = fragment::Fragment::parse(text).ok()?;
    Some(Fragment {
        ufrag: read.ufrag,
        pwd: read.pwd,
        section: read.section.map(|section| (section.media, section.mid)),
        candidates: read.candidates,
        ended: read.ended,
    })
}

/// Writes our half of an ICE restart.
#[must_use]
pub fn write_fragment(
    ufrag: &str,
    pwd: &str,
    candidates: &str,
    section: Option<&(String, Option<String>)>,
) -> String {
    let section = section.map(|(media, mid)| fragment::Section {
        media: media.clone(),
        mid: mid.clone(),
    });
    fragment::write(ufrag, pwd, candidates, section.as_ref())
}

/// The first word and the name of each media section of an SDP. `None`: it is refused.
#[must_use]
pub fn sections(sdp: &[u8]) -> Option<Vec<(String, Option<String>)>> {
    let offer = Offer::parse(sdp).ok()?;
    let sections = offer.sections.into_iter();
    Some(
        sections
            .map(|section| (section.media, section.mid))
            .collect(),
    )
}

/// An answer, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The SDP.
    pub answer: String,
    /// Of each section that is taken: its place, its payload type.
    pub taken: Vec<(usize, u8)>,
}

/// Answers a publisher's offer, or says with which status it is refused, and why.
///
/// # Errors
/// The refusal.
pub fn answer_publisher(sdp: &[u8]) -> Result<Answered, (u16, String)> {
    let offer = Offer::parse(sdp).map_err(|r| refused(&r))?;
    let plan = policy::publish(&offer).map_err(|r| refused(&r))?;
    Ok(answered(answer::publish(&offer, &plan, &LOCAL), &plan))
}

/// Answers the offer of a viewer of a stream with these codecs: names of encodings, and the
/// video's format parameters.
///
/// # Errors
/// The refusal.
pub fn answer_viewer(
    sdp: &[u8],
    video: Option<(&str, &str)>,
    audio: Option<&str>,
) -> Result<Answered, (u16, String)> {
    let offer = Offer::parse(sdp).map_err(|r| refused(&r))?;
    let video = video.and_then(|(name, fmtp)| Codec::from_sdp(name, 90_000, 1, fmtp));
    let audio = audio.and_then(|name| {
        let (clock_rate, channels) = if name == "opus" {
            (48_000, 2)
        } else {
            (8_000, 1)
        };
        Codec::from_sdp(name, clock_rate, channels, "")
    });
    let plan = policy::view(&offer, video.as_ref(), audio.as_ref()).map_err(|r| refused(&r))?;
    let answer = answer::view(&offer, &plan, &LOCAL, &SOURCES);
    Ok(answered(answer, &plan))
}

const LOCAL: Local<'_> = Local {
    session_id: 4_711,
    ufrag: "ourufrag",
    pwd: "ourpasswordof24characters",
    fingerprint: &[0xab; 32],
    candidates: "a=candidate:1 1 udp 2130706431 192.0.2.1 8189 typ host\r\n",
};

const SOURCES: Sources<'_> = Sources {
    cname: "canonicalname016",
    video: Source {
        ssrc: 111_111,
        rtx_ssrc: 111_112,
    },
    audio: Source {
        ssrc: 222_222,
        rtx_ssrc: 222_223,
    },
};

fn answered(answer: String, plan: &Plan) -> Answered {
    let taken = plan.tracks();
    Answered {
        answer,
        taken: taken
            .map(|track| (track.m_line, track.payload_type))
            .collect(),
    }
}

fn refused(refusal: &Refusal) -> (u16, String) {
    (refusal.status().as_u16(), refusal.to_string())
}

/// Slot and generation of the session that a ufrag names.
#[must_use]
pub fn session_of_ufrag(ufrag: &str) -> Option<(u32, u32)> {
    ids::session_of_ufrag(ufrag).map(|id| (id.slot, id.generation))
}

/// A client's end of SRTP: what it seals is opened by the server as genuine.
pub struct Srtp {
    sealer: Sealer,
    opener: Opener,
}

impl Srtp {
    /// From what the DTLS client has exported.
    #[must_use]
    pub fn of_client(profile: SrtpProfile, material: &[u8]) -> Option<Self> {
        let (sealer, opener) = srtp::derive(profile, material, true)?;
        Some(Self { sealer, opener })
    }

    /// Seals a compound RTCP packet of 8 bytes at least.
    pub fn seal_rtcp(&mut self, packet: &mut Vec<u8>) -> Option<()> {
        packet.resize(packet.len() + self.sealer.rtcp_overhead(), 0);
        self.sealer.seal_rtcp(packet)
    }

    /// Seals an RTP packet that has a header of 12 bytes. No index may come twice.
    pub fn seal_rtp(&mut self, ssrc: u32, index: u64, packet: &mut Vec<u8>) -> Option<()> {
        packet.resize(packet.len() + self.sealer.rtp_overhead(), 0);
        self.sealer.seal_rtp(ssrc, index, packet)
    }

    /// Opens a compound RTCP packet in place. `None`: it is not genuine, or has come before.
    pub fn open_rtcp<'a>(&mut self, packet: &'a mut [u8]) -> Option<&'a [u8]> {
        self.opener.open_rtcp(packet)
    }
}

impl std::fmt::Debug for Srtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Srtp")
    }
}
