//! A WHEP viewer that costs next to nothing: thousands of them fit into one process.
//!
//! It does what keeps a server at work, and no more: ICE by binding requests, the DTLS handshake
//! (dimpl's, which is dropped when it is done), receiver reports, and NACKs for what it misses.
//! Media is not opened: RTP headers are in the clear, and tell what is missing. Only repairs and
//! reports are, to see which packets they are about. Nothing is allocated per packet.
//!
//! It is driven like the server: it is fed time and datagrams, and is asked for what to send. It
//! takes the server's certificate for what it is, and reports no jitter, for it measures none.
//!
//! Its random numbers are fastrand's of the thread: seed that with [`fastrand::seed`] for the same
//! viewers in every run. The key exchange stays random.

mod counter;
pub mod crowd;
mod handshake;
mod ice;
mod rtcp;
mod sdp;
mod source;
mod srtp;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dimpl::DtlsCertificate;
use dimpl::crypto::NamedGroup;
use str0m::config::CryptoProvider;
use str0m::format::Codec;
use str0m::media::{KeyframeRequestKind, MediaKind};

use self::handshake::{Handshake, Step};
use self::ice::{CONSENT, Ice};
use self::rtcp::{Compound, Said};
use self::sdp::Format;
use self::source::Source;
use self::srtp::Keys;

pub use self::source::{IN_TIME, Reception};
pub use self::srtp::PACKET_LEN_MAX;

/// The buffer that [`Viewer::poll_transmit`] needs: whatever certificate a server shows fits.
pub const BUFFER_LEN: usize = 64 * 1024;

/// How often it reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The content type of a DTLS alert (RFC 5246 §6.2.1).
const ALERT: u8 = 21;

/// See the module.
#[derive(Debug)]
pub struct Viewer {
    phase: Phase,
    /// The SSRC that it reports by.
    ssrc: u32,
    /// Of video, then of audio.
    sources: [Option<Source>; 2],
    /// The same.
    formats: [Option<Format>; 2],
    is_dtls_client: bool,
    keyframe: Option<(Instant, KeyframeRequestKind)>,
    full_intra_requests: u8,
}

/// A packet that was opened.
#[derive(Debug, Clone, Copy)]
pub struct Opened<'a> {
    /// Whose it is.
    pub kind: MediaKind,
    /// Of the packet, or of the one that it brings again.
    pub payload: &'a [u8],
    /// It brings again what was lost, by RTX.
    pub is_repair: bool,
}

#[derive(Debug)]
enum Phase {
    /// Its offer has no answer.
    Offering,
    /// No binding request has been answered.
    Checking(Ice),
    Shaking(Ice, Box<Handshake>),
    Playing(Playing),
    Ended(String),
}

#[derive(Debug)]
struct Playing {
    ice: Ice,
    keys: Box<Keys>,
    next_report: Instant,
}

/// What all viewers of a process have in common: a certificate and a configuration of dimpl take
/// longer to make than a handshake.
struct Shared {
    dtls: Arc<dimpl::Config>,
    certificate: DtlsCertificate,
    fingerprint: String,
    crypto: CryptoProvider,
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let certificate = dimpl::certificate::generate_self_signed_certificate();
        let certificate = certificate.expect("the crypto library makes certificates");
        let dtls = dimpl::Config::builder()
            .mtu(1200)
            .flight_start_rto(Duration::from_millis(250))
            .kx_groups(&[NamedGroup::X25519, NamedGroup::Secp256r1])
            .build();
        let digits = certificate.fingerprint();
        let digits: Vec<_> = digits.iter().map(|byte| format!("{byte:02X}")).collect();
        Shared {
            dtls: Arc::new(dtls.expect("the crypto library passes its tests")),
            certificate,
            fingerprint: digits.join(":"),
            crypto: str0m::crypto::from_feature_flags(),
        }
    })
}

impl Default for Viewer {
    /// A viewer that has said nothing yet.
    fn default() -> Self {
        Self {
            phase: Phase::Offering,
            ssrc: fastrand::u32(1..),
            sources: [None, None],
            formats: [None, None],
            is_dtls_client: true,
            keyframe: None,
            full_intra_requests: 0,
        }
    }
}

impl Viewer {
    /// The SDP offer to POST: VP8 with repairs by RTX, Opus with repairs by NACK alone.
    #[must_use]
    pub fn offer(&self) -> String {
        sdp::offer(&shared().fingerprint, &[Codec::Vp8], None)
    }

    /// The same with these codecs of video, of VP8, H264, VP9 and AV1, and with the address at which
    /// the viewer receives, for servers that want to ask it.
    #[must_use]
    pub fn offer_at(&self, address: SocketAddr, codecs: &[Codec]) -> String {
        sdp::offer(&shared().fingerprint, codecs, Some(address))
    }

    /// Takes the answer to the offer, and begins.
    ///
    /// # Errors
    /// What the answer lacks.
    pub fn accept_answer(&mut self, now: Instant, answer: &str) -> Result<(), String> {
        self.accept_answer_near(now, answer, None)
    }

    /// The same, and of several candidates the one at this address is tried first.
    ///
    /// # Errors
    /// What the answer lacks.
    pub fn accept_answer_near(
        &mut self,
        now: Instant,
        answer: &str,
        near: Option<IpAddr>,
    ) -> Result<(), String> {
        let answer = sdp::Answer::parse(now, answer, near)?;
        self.sources = answer.sources;
        self.formats = answer.formats;
        self.is_dtls_client = !answer.is_server_active;
        self.phase = Phase::Checking(answer.ice);
        Ok(())
    }

    /// Where what was written last is to be sent, while there is a session. That does not change any
    /// more once one of the server's addresses has answered, unless the server asks from another one.
    #[must_use]
    pub fn server(&self) -> Option<SocketAddr> {
        self.ice().map(Ice::destination)
    }

    /// The addresses of the server, as far as they are known.
    pub fn servers(&self) -> impl Iterator<Item = SocketAddr> {
        self.ice().into_iter().flat_map(Ice::servers)
    }

    /// How far it has come, for whoever waits for it.
    #[must_use]
    pub fn state(&self) -> &'static str {
        match &self.phase {
            Phase::Offering => "it has no answer",
            Phase::Checking(_) => "no binding request was answered",
            Phase::Shaking(..) => "the DTLS handshake is not done",
            Phase::Playing(_) => "it is connected",
            Phase::Ended(_) => "the session is over",
        }
    }

    /// The codec of a track, by the answer.
    #[must_use]
    pub fn codec(&self, kind: MediaKind) -> Option<Codec> {
        self.formats[place(kind)].map(|format| format.codec)
    }

    /// The round-trip time, by the last binding request that was answered.
    #[must_use]
    pub fn rtt(&self) -> Option<Duration> {
        self.ice().and_then(Ice::rtt)
    }

    fn ice(&self) -> Option<&Ice> {
        match &self.phase {
            Phase::Offering | Phase::Ended(_) => None,
            Phase::Checking(ice) | Phase::Shaking(ice, _) => Some(ice),
            Phase::Playing(playing) => Some(&playing.ice),
        }
    }

    fn ice_mut(&mut self) -> Option<&mut Ice> {
        match &mut self.phase {
            Phase::Offering | Phase::Ended(_) => None,
            Phase::Checking(ice) | Phase::Shaking(ice, _) => Some(ice),
            Phase::Playing(playing) => Some(&mut playing.ice),
        }
    }

    /// ICE and DTLS are done, and the session is not over.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Playing(_))
    }

    /// How long the SRTP keys are that both sides agreed on, in bytes, while it is connected.
    #[must_use]
    pub fn key_len(&self) -> Option<usize> {
        match &self.phase {
            Phase::Playing(playing) => Some(playing.keys.len),
            _ => None,
        }
    }

    /// Why the session is over, if it is.
    #[must_use]
    pub fn ended(&self) -> Option<&str> {
        match &self.phase {
            Phase::Ended(why) => Some(why),
            _ => None,
        }
    }

    /// How a track has arrived so far. Nothing, if there is no such track.
    #[must_use]
    pub fn reception(&self, kind: MediaKind) -> Reception {
        let source = self.sources[place(kind)].as_ref();
        source.map(Source::reception).unwrap_or_default()
    }

    /// The sequence number of the newest packet of a track.
    #[must_use]
    pub fn newest(&self, kind: MediaKind) -> Option<u16> {
        self.sources[place(kind)].as_ref()?.newest()
    }

    /// Asks for a keyframe, as a decoder does that has lost its picture: by PLI (RFC 4585 §6.3.1)
    /// or FIR (RFC 5104 §4.3.1). It leaves with the next [`poll_transmit`](Self::poll_transmit).
    pub fn request_keyframe(&mut self, now: Instant, kind: KeyframeRequestKind) {
        self.keyframe = Some((now, kind));
    }

    /// Takes in a datagram from the server. What is not understood is passed over.
    pub fn handle_datagram(&mut self, now: Instant, contents: &[u8]) {
        if let Some(server) = self.server() {
            self.handle_datagram_from(now, server, contents);
        }
    }

    /// The same, of a server that has several addresses.
    pub fn handle_datagram_from(&mut self, now: Instant, from: SocketAddr, contents: &[u8]) {
        match contents {
            [0..=3, ..] => self.handle_stun(now, from, contents),
            [20..=63, ..] => self.handle_dtls(now, contents),
            [128..=191, 192..=223, ..] => self.handle_rtcp(now, contents),
            [128..=191, ..] => self.handle_rtp(now, contents),
            _ => {}
        }
    }

    /// Opens a packet of one of the tracks, or the repair of one, before it is handled. `None`: it is
    /// something else, or not genuine. Nothing is changed: for a sample of what comes.
    #[must_use]
    pub fn open<'a>(
        &self,
        contents: &[u8],
        room: &'a mut [u8; PACKET_LEN_MAX],
    ) -> Option<Opened<'a>> {
        let [_, _, high, low, _, _, _, _, ssrc @ ..] = contents.first_chunk::<12>()?;
        let sequence = u16::from_be_bytes([*high, *low]);
        let ssrc = u32::from_be_bytes(*ssrc);
        let Phase::Playing(playing) = &self.phase else {
            return None;
        };
        let kinds = [MediaKind::Video, MediaKind::Audio];
        let mut tracks = kinds.into_iter().zip(&self.sources);
        let (kind, source) = tracks.find_map(|(kind, source)| {
            let source = source.as_ref().filter(|source| source.is(ssrc))?;
            Some((kind, source))
        })?;
        let is_repair = source.ssrc() != ssrc;
        let index = match is_repair {
            true => source.rtx_index(sequence),
            false => source.index(sequence),
        };
        let payload = playing.keys.open_rtp(ssrc, index, contents, room)?;
        Some(Opened {
            kind,
            // Behind the number of the packet that it brings (RFC 4588 §4).
            payload: payload.get(if is_repair { 2.. } else { 0.. })?,
            is_repair,
        })
    }

    /// When [`poll_transmit`](Self::poll_transmit) is to be called next, which changes with every
    /// other call. `None`: there will never be anything to send by itself.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Offering | Phase::Ended(_) => None,
            Phase::Checking(ice) => Some(ice.next()),
            Phase::Shaking(ice, handshake) => Some(ice.next().min(handshake.timeout())),
            Phase::Playing(playing) => {
                let asks = self.sources.iter().flatten().filter_map(Source::next_ask);
                let keyframe = self.keyframe.map(|(at, _)| at);
                let own = playing.ice.next().min(playing.next_report);
                Some(asks.chain(keyframe).fold(own, Instant::min))
            }
        }
    }

    /// Does what is due, and writes the next datagram to send to the server into `buffer`, of
    /// [`BUFFER_LEN`] bytes. To be called until it returns `None`.
    pub fn poll_transmit(&mut self, now: Instant, buffer: &mut [u8]) -> Option<usize> {
        if self.ice().is_some_and(|ice| ice.is_expired(now)) {
            self.phase = Phase::Ended(format!(
                "the server has answered no binding request for {} s",
                CONSENT.as_secs()
            ));
            return None;
        }
        let check = self.ice_mut().and_then(|ice| ice.write(now, buffer));
        if check.is_some() {
            return check;
        }
        if let Some(ice) = self.ice_mut() {
            ice.turn_to_found();
        }
        match &mut self.phase {
            Phase::Shaking(_, handshake) => match handshake.poll(now, buffer) {
                Ok(Step::Send(len)) => Some(len),
                Ok(Step::Wait) => None,
                Ok(Step::Done(keys)) => {
                    self.play(now, keys);
                    None
                }
                Err(why) => {
                    self.phase = Phase::Ended(why);
                    None
                }
            },
            Phase::Playing(_) => self.write_feedback(now, buffer),
            _ => None,
        }
    }

    /// Writes a NACK for one packet of a track, whether it is missing or not.
    pub fn write_nack(
        &mut self,
        kind: MediaKind,
        sequence: u16,
        buffer: &mut [u8],
    ) -> Option<usize> {
        let ssrc = self.sources[place(kind)].as_ref()?.ssrc();
        let mut compound = Compound::new(buffer, self.ssrc);
        compound.nack(ssrc, &[(sequence, 0)]);
        let len = compound.len();
        self.seal(len, buffer)
    }

    fn handle_stun(&mut self, now: Instant, from: SocketAddr, contents: &[u8]) {
        let is_answer = self
            .ice_mut()
            .is_some_and(|ice| ice.handle(now, from, contents));
        if !is_answer || !matches!(self.phase, Phase::Checking(_)) {
            return;
        }
        let phase = std::mem::replace(&mut self.phase, Phase::Offering);
        if let Phase::Checking(ice) = phase {
            self.phase = match Handshake::new(now, self.is_dtls_client) {
                Ok(handshake) => Phase::Shaking(ice, Box::new(handshake)),
                Err(why) => Phase::Ended(why),
            };
        }
    }

    fn handle_dtls(&mut self, now: Instant, contents: &[u8]) {
        match &mut self.phase {
            Phase::Shaking(_, handshake) => {
                if let Err(why) = handshake.handle(now, contents) {
                    self.phase = Phase::Ended(why);
                }
            }
            // What it says cannot be read any more. After a handshake it only says goodbye.
            Phase::Playing(_) if contents.first() == Some(&ALERT) => {
                self.phase = Phase::Ended("the server closed DTLS".to_owned());
            }
            _ => {}
        }
    }

    fn play(&mut self, now: Instant, keys: Box<Keys>) {
        let phase = std::mem::replace(&mut self.phase, Phase::Offering);
        if let Phase::Shaking(ice, _) = phase {
            // Thousands that begin at once do not report at once.
            let next_report = now + REPORT_INTERVAL.mul_f64(0.5 + fastrand::f64());
            self.phase = Phase::Playing(Playing {
                ice,
                keys,
                next_report,
            });
        }
    }

    fn handle_rtp(&mut self, now: Instant, contents: &[u8]) {
        let Some([_, second, high, low, _, _, _, _, ssrc @ ..]) = contents.first_chunk::<12>()
        else {
            return;
        };
        let sequence = u16::from_be_bytes([*high, *low]);
        let ssrc = u32::from_be_bytes(*ssrc);
        if self.sources.iter().flatten().all(|source| !source.is(ssrc)) {
            self.learn(ssrc, second & 0x7f);
        }
        for source in self.sources.iter_mut().flatten() {
            if source.ssrc() == ssrc {
                return source.on_packet(now, sequence);
            }
            if let Phase::Playing(playing) = &self.phase
                && source.rtx_ssrc() == Some(ssrc)
            {
                let index = source.rtx_index(sequence);
                if let Some(original) = playing.keys.open_repair(ssrc, index, contents) {
                    source.on_repair(now, index, original);
                }
                return;
            }
        }
    }

    /// A stream of which the answer told nothing, or something else, is known by its payload type.
    fn learn(&mut self, ssrc: u32, payload_type: u8) {
        for (source, format) in self.sources.iter_mut().zip(&self.formats) {
            let Some(format) = format else { continue };
            let is_silent = source
                .as_ref()
                .is_none_or(|source| source.newest().is_none());
            if format.payload_type == payload_type && is_silent {
                let rtx = source.as_ref().and_then(Source::rtx_ssrc);
                *source = Some(Source::new(ssrc, rtx));
            } else if let Some(source) = source.as_mut()
                && format.rtx == Some(payload_type)
            {
                source.learn_rtx_ssrc(ssrc);
            }
        }
    }

    fn handle_rtcp(&mut self, now: Instant, contents: &[u8]) {
        let Phase::Playing(playing) = &self.phase else {
            return;
        };
        let mut opened = [0; PACKET_LEN_MAX];
        let Some(compound) = playing.keys.open_rtcp(contents, &mut opened) else {
            return;
        };
        for said in rtcp::read(compound) {
            match said {
                Said::Report { ssrc, ntp } => {
                    let mut sources = self.sources.iter_mut().flatten();
                    if let Some(source) = sources.find(|source| source.ssrc() == ssrc) {
                        source.on_report(now, ntp);
                    }
                }
                Said::Goodbye => {
                    self.phase = Phase::Ended("the server said goodbye".to_owned());
                    return;
                }
            }
        }
    }

    /// What is due of RTCP, of reduced size (RFC 5506): a keyframe request, NACKs, a report.
    fn write_feedback(&mut self, now: Instant, buffer: &mut [u8]) -> Option<usize> {
        let rtt = self.rtt()?;
        let mut compound = Compound::new(buffer, self.ssrc);
        let video = self.sources[place(MediaKind::Video)].as_ref();
        if let Some(((_, kind), video)) = self.keyframe.take().zip(video) {
            match kind {
                KeyframeRequestKind::Pli => compound.picture_loss(video.ssrc()),
                KeyframeRequestKind::Fir => {
                    self.full_intra_requests = self.full_intra_requests.wrapping_add(1);
                    compound.full_intra_request(video.ssrc(), self.full_intra_requests);
                }
            }
        }
        for source in self.sources.iter_mut().flatten() {
            let asked = source.ask(now, rtt);
            if !asked.is_empty() {
                compound.nack(source.ssrc(), &asked);
            }
        }
        if let Phase::Playing(playing) = &mut self.phase
            && now >= playing.next_report
        {
            playing.next_report = now + REPORT_INTERVAL;
            let sources = self.sources.iter_mut().flatten();
            compound.receiver_report(sources.filter_map(|source| source.report(now)));
        }
        let len = compound.len();
        self.seal(len, buffer)
    }

    /// Seals the RTCP packet of this length, if there is any.
    fn seal(&mut self, len: usize, buffer: &mut [u8]) -> Option<usize> {
        match &mut self.phase {
            Phase::Playing(playing) if len > 0 => playing.keys.seal_rtcp(len, buffer),
            _ => None,
        }
    }
}

fn place(kind: MediaKind) -> usize {
    match kind {
        MediaKind::Video => 0,
        MediaKind::Audio => 1,
    }
}
