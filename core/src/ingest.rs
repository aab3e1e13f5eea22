//! A publisher: str0m whole, in RTP mode. What it decrypts goes into the tracks' histories.
//!
//! The session description is ours ([`signal`](crate::signal)); str0m is told of its outcome by
//! its direct interface. ICE is ours as well, as it is for viewers: str0m sees one pair of addresses
//! that stand for all, and one check of its own making for each that was genuine. So neither a
//! peer's addresses nor its restarts are anything that str0m has to know of. And what is missing is
//! asked for by us ([`repairs`]), who look further back.

mod declare;
pub(crate) mod feed;
mod nacks;
mod repairs;
mod request;
mod rtt;
mod sources;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::SrtpProfile;
use is::IceCreds;
use is::stun::StunMessage;
use str0m::format::CodecConfig;
use str0m::media::{KeyframeRequestKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::Extension;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcError};

use crate::control::{Credentials, Shared};
use crate::dtls;
use crate::ice::{self, Check, Ice};
use crate::ingest::declare::{declare, payload_params};
use crate::ingest::nacks::Nacks;
use crate::ingest::repairs::{Repairs, Rtx};
use crate::media::{Codec, MediaKind};
use crate::net::{Kind, Route};
use crate::rtcp;
use crate::srtp::{self, Replays};
use crate::stats::EndReason;
use crate::stream::track::Packet;
use crate::time::ntp;

pub(crate) use crate::ingest::repairs::Asking;

/// The one pair of addresses that str0m knows. From a range for documentation (RFC 5737): they
/// never stand in a packet.
const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
const THERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 9);

/// What str0m goes by in the checks that it is shown. No secrets: nobody else can show it any.
const UFRAG: &str = "ingest";
const USERNAME: &str = "ingest:ingest";
const PASSWORD: &str = "checked before it gets here";

/// Why a session ends whose str0m would send RTCP in the name of our requests.
const ONE_NAME: &str = "two senders of reports had drawn one SSRC by chance: publish again";

/// One track as negotiated.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) codec: Codec,
    pub(crate) mid: String,
    pub(crate) payload_type: u8,
    pub(crate) rtx_payload_type: Option<u8>,
    /// As announced in the offer, if it was.
    pub(crate) ssrc: Option<u32>,
    pub(crate) rtx_ssrc: Option<u32>,
    pub(crate) nack: bool,
    /// Feedback on it may stand alone (RFC 5506).
    pub(crate) reduced_size: bool,
    pub(crate) pli: bool,
    pub(crate) fir: bool,
    pub(crate) transport_cc: bool,
}

/// The header extensions as negotiated, by their ids.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extensions {
    pub(crate) mid: Option<u8>,
    pub(crate) transport_cc: Option<u8>,
}

/// See the module.
pub(crate) struct Ingest {
    rtc: Rtc,
    tracks: heapless::Vec<Lane, 2>,
    /// Nothing but the payload type may tell which track a source belongs to.
    takes_unannounced: bool,
    /// Sources taken up by their payload type, of which nothing has decrypted yet.
    unproven: heapless::Vec<u32, 4>,
    connected: bool,
    /// What DTLS came to.
    profile: Option<SrtpProfile>,
    /// Which reports have come: str0m opens one as often as it comes.
    replays: Replays,
    /// The sender and index of the SRTCP packet that was taken in last, if it has not come before.
    report: Option<(u32, u32)>,
    repairs: Repairs,
    pub(crate) ice: Ice,
    shared: Arc<Shared>,
    /// The time of the last input.
    now: Instant,
    /// When str0m wants its turn.
    timeout: Instant,
}

#[derive(Debug)]
struct Lane {
    published: Published,
    mid: Mid,
    /// The source its packets come from, once known.
    ssrc: Option<u32>,
    /// The source its repairs come from, once one has.
    rtx: Option<Rtx>,
    nacks: Nacks,
}

impl Lane {
    fn is_video(&self) -> bool {
        self.published.codec.kind() == MediaKind::Video
    }
}

/// What came of an input.
#[derive(Debug)]
pub(crate) enum Progress {
    /// A datagram is to be sent.
    Send(Route, Vec<u8>),
    /// ICE and DTLS are done, and this is how media is protected.
    Connected(SrtpProfile),
    /// A packet of one of the tracks.
    Packet(MediaKind, Packet),
    /// So much of the video is missing that nothing is asked for: a keyframe is needed.
    TooMuchLost,
    /// Which moment a track's timestamps mean, in the publisher's clock.
    SenderReport {
        kind: MediaKind,
        received: Instant,
        ntp: u64,
        timestamp: u32,
    },
    /// The session is over.
    Ended(EndReason),
}

impl Ingest {
    pub(crate) fn new(
        now: Instant,
        shared: &Arc<Shared>,
        credentials: &Credentials,
        tracks: Vec<Published>,
        extensions: Extensions,
        report_interval: Duration,
        asking: Asking,
    ) -> Result<Self, EndReason> {
        let mut config = Rtc::builder()
            .set_crypto_provider(shared.crypto.clone())
            .set_dtls_cert(shared.certificate.clone())
            .set_local_ice_credentials(str0m_credentials())
            .set_ice_lite(true)
            .set_rtp_mode(true)
            .set_rtcp_report_interval_audio(report_interval)
            .set_rtcp_report_interval_video(report_interval)
            .clear_extension_map();
        if let Some(id) = extensions.mid {
            config = config.set_extension(id, Extension::RtpMid);
        }
        if let Some(id) = extensions.transport_cc {
            config = config.set_extension(id, Extension::TransportSequenceNumber);
        }
        *config.codec_config() =
            CodecConfig::new_from_payload_params(tracks.iter().map(payload_params).collect());
        let mut rtc = config.build(now);
        if let Ok(candidate) = Candidate::host(HERE, Protocol::Udp) {
            rtc.add_local_candidate(candidate);
        }
        let lanes = declare(&mut rtc, tracks, credentials, extensions, asking.window);
        let lanes = lanes.map_err(failed)?;
        Ok(Self {
            rtc,
            tracks: lanes,
            takes_unannounced: extensions.mid.is_none(),
            unproven: heapless::Vec::new(),
            connected: false,
            profile: None,
            replays: Replays::default(),
            report: None,
            repairs: Repairs::new(asking),
            ice: Ice::new(credentials.names(), shared.crypto.sha1_hmac_provider),
            shared: shared.clone(),
            now,
            timeout: now,
        })
    }

    pub(crate) fn codecs(&self) -> impl Iterator<Item = &Codec> {
        self.tracks.iter().map(|t| &t.published.codec)
    }

    /// Takes in a STUN message. Returns whether it was a valid binding request of this peer.
    pub(crate) fn handle_stun(
        &mut self,
        now: Instant,
        route: Route,
        message: &StunMessage<'_>,
    ) -> Result<bool, EndReason> {
        let Some(check) = self.ice.handle(route, message) else {
            return Ok(false);
        };
        if let Some(contents) = self.check_for_str0m(check)
            && let Some(receive) = receive(&contents)
        {
            self.rtc
                .handle_input(Input::Receive(now, receive))
                .map_err(failed)?;
        }
        Ok(true)
    }

    /// What str0m is shown of a genuine check: that the peer is there, and may be sent to once it
    /// has nominated anything.
    fn check_for_str0m(&self, check: Check) -> Option<Vec<u8>> {
        let nominated = self.ice.selected().is_some();
        let message = StunMessage::binding_request(USERNAME, check.id, true, 0, 1, nominated);
        let hmac = self.shared.crypto.sha1_hmac_provider;
        ice::write(message, PASSWORD.as_bytes(), hmac).filter(|_| !check.is_conflict)
    }

    /// Takes in DTLS, RTP or RTCP. Returns whether it is any of these.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        kind: Kind,
        contents: &[u8],
    ) -> Result<bool, EndReason> {
        let Some(receive) = receive(contents) else {
            return Ok(false);
        };
        self.now = now;
        let is_rtp = kind == Kind::Media && !rtcp::is_rtcp(contents);
        self.report = self
            .profile
            .filter(|_| kind == Kind::Media && !is_rtp)
            .and_then(|profile| srtp::rtcp_index(profile, contents))
            .filter(|(ssrc, index)| self.replays.is_new(*ssrc, *index));
        if is_rtp && self.connected && self.takes_unannounced {
            self.note_source(contents);
        }
        if is_rtp {
            self.hold(contents);
        }
        self.rtc
            .handle_input(Input::Receive(now, receive))
            .map_err(failed)?;
        Ok(true)
    }

    /// Does what has fallen due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Result<(), EndReason> {
        self.now = now;
        self.ask(now);
        if self.timeout > now {
            return Ok(());
        }
        self.rtc.handle_input(Input::Timeout(now)).map_err(failed)
    }

    pub(crate) fn poll_timeout(&self) -> Instant {
        let requests = self.tracks.iter().filter_map(|t| t.nacks.poll_timeout());
        requests.fold(self.timeout, Instant::min)
    }

    /// What is to be done, until `None`. str0m wants this after every single input.
    pub(crate) fn poll(&mut self) -> Option<Progress> {
        if let Some((route, contents)) = self.ice.poll_reply() {
            return Some(Progress::Send(route, contents));
        }
        while let Some(request) = self.repairs.poll_request() {
            if let Some(route) = self.ice.selected() {
                return Some(Progress::Send(route, request));
            }
        }
        loop {
            let output = self.rtc.poll_output();
            if let Some(negotiated) = dtls::take_negotiated() {
                self.profile = Some(negotiated.profile);
                if let Err(reason) = self.shared.allows(negotiated.profile) {
                    return Some(Progress::Ended(reason));
                }
                self.repairs.on_negotiated(&negotiated);
            }
            let event = match output {
                Err(e) => return Some(Progress::Ended(failed(e))),
                Ok(Output::Timeout(at)) => {
                    self.timeout = at;
                    return self.rescue().or_else(|| self.repairs.poll_too_much_lost());
                }
                Ok(Output::Transmit(transmit)) if !self.repairs.permits(&transmit.contents) => {
                    return Some(Progress::Ended(EndReason::Failed(ONE_NAME.to_owned())));
                }
                Ok(Output::Transmit(transmit)) => match self.ice.selected() {
                    // The peer has its answer from us.
                    _ if Kind::of(&transmit.contents) == Some(Kind::Stun) => continue,
                    Some(route) => return Some(Progress::Send(route, transmit.contents.into())),
                    None => continue,
                },
                Ok(Output::Event(event)) => event,
            };
            match event {
                Event::Connected => {
                    self.connected = true;
                    return Some(match self.profile {
                        Some(profile) => Progress::Connected(profile),
                        None => Progress::Ended(EndReason::NoSrtp),
                    });
                }
                Event::Closed => {
                    let failure = dtls::take_failure().map(EndReason::Failed);
                    return Some(Progress::Ended(failure.unwrap_or(EndReason::PeerClosed)));
                }
                Event::RtpPacket(packet) => {
                    if let Some(progress) = self.on_packet(packet) {
                        return Some(progress);
                    }
                }
                Event::SenderFeedback(feedback) => {
                    let Some((ssrc, index)) = self.report else {
                        continue;
                    };
                    self.replays.note(ssrc, index);
                    let Some(lane) = self
                        .tracks
                        .iter()
                        .find(|t| t.ssrc == Some(*feedback.sender_info.ssrc))
                    else {
                        continue;
                    };
                    return Some(Progress::SenderReport {
                        kind: lane.published.codec.kind(),
                        received: feedback.received_at,
                        ntp: ntp(feedback.sender_info.ntp_time),
                        timestamp: wrap(feedback.sender_info.rtp_time.numer()),
                    });
                }
                _ => {}
            }
        }
    }

    /// Asks for a keyframe, by PLI or FIR as negotiated.
    pub(crate) fn request_keyframe(&mut self) {
        let Some(lane) = self
            .tracks
            .iter()
            .find(|t| t.published.codec.kind() == MediaKind::Video)
        else {
            return;
        };
        let kind = match (lane.published.pli, lane.published.fir) {
            (false, true) => KeyframeRequestKind::Fir,
            _ => KeyframeRequestKind::Pli,
        };
        let ssrc = lane.ssrc;
        let mid = lane.mid;
        let mut api = self.rtc.direct_api();
        let stream = match ssrc {
            Some(ssrc) => api.stream_rx(&ssrc.into()),
            None => api.stream_rx_by_mid(mid, None),
        };
        if let Some(stream) = stream {
            stream.request_keyframe(kind);
        }
    }

    /// Says goodbye. What is to be sent comes by [`poll`](Self::poll).
    pub(crate) fn close(&mut self) {
        // An error means that there is nobody to say goodbye to.
        let _ = self.rtc.close();
    }
}

fn receive(contents: &[u8]) -> Option<Receive<'_>> {
    Receive::new(Protocol::Udp, THERE, HERE, contents).ok()
}

fn str0m_credentials() -> IceCreds {
    IceCreds {
        ufrag: UFRAG.to_owned(),
        pass: PASSWORD.to_owned(),
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that `map_err` wants"
)]
fn failed(error: RtcError) -> EndReason {
    match &error {
        RtcError::Dtls(_) => {
            let words = dtls::take_failure();
            EndReason::Failed(words.unwrap_or_else(|| error.to_string()))
        }
        // The only word that str0m has for it.
        RtcError::RemoteSdp(words) if words == "remote fingerprint no match" => {
            EndReason::Fingerprint
        }
        _ => EndReason::Failed(error.to_string()),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "RTP timestamps wrap")]
fn wrap(extended: u64) -> u32 {
    extended as u32
}

impl std::fmt::Debug for Ingest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ingest")
            .field("tracks", &self.tracks)
            .finish_non_exhaustive()
    }
}
