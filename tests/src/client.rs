//! A WHIP publisher and a WHEP viewer on str0m, without sockets and clocks.
//!
//! str0m whole, in RTP mode, is an implementation of ICE, DTLS and SRTP of which the server uses
//! only parts: what the two agree on is what the RFCs say. A client is driven like the server: it
//! is fed time and datagrams, and is asked for what to send. It offers, is ICE-controlling and
//! DTLS client.
//!
//! Make many of them: one is some 60 KB and a handshake of about two milliseconds.
//!
//! str0m's randomness (ICE credentials, SSRCs, mids) is fastrand's generator of the thread: seed
//! that with [`fastrand::seed`] for the same clients in every run. The key exchange stays random.

mod crypto;
pub mod media;
mod name;
mod restart;
mod text;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::config::DtlsCert;
use str0m::format::{Codec, CodecConfig, PayloadParams};
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::rtcp::Rtcp;
use str0m::rtp::{RawPacket, RtpPacket, RtpWrite, Ssrc};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use self::media::Packet;
use self::text::{Text, Track};

/// One peer connection of a test.
#[derive(Debug)]
pub struct Client {
    rtc: Rtc,
    local: SocketAddr,
    video_mid: Option<Mid>,
    audio_mid: Option<Mid>,
    /// Asks for what is missing although it is not told of a source for repairs.
    asks_without_rtx: bool,
    offer: String,
    pending: Option<SdpPendingOffer>,
    /// An offer that is not str0m's.
    text: Option<Text>,
    /// What was made of that.
    tracks: Vec<Track>,
    answer: String,
    outbox: VecDeque<Outgoing>,
    timeout: Instant,
    connected: bool,
    closed: bool,
    error: Option<String>,
    /// Video that arrived, authenticated and decrypted, in order of arrival. A sequence number
    /// that comes again does not show here. Take it out to keep memory small.
    pub video: Vec<RtpPacket>,
    /// The same of audio.
    pub audio: Vec<RtpPacket>,
    /// RTCP that arrived, if [`Options::observe`] is set.
    pub rtcp: Vec<(Instant, Rtcp)>,
    /// When requests for a keyframe reached this publisher.
    pub keyframe_requests: Vec<Instant>,
    /// SRTP packets that were authentic, resent ones too, if [`Options::observe`] is set.
    pub decrypted: u64,
}

/// A datagram that a client wants to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub destination: SocketAddr,
    /// The UDP payload.
    pub contents: Vec<u8>,
}

/// What a client is to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// Codecs to offer. One m-line is made for video and one for audio, if the list has any.
    pub codecs: Vec<Codec>,
    /// Keep RTCP and count what decrypts. Costs a copy of every packet.
    pub observe: bool,
    /// How many packets of a track are kept for those who ask for them again. More costs memory.
    pub send_buffer: usize,
    /// How what is lost is repaired.
    pub repair: Repair,
}

/// How a client has lost packets repaired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repair {
    /// By RTX (RFC 4588) for video, not at all for audio: what str0m does by itself.
    Rtx,
    /// The same packet is sent again, for video and audio: NACK is offered and RTX is not.
    Again,
    /// Not at all: neither is offered.
    Off,
}

/// Enough where nothing is lost.
const SEND_BUFFER: usize = 10;

impl Options {
    /// Offers these codecs and observes nothing.
    #[must_use]
    pub fn new(codecs: &[Codec]) -> Self {
        Self {
            codecs: codecs.to_vec(),
            observe: false,
            send_buffer: SEND_BUFFER,
            repair: Repair::Rtx,
        }
    }

    /// The same client, observing.
    #[must_use]
    pub fn observing(mut self) -> Self {
        self.observe = true;
        self
    }

    /// The same client, of which what is lost is repaired like this.
    #[must_use]
    pub fn repaired_by(mut self, repair: Repair) -> Self {
        self.repair = repair;
        self
    }

    /// The same client, which repairs what is lost of its last so many packets.
    #[must_use]
    pub fn repairing(mut self, packets: usize) -> Self {
        self.send_buffer = packets;
        self
    }
}

impl Client {
    /// A client that wants to send, at the address `local`.
    #[must_use]
    pub fn publisher(now: Instant, local: SocketAddr, options: &Options) -> Self {
        Self::new(now, local, options, Direction::SendOnly)
    }

    /// A client that wants to receive, at the address `local`.
    #[must_use]
    pub fn viewer(now: Instant, local: SocketAddr, options: &Options) -> Self {
        Self::new(now, local, options, Direction::RecvOnly)
    }

    /// A client whose offer is the given text, that of another implementation say, to publish or
    /// to watch. Its credentials and its fingerprint are put into the text; nothing else is changed.
    #[must_use]
    pub fn offering(now: Instant, local: SocketAddr, text: &str, identity: &Identity) -> Self {
        let options = Options::new(&[Codec::Vp8]);
        let mut client = Self::new(now, local, &options, Direction::RecvOnly);
        let text = Text::new(text, identity.0.clone());
        client.offer.clone_from(&text.offer);
        client.text = Some(text);
        client
    }

    fn new(now: Instant, local: SocketAddr, options: &Options, direction: Direction) -> Self {
        let mut rtc = config(options).build(now);
        let candidate = Candidate::host(local, "udp").expect("a host address");
        rtc.add_local_candidate(candidate);

        let mut changes = rtc.sdp_api();
        let mut add = |kind| {
            let wanted = options.codecs.iter().any(|c| c.kind() == kind);
            wanted.then(|| changes.add_media(kind, direction, None, None, None))
        };
        let (video_mid, audio_mid) = (add(MediaKind::Video), add(MediaKind::Audio));
        let (offer, pending) = changes.apply().expect("at least one codec to offer");

        let mut client = Self {
            rtc,
            local,
            video_mid,
            audio_mid,
            asks_without_rtx: direction == Direction::RecvOnly && options.repair == Repair::Again,
            offer: offer.to_sdp_string(),
            pending: Some(pending),
            text: None,
            tracks: Vec::new(),
            answer: String::new(),
            outbox: VecDeque::new(),
            timeout: now,
            connected: false,
            closed: false,
            error: None,
            video: Vec::new(),
            audio: Vec::new(),
            rtcp: Vec::new(),
            keyframe_requests: Vec::new(),
            decrypted: 0,
        };
        client.drain(now);
        client
    }

    /// The SDP offer to POST.
    #[must_use]
    pub fn offer(&self) -> &str {
        &self.offer
    }

    /// Takes the answer to the offer. Says what is wrong with an answer that str0m refuses.
    pub fn accept_answer(&mut self, now: Instant, answer: &str) -> Result<(), String> {
        let pending = self.pending.take().ok_or("this offer has its answer")?;
        answer.clone_into(&mut self.answer);
        if let Some(text) = self.text.take() {
            let config = config(&Options::new(&[]));
            let settled = text.settle(now, self.local, config, answer)?;
            let mid = |kind| {
                settled
                    .tracks
                    .iter()
                    .find(|t| t.kind == kind)
                    .map(|t| t.mid)
            };
            (self.video_mid, self.audio_mid) = (mid(MediaKind::Video), mid(MediaKind::Audio));
            (self.rtc, self.tracks) = (settled.rtc, settled.tracks);
            // ICE begins with time.
            self.input(now, Input::Timeout(now));
            return Ok(());
        }
        let answer = SdpAnswer::from_sdp_string(answer).map_err(|e| e.to_string())?;
        self.rtc
            .sdp_api()
            .accept_answer(pending, answer)
            .map_err(|e| e.to_string())?;
        if self.asks_without_rtx {
            for mid in [self.video_mid, self.audio_mid].into_iter().flatten() {
                let mut api = self.rtc.direct_api();
                if let Some(stream) = api.stream_rx_by_mid(mid, None) {
                    stream.suppress_nack(false);
                }
            }
        }
        self.drain(now);
        Ok(())
    }

    /// The answer to the offer, as it was taken in.
    #[must_use]
    pub fn answer(&self) -> &str {
        &self.answer
    }

    /// The address it sends from and receives at.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// ICE and DTLS are done.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connected && !self.closed
    }

    /// The other side closed DTLS, or this side did.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// What ended the connection, if it was an error: DTLS gave up, say.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// The SSRC that this publisher sends a kind of media with.
    ///
    /// # Panics
    ///
    /// If it does not publish that kind.
    pub fn ssrc(&mut self, kind: MediaKind) -> Ssrc {
        let mid = self.mid(kind);
        let mut api = self.rtc.direct_api();
        let stream = api.stream_tx_by_mid(mid, None);
        stream.expect("a publisher has its streams").ssrc()
    }

    /// Takes in a datagram from `source`.
    ///
    /// # Panics
    ///
    /// If it is not even STUN, DTLS or RTP by its looks: nobody sends such things to a client.
    pub fn handle_datagram(&mut self, now: Instant, source: SocketAddr, contents: &[u8]) {
        let Ok(receive) = Receive::new(Protocol::Udp, source, self.local, contents) else {
            panic!(
                "{} got {} bytes of nothing from {source}",
                self.local,
                contents.len()
            );
        };
        self.input(now, Input::Receive(now, receive));
    }

    /// Does what has fallen due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.input(now, Input::Timeout(now));
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        self.timeout
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Outgoing> {
        self.outbox.pop_front()
    }

    /// Publishes packets, in the order in which they are given, which may be any.
    ///
    /// # Panics
    ///
    /// If the answer has no such media.
    pub fn write<'a>(
        &mut self,
        now: Instant,
        kind: MediaKind,
        packets: impl IntoIterator<Item = &'a Packet>,
    ) {
        let mid = self.mid(kind);
        let pt = self.track(kind).map(|track| track.pt);
        let pt = pt.unwrap_or_else(|| {
            let media = self.rtc.media(mid).expect("media is there from the answer");
            *media.remote_pts().first().expect("a codec was negotiated")
        });
        for packet in packets {
            let mut api = self.rtc.direct_api();
            let stream = api.stream_tx_by_mid(mid, None);
            let payload = packet.payload.clone();
            let write = RtpWrite::new(pt, packet.seq.into(), packet.timestamp, now, payload)
                .marker(packet.marker)
                .nackable(true);
            stream
                .expect("a publisher has its streams")
                .write_rtp(write);
            self.input(now, Input::Timeout(now));
        }
    }

    /// Asks for a keyframe, as a decoder does that has lost its picture.
    ///
    /// # Panics
    ///
    /// If no packet of the video has arrived.
    pub fn request_keyframe(&mut self, now: Instant) {
        let mid = self.mid(MediaKind::Video);
        let mut api = self.rtc.direct_api();
        let stream = api.stream_rx_by_mid(mid, None);
        let stream = stream.expect("video has arrived");
        stream.request_keyframe(KeyframeRequestKind::Pli);
        self.input(now, Input::Timeout(now));
    }

    /// Leaves in an orderly way: RTCP BYE and DTLS `close_notify`.
    pub fn close(&mut self, now: Instant) {
        self.rtc.close().expect("a live connection");
        self.closed = true;
        self.drain(now);
    }

    fn mid(&self, kind: MediaKind) -> Mid {
        let mid = match kind {
            MediaKind::Video => self.video_mid,
            MediaKind::Audio => self.audio_mid,
        };
        mid.unwrap_or_else(|| panic!("{} did not offer {kind}", self.local))
    }

    fn track(&self, kind: MediaKind) -> Option<Track> {
        self.tracks.iter().find(|track| track.kind == kind).copied()
    }

    fn input(&mut self, now: Instant, input: Input<'_>) {
        if self.error.is_some() {
            return;
        }
        match self.rtc.handle_input(input) {
            Ok(()) => self.drain(now),
            Err(error) => self.fail(now, error.to_string()),
        }
    }

    /// str0m's rule: after every change, everything is taken out until it names a time.
    fn drain(&mut self, now: Instant) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.timeout = at;
                    return;
                }
                // By an address that it has no longer.
                Ok(Output::Transmit(transmit)) if transmit.source != self.local => {}
                Ok(Output::Transmit(transmit)) => self.outbox.push_back(Outgoing {
                    destination: transmit.destination,
                    contents: transmit.contents.into(),
                }),
                Ok(Output::Event(event)) => self.on_event(now, event),
                Err(error) => return self.fail(now, error.to_string()),
            }
        }
    }

    fn fail(&mut self, now: Instant, error: String) {
        self.error = Some(error);
        self.closed = true;
        self.timeout = now + Duration::from_secs(86_400);
    }

    fn on_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected => self.connected = true,
            Event::Closed => self.closed = true,
            Event::RtpPacket(packet) => {
                let media = self.video_mid.and_then(|mid| self.rtc.media(mid));
                let pt = packet.header.payload_type;
                let is_video = match self.track(MediaKind::Video) {
                    Some(track) => track.pt == pt,
                    None => media.is_some_and(|media| media.remote_pts().contains(&pt)),
                };
                if is_video {
                    self.video.push(packet);
                } else {
                    self.audio.push(packet);
                }
            }
            Event::KeyframeRequest(_) => self.keyframe_requests.push(now),
            Event::RawPacket(raw) => match *raw {
                RawPacket::RtcpRx(rtcp) => self.rtcp.push((now, rtcp)),
                RawPacket::RtpRx(..) => self.decrypted += 1,
                RawPacket::RtcpTx(_) | RawPacket::RtpTx(..) => {}
            },
            _ => {}
        }
    }
}

/// Whom a client shows itself as: its certificate.
#[derive(Debug, Clone)]
pub struct Identity(DtlsCert);

impl Default for Identity {
    /// The certificate that all clients share.
    fn default() -> Self {
        Self(certificate())
    }
}

impl Identity {
    /// A certificate with this many names in it, 60 bytes each: a handshake of several datagrams.
    ///
    /// # Panics
    ///
    /// If the crypto library cannot make one.
    #[must_use]
    pub fn with_names(count: usize) -> Self {
        let names: Vec<_> = (0..count)
            .map(|n| format!("host-{n:03}.a-name-that-takes-its-place-in-a-test.example.com"))
            .collect();
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let params = rcgen::CertificateParams::new(names).expect("names that are names");
        let certificate = params.self_signed(&key).expect("a signature");
        Self(DtlsCert {
            certificate: certificate.der().to_vec(),
            private_key: key.serialize_der(),
        })
    }

    /// How long the certificate is, in bytes.
    #[must_use]
    pub fn certificate_len(&self) -> usize {
        self.0.certificate.len()
    }
}

/// As little as possible: no extensions, no statistics, short histories, and no word of streams
/// that pause, which str0m would look for in no fixed order and be woken for.
fn config(options: &Options) -> RtcConfig {
    let mut config = RtcConfig::new()
        .set_rtp_mode(true)
        .set_crypto_provider(crypto::provider())
        .set_dtls_cert(certificate())
        .set_stats_interval(None)
        .set_pause_threshold(Duration::from_secs(86_400))
        .set_rtcp_report_interval_audio(Duration::from_secs(1))
        .set_send_buffer_audio(options.send_buffer)
        .set_send_buffer_video(options.send_buffer)
        .enable_raw_packets(options.observe)
        .clear_extension_map()
        .clear_codecs();
    for codec in &options.codecs {
        config = match codec {
            Codec::Opus => config.enable_opus(true, false),
            Codec::PCMU => config.enable_pcmu(true, false),
            Codec::PCMA => config.enable_pcma(true, false),
            Codec::G722 => config.enable_g722(true, false),
            Codec::H264 => config.enable_h264(true),
            Codec::H265 => config.enable_h265(true),
            Codec::Vp8 => config.enable_vp8(true),
            Codec::Vp9 => config.enable_vp9(true),
            Codec::Av1 => config.enable_av1(true),
            other => panic!("{other} is nothing to offer"),
        };
    }
    if options.repair != Repair::Rtx {
        let codecs = config.codec_config();
        let nack = options.repair == Repair::Again;
        let params = codecs.params().iter().map(|p| without_rtx(p, nack));
        *codecs = CodecConfig::new_from_payload_params(params.collect());
    }
    config
}

fn without_rtx(params: &PayloadParams, nack: bool) -> PayloadParams {
    let mut without = PayloadParams::new(params.pt(), None, params.spec());
    without.set_fb_nack(nack);
    without.set_fb_pli(params.fb_pli());
    without.set_fb_fir(params.fb_fir());
    without.set_fb_remb(params.fb_remb());
    without.set_fb_transport_cc(params.fb_transport_cc());
    without
}

/// One certificate for all clients of a process: making it costs more than a handshake's
/// signature.
fn certificate() -> DtlsCert {
    static CERTIFICATE: OnceLock<DtlsCert> = OnceLock::new();
    let make = || {
        crypto::provider()
            .dtls_provider
            .generate_certificate()
            .expect("the provider makes certificates")
    };
    CERTIFICATE.get_or_init(make).clone()
}
