//! What a server can tell of itself.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

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
    /// The codecs of its tracks with their profiles, as
    /// `H264 (profile-level-id 42e01f, packetization-mode 1)`; video first.
    pub codecs: Vec<String>,
    /// Connected viewers. What the program itself watches counts as well.
    pub viewers: usize,
}

/// One session, connected or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionStats {
    /// Its public id, a UUID. [`close`](crate::Server::close) ends it.
    pub session: String,
    /// The name of its path.
    pub path: String,
    /// What it is for.
    pub role: SessionRole,
    /// It is the program itself: it came by [`publish`](crate::Server::publish) or
    /// [`watch`](crate::Server::watch), and not by WHIP or WHEP.
    pub in_process: bool,
    /// ICE and DTLS are done, or not needed.
    pub connected: bool,
    /// Where its peer is: the remote address of the route that it nominated. `None`: it has nominated
    /// none yet, or is the program itself.
    pub remote: Option<SocketAddr>,
    /// When it was made.
    pub since: Instant,
}

/// What a session is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionRole {
    /// Media comes in.
    Publisher,
    /// Media goes out.
    Viewer,
}

/// One connected viewer, as it says itself in its receiver reports (RFC 3550 §6.4).
#[derive(Debug, Clone, Default)]
pub struct ViewerStats {
    /// The name of the path that it watches.
    pub path: String,
    /// The session's public id.
    pub session: String,
    /// The round-trip time, smoothed; `None` until the viewer has reported on a report of ours.
    pub rtt: Option<Duration>,
    /// How video arrives; `None` until the viewer has said so.
    pub video: Option<Reception>,
    /// How audio arrives.
    pub audio: Option<Reception>,
}

/// How one stream arrives at a viewer, by its last report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reception {
    /// The share of packets that was lost since the report before, 0 to 1.
    pub fraction_lost: f32,
    /// Packets lost since the beginning. Below zero where duplicates outnumber losses: some
    /// receivers count repairs.
    pub packets_lost: i32,
    /// How much the time under way varies (RFC 3550 §6.4.1).
    pub jitter: Duration,
}

/// Totals. Every datagram that comes in is either used or counted under one drop reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Datagrams passed in.
    pub datagrams: u64,
    /// RTP packets of publishers, the program itself too, written into histories.
    pub packets_in: u64,
    /// RTP packets sealed for viewers.
    pub packets_out: u64,
    /// RTP packets given to the program itself by
    /// [`poll_packet`](crate::Server::poll_packet).
    pub packets_watched: u64,
    /// Transmits handed to the driver.
    pub transmits: u64,
    /// Dropped: neither STUN nor DTLS nor RTP by its first byte (RFC 7983).
    pub dropped_unknown: u64,
    /// Dropped: STUN that does not parse, names no session, or fails its integrity check.
    pub dropped_stun: u64,
    /// Dropped: from an address that no session has.
    pub dropped_no_session: u64,
    /// Dropped: RTP or RTCP that does not parse, decrypt or belong, and DTLS above 2,048 bytes, and a publisher's RTP that
    /// brings nothing: padding, or a repair that came twice. A publisher's RTCP is not counted
    /// here: str0m does not tell what it made of it.
    pub dropped_media: u64,
    /// Dropped: RTP of a publisher that came twice, too late, or too long to be forwarded.
    pub dropped_unrecorded: u64,
    /// Dropped: a publisher's video before its first keyframe.
    pub awaited_keyframe: u64,
    /// Dropped: answers of ICE and DTLS that found the queue to the socket full.
    pub dropped_answers: u64,
    /// Packets above the segment size, sent alone.
    pub oversized: u64,
    /// Times a viewer fell behind the history and went on at a keyframe.
    pub fell_off: u64,
    /// Packets that viewers asked for again (RFC 4585 §6.2.1). Those that are not sent are counted
    /// by the reason, in the next four; but for those for which a viewer waited when it left.
    pub nacked: u64,
    /// Not sent again: never arrived from the publisher, gone from the history, before the
    /// viewer's first keyframe, or still to come to it.
    pub nacked_unknown: u64,
    /// Not sent again: is about to be, or was, less than a round trip before.
    pub nacked_repeated: u64,
    /// Not sent again: more than [`RepairLimits`](crate::config::RepairLimits) allow.
    pub nacked_over_budget: u64,
    /// Not sent again: more than is remembered at once.
    pub nacked_overflowed: u64,
    /// Packets sent again.
    pub repairs: u64,
    /// Bytes of these.
    pub repair_bytes: u64,
    /// Keyframe requests sent to publishers.
    pub keyframe_requests: u64,
    /// Missing packets that publishers were asked for (RFC 4585 §6.2.1), each as often as it was.
    pub publisher_nacked: u64,
    /// Packets that came after their publisher was asked for them.
    pub publisher_repaired: u64,
    /// Missing packets that publishers are asked for no more, or never were since too many were
    /// missing at once. One that comes nevertheless is forwarded.
    pub publisher_given_up: u64,
    /// Sessions retired because they did not finish ICE and DTLS in time.
    pub handshake_timeouts: u64,
    /// Sessions retired because their binding requests ceased.
    pub gone: u64,
    /// HTTP requests refused with a status of 400 or above.
    pub refused: u64,
}

impl Counters {
    /// Every counter with its name, in the order of their declaration.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        // Taken apart without a rest, so that none is forgotten.
        let &Self {
            datagrams,
            packets_in,
            packets_out,
            packets_watched,
            transmits,
            dropped_unknown,
            dropped_stun,
            dropped_no_session,
            dropped_media,
            dropped_unrecorded,
            awaited_keyframe,
            dropped_answers,
            oversized,
            fell_off,
            nacked,
            nacked_unknown,
            nacked_repeated,
            nacked_over_budget,
            nacked_overflowed,
            repairs,
            repair_bytes,
            keyframe_requests,
            publisher_nacked,
            publisher_repaired,
            publisher_given_up,
            handshake_timeouts,
            gone,
            refused,
        } = self;
        [
            ("datagrams", datagrams),
            ("packets_in", packets_in),
            ("packets_out", packets_out),
            ("packets_watched", packets_watched),
            ("transmits", transmits),
            ("dropped_unknown", dropped_unknown),
            ("dropped_stun", dropped_stun),
            ("dropped_no_session", dropped_no_session),
            ("dropped_media", dropped_media),
            ("dropped_unrecorded", dropped_unrecorded),
            ("awaited_keyframe", awaited_keyframe),
            ("dropped_answers", dropped_answers),
            ("oversized", oversized),
            ("fell_off", fell_off),
            ("nacked", nacked),
            ("nacked_unknown", nacked_unknown),
            ("nacked_repeated", nacked_repeated),
            ("nacked_over_budget", nacked_over_budget),
            ("nacked_overflowed", nacked_overflowed),
            ("repairs", repairs),
            ("repair_bytes", repair_bytes),
            ("keyframe_requests", keyframe_requests),
            ("publisher_nacked", publisher_nacked),
            ("publisher_repaired", publisher_repaired),
            ("publisher_given_up", publisher_given_up),
            ("handshake_timeouts", handshake_timeouts),
            ("gone", gone),
            ("refused", refused),
        ]
        .into_iter()
    }

    /// RTP packets of publishers that were decrypted, whatever became of them.
    pub(crate) fn packets(&self) -> u64 {
        self.packets_in + self.awaited_keyframe + self.dropped_unrecorded
    }
}

impl fmt::Display for Counters {
    /// As `datagrams=5 packets_in=0 …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (name, value)) in self.fields().enumerate() {
            write!(f, "{}{name}={value}", if n == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// A handshake that was not done in time: what its peer was offered, and how far it came. As a
/// sentence it says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// The candidates of the answer: where the peer was told to send to.
    pub offered: Vec<SocketAddr>,
    /// How far it came.
    pub reached: Reached,
}

/// How far a handshake came that was not done in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reached {
    /// No ICE binding request of the session arrived.
    Nothing,
    /// Binding requests arrived, none of which was made with the session's password.
    Unproven {
        /// The last one's source.
        from: SocketAddr,
    },
    /// Valid binding requests arrived, none of which nominated its pair (RFC 8445 §8.1.1).
    Checks {
        /// The last one's source.
        from: SocketAddr,
    },
    /// ICE was done, and no DTLS arrived.
    Ice {
        /// The last binding request's source.
        from: SocketAddr,
    },
    /// DTLS began, and was not finished.
    Dtls {
        /// The last binding request's source.
        from: SocketAddr,
        /// How many DTLS datagrams arrived.
        datagrams: u32,
    },
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reached {
            Reached::Nothing => {
                write!(
                    f,
                    "ICE failed: nothing arrived by UDP. The peer was offered "
                )?;
                for (i, address) in self.offered.iter().enumerate() {
                    write!(f, "{}{address}", if i == 0 { "" } else { ", " })?;
                }
                f.write_str(
                    ": let UDP in to that port (firewall, container, router), and if clients reach \
                     this machine by another address, name that with --additional-hosts",
                )
            }
            Reached::Unproven { from } => write!(
                f,
                "ICE failed: binding requests arrived from {from}, but were not made with the \
                 password of this session's answer: let the peer use the answer to its own offer, \
                 unchanged"
            ),
            Reached::Checks { from } => write!(
                f,
                "ICE failed: binding requests arrived from {from} and were answered, but the peer \
                 nominated no pair: let UDP out from this server to the peer (firewall, routing)"
            ),
            Reached::Ice { from } => write!(
                f,
                "ICE is done with {from}, but no DTLS came from there: the peer stopped, or its \
                 larger datagrams are lost on the way (check the MTU)"
            ),
            Reached::Dtls { from, datagrams } => write!(
                f,
                "ICE is done with {from}, but DTLS was not finished after {datagrams} datagrams \
                 from there: the peer stopped, or larger datagrams are lost on the way (check the \
                 MTU)"
            ),
        }
    }
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndReason {
    /// ICE and DTLS were not done in time.
    #[error("{0}")]
    Handshake(Unfinished),
    /// The client gave up (by DELETE) before ICE and DTLS were done, after so long that they should
    /// have been.
    #[error("the client gave up: {0}")]
    GaveUp(Unfinished),
    /// No valid binding request came for 15 s, and nothing under the peer's keys.
    #[error("the peer fell silent: no ICE binding request, no media and no report for 15 s")]
    Gone,
    /// The peer said goodbye, by DTLS or RTCP; the program itself, by
    /// [`unpublish`](crate::Server::unpublish) or [`unwatch`](crate::Server::unwatch).
    #[error("closed by the peer")]
    PeerClosed,
    /// The peer deleted its resource.
    #[error("ended by DELETE")]
    Deleted,
    /// The client went away before it had the response to its request.
    #[error("the client went away before it had its answer")]
    Cancelled,
    /// Another publisher took over.
    #[error("another publisher took over the path")]
    Replaced,
    /// Somebody else publishes on the path, and may not be replaced.
    #[error("somebody else publishes on the path, and replacing is not allowed")]
    Conflict,
    /// Nobody publishes any more.
    #[error("the path ended: its publisher left and did not come back")]
    PathEnded,
    /// What is published can no longer be played in this session.
    #[error("the path's codecs changed: a new session can play them")]
    CodecChanged,
    /// Whoever runs the server closed it, by [`close`](crate::Server::close).
    #[error("closed by the operator")]
    Closed,
    /// The server stops.
    #[error("the server is shutting down")]
    ShutDown,
    /// The peer's certificate is not the one its offer announced.
    #[error("the peer's certificate does not match the fingerprint in its offer")]
    Fingerprint,
    /// The peer has no SRTP cipher that is good enough for
    /// [`SrtpPolicy::AeadOnly`](crate::config::SrtpPolicy::AeadOnly).
    #[error(
        "the peer has no AEAD cipher for SRTP, only {0}, which this server is set not to take: use \
         a peer with AES-GCM, or run without --srtp aead-only"
    )]
    NoAead(String),
    /// The peer has no SRTP cipher that is known here.
    #[error(
        "the peer and this server have no SRTP cipher in common: it needs AEAD_AES_256_GCM, \
         AEAD_AES_128_GCM or AES128_CM_HMAC_SHA1_80"
    )]
    NoSrtp,
    /// The handshake or the connection failed.
    #[error("the handshake or the connection failed: {0}")]
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_told_by_its_name() {
        let counters = Counters {
            datagrams: 5,
            refused: 7,
            ..Counters::default()
        };
        let told = counters.to_string();
        assert!(told.starts_with("datagrams=5 packets_in=0 "), "{told}");
        assert!(told.contains(" gone=0 refused=7"), "{told}");
        // What is derived names all fields, each once.
        let names = format!("{counters:?}").matches(": ").count();
        assert_eq!(told.matches('=').count(), names);
    }
}
