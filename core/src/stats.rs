//! What a server can tell of itself.

/// A snapshot of a [`Server`](crate::Server)'s state, made when asked for.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The paths that have a publisher or viewers.
    pub paths: Vec<PathStats>,
    /// Sessions that exist, of both kinds, connected or not.
    pub sessions: usize,
    /// Totals since the server was made.
    pub counters: Counters,
}

/// One path.
#[derive(Debug, Clone, Default)]
pub struct PathStats {
    /// Its name, without slashes at the ends.
    pub name: String,
    /// It has a connected publisher.
    pub live: bool,
    /// Names of the codecs of its tracks, `H264` say, video first.
    pub codecs: Vec<String>,
    /// Connected viewers.
    pub viewers: usize,
}

/// Totals. Every datagram that comes in is either used or counted under one drop reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Datagrams passed in.
    pub datagrams: u64,
    /// RTP packets of publishers written into histories.
    pub packets_in: u64,
    /// RTP packets sealed for viewers.
    pub packets_out: u64,
    /// Transmits handed to the driver.
    pub transmits: u64,
    /// Dropped: neither STUN nor DTLS nor RTP by its first byte (RFC 7983).
    pub dropped_unknown: u64,
    /// Dropped: STUN that does not parse, names no session, or fails its integrity check.
    pub dropped_stun: u64,
    /// Dropped: from an address that no session has.
    pub dropped_no_session: u64,
    /// Dropped: RTP or RTCP that does not parse, decrypt or belong.
    pub dropped_media: u64,
    /// Sessions retired because they did not finish ICE and DTLS in time.
    pub handshake_timeouts: u64,
    /// Sessions retired because their binding requests ceased.
    pub gone: u64,
    /// HTTP requests refused with a status of 400 or above.
    pub refused: u64,
}
