//! What can be set.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Settings of a [`Server`](crate::Server). Immutable once it is made.
#[derive(Debug, Clone)]
pub struct Config {
    /// The UDP sockets of the driver, by the addresses they are bound to: the index is the
    /// [`TransportId`](crate::ids::TransportId). An unspecified address (`0.0.0.0`, `[::]`) stands
    /// for the addresses that [`handle_interfaces`](crate::Server::handle_interfaces) tells.
    pub transports: Vec<SocketAddr>,
    /// Further addresses under which this machine can be reached: a public address in front of
    /// NAT, say. Offered as candidates with the port of each transport.
    pub additional_hosts: Vec<IpAddr>,
    /// STUN and TURN servers that clients are told of by `Link` headers.
    pub ice_servers: Vec<IceServer>,
    /// Web origins that may use the HTTP interface, `https://example.com` say; `*` is any.
    pub allow_origins: Vec<String>,
    /// Whether a second publisher on a path takes the place of the first. If not, it is refused
    /// with 409.
    pub override_publisher: bool,
    /// Sessions, publishers and viewers together, those of the program itself too. More are refused
    /// with 503.
    pub sessions_max: usize,
    /// Which SRTP ciphers a session may end up with.
    pub srtp: SrtpPolicy,
    /// How long ICE and DTLS may take.
    pub handshake_timeout: Duration,
    /// Period of RTCP reports (RFC 3550 §6.2). Shorter follows clock drift closer; longer saves
    /// one small datagram per viewer and period.
    pub report_interval: Duration,
    /// How long a path keeps its viewers after its publisher left.
    pub publisher_grace: Duration,
    /// Bounds of each track's history.
    pub history: HistoryLimits,
    /// How much each viewer is sent again of what it lost.
    pub repair: RepairLimits,
    /// How long a packet of video may wait for the rest of its frame, so that both leave as one train:
    /// at most this, and as long as the audience is worth it: 5 µs for each viewer, nothing below
    /// 100 viewers. Below half a millisecond nothing ever waits; at most a day.
    pub hold_max: Duration,
}

impl Config {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.transports.is_empty() {
            return Err(ConfigError::NoTransport);
        }
        if self.transports.len() > TRANSPORTS_MAX {
            return Err(ConfigError::TooManyTransports(self.transports.len()));
        }
        let not_zero = [
            ("sessions_max", self.sessions_max == 0),
            ("handshake_timeout", self.handshake_timeout.is_zero()),
            ("report_interval", self.report_interval.is_zero()),
            ("history.packets", self.history.packets == 0),
            ("history.bytes", self.history.bytes == 0),
            ("history.age", self.history.age.is_zero()),
        ];
        if let Some((what, _)) = not_zero.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(ConfigError::Zero(what));
        }
        let bounded = [
            ("sessions_max", self.sessions_max, SESSIONS_MAX),
            ("history.packets", self.history.packets, HISTORY_PACKETS_MAX),
        ];
        let bounded_time = [
            ("handshake_timeout", self.handshake_timeout),
            ("report_interval", self.report_interval),
            ("publisher_grace", self.publisher_grace),
            ("hold_max", self.hold_max),
            ("history.age", self.history.age),
        ];
        if let Some((what, _)) = bounded_time
            .into_iter()
            .find(|(_, time)| *time > DURATION_MAX)
        {
            return Err(ConfigError::TooLong(what));
        }
        match bounded.into_iter().find(|(_, value, max)| value > max) {
            Some((what, value, max)) => Err(ConfigError::TooLarge { what, value, max }),
            None => Ok(()),
        }
    }
}

/// Any time that can be set.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// UDP sockets of one server.
const TRANSPORTS_MAX: usize = 8;

/// Sessions of one server.
const SESSIONS_MAX: usize = 1 << 24;

/// Packets of a history. A larger window could not tell a late packet from one of the next
/// roll-over of the 16-bit sequence number.
const HISTORY_PACKETS_MAX: usize = 1 << 15;

/// Which SRTP protection profiles (RFC 5764 §4.1.2) are good enough, for publishers and viewers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SrtpPolicy {
    /// AES-GCM (RFC 7714) with whoever has it, AES128_CM_HMAC_SHA1_80 (RFC 3711) with whoever has
    /// nothing better.
    #[default]
    PreferAead,
    /// AES-GCM only. Sessions that come to another profile end with
    /// [`EndReason::NoAead`](crate::stats::EndReason::NoAead).
    AeadOnly,
}

/// A STUN or TURN server for clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:stun.example.com:3478`, `turn:turn.example.com:3478?transport=tcp` (RFC 7064, 7065).
    pub url: String,
    /// TURN user name.
    pub username: Option<String>,
    /// TURN password.
    pub credential: Option<String>,
}

/// How much of a track is kept. Whichever bound is met first ends it. A keyframe has to fit as a
/// whole, or nobody can begin to watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimits {
    /// Packets. Rounded up to a power of two.
    pub packets: usize,
    /// Payload bytes.
    pub bytes: usize,
    /// Age.
    pub age: Duration,
}

/// What may be sent again to one viewer (RFC 4585 NACK, RFC 4588 RTX), in bytes of UDP payload.
///
/// More repairs a way that loses much, and can fill one that loses because it is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairLimits {
    /// For every hundred bytes of media that it is sent.
    pub percent: u32,
    /// At once: what was not needed before is saved up to this. A keyframe that is lost as a whole
    /// has to fit.
    pub burst: u32,
}

impl Default for RepairLimits {
    /// Half as much as the media, 256 KiB at once.
    fn default() -> Self {
        Self {
            percent: 50,
            burst: 256 << 10,
        }
    }
}

impl HistoryLimits {
    /// How many sequence numbers back a packet is told from a duplicate.
    pub(crate) fn window(&self) -> usize {
        self.packets.max(1).next_power_of_two()
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            transports: Vec::new(),
            additional_hosts: Vec::new(),
            ice_servers: Vec::new(),
            allow_origins: vec!["*".to_owned()],
            override_publisher: true,
            sessions_max: 20_000,
            srtp: SrtpPolicy::PreferAead,
            handshake_timeout: Duration::from_secs(10),
            report_interval: Duration::from_secs(1),
            publisher_grace: Duration::from_secs(30),
            history: HistoryLimits::default(),
            repair: RepairLimits::default(),
            hold_max: Duration::from_millis(2),
        }
    }
}

/// The highest bitrate of which a history can hold a second, in Mbit/s.
pub const HISTORY_MBPS_MAX: u32 = 160;

impl HistoryLimits {
    /// Holds a second of a track of this bitrate, with some to spare: in packets of 610 bytes on
    /// average or more. Above [`HISTORY_MBPS_MAX`] a server does not take it.
    #[must_use]
    pub fn for_mbps(mbps: u32) -> Self {
        let mbps = usize::try_from(mbps).unwrap_or(usize::MAX);
        Self {
            packets: (mbps.saturating_mul(4096) / 20).max(1),
            bytes: (mbps.saturating_mul(4 << 20) / 20).max(1),
            age: Duration::from_secs(2),
        }
    }
}

impl Default for HistoryLimits {
    /// A second of 20 Mbit/s.
    fn default() -> Self {
        Self::for_mbps(20)
    }
}

/// A setting that cannot work. The server was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No UDP socket.
    #[error("no UDP address to listen on: set at least one transport")]
    NoTransport,
    /// More sockets than the core tells apart.
    #[error("{0} UDP sockets, at most 8 are possible: listen on fewer addresses")]
    TooManyTransports(usize),
    /// A number that must not be zero.
    #[error("{0} must not be zero")]
    Zero(&'static str),
    /// A time above a day.
    #[error("{0} is longer than a day: set it in seconds")]
    TooLong(&'static str),
    /// An upper bound was exceeded.
    #[error("{what} is {value}, at most {max} is possible")]
    TooLarge {
        /// Which setting.
        what: &'static str,
        /// What it was set to.
        value: usize,
        /// What it can be.
        max: usize,
    },
    /// The crypto library failed its self-tests.
    #[error("the crypto library does not work on this machine: {0}")]
    Crypto(String),
    /// The certificate could not be made.
    #[error("the DTLS certificate could not be made: {0}")]
    Certificate(String),
}
