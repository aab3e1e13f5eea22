//! The one who knows everyone: sessions, paths, and who is to be told what.
//!
//! This file is the face: what a driver calls. How requests become sessions is in `admission`, how
//! datagrams find theirs in `arrivals`, how they change their addresses in `restarts`, how sessions
//! take their places and leave them in `comings` and `goings`, how packets go out in `fanout`, what
//! is said of refusals in `refusals`, and what time brings in `upkeep`. What the program itself
//! publishes and watches is in `sources` and `watchers` (in common: `program`), what it can see of all
//! in `overview`. How keyframes are asked for is in `keyframes`.

mod admission;
mod arrivals;
mod candidates;
mod comings;
mod endings;
mod fanout;
mod goings;
mod handshake;
mod keyframes;
mod outbox;
mod overview;
mod paths;
mod program;
mod refusals;
mod restarts;
mod seats;
mod sessions;
mod sources;
#[cfg(test)]
mod tests;
mod upkeep;
mod watchers;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::config::{Config, ConfigError};
use crate::control::Shared;
use crate::dtls;
use crate::ids::{PathId, RequestId, SessionId, SourceId, TransportId};
use crate::net::{Datagram, Interface, Transmit};
use crate::seeded::{Seeded, SeededMap};
use crate::server::candidates::Candidates;
use crate::server::endings::Endings;
use crate::server::outbox::Outbox;
use crate::server::paths::Paths;
use crate::server::refusals::RefusalLog;
use crate::server::sessions::Sessions;
use crate::signal::{Request, Response};
use crate::stats::{Counters, EndReason};
use crate::time::{Deadline, Deadlines, Reason, WallClock};

pub use program::Ended;
pub use sources::{PublishError, SourceError};
pub use watchers::{WatchError, WatchedTrack};

/// Events that are kept for a driver that does not ask. The oldest are lost first.
const EVENTS_MAX: usize = 1024;

/// A WHIP and WHEP server without its sockets. See the crate's first page for how it is driven.
#[derive(Debug)]
pub struct Server {
    config: Config,
    clock: WallClock,
    rng: Seeded,
    shared: Arc<Shared>,
    /// SHA-256 of our certificate.
    fingerprint: Vec<u8>,
    sessions: Sessions,
    paths: Paths,
    /// Which session a datagram belongs to that does not say it itself.
    addresses: SeededMap<(TransportId, SocketAddr), SessionId>,
    deadlines: Deadlines,
    /// What is to be sent, by transport.
    outboxes: Vec<Outbox>,
    /// Paths on which something has come that the program itself watches.
    watched: VecDeque<PathId>,
    responses: VecDeque<(RequestId, Response)>,
    /// The session that an undelivered response tells of.
    undelivered: VecDeque<(RequestId, SessionId)>,
    events: VecDeque<Event>,
    endings: Endings,
    candidates: Candidates,
    counters: Counters,
    refusal_log: RefusalLog,
    /// Since when no new sessions are made, and those there are end.
    shutting_down: Option<Instant>,
    scratch: Vec<u8>,
}

/// A coming or going that the driver may want to tell others of, or a wish to the program.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A publisher finished its handshake and took over its path.
    PublisherJoined {
        /// The path's name.
        path: String,
        /// The session's public id, a UUID.
        session: String,
    },
    /// A publisher's session ended.
    PublisherLeft {
        /// The path's name.
        path: String,
        /// The session's public id.
        session: String,
        /// Why.
        reason: EndReason,
    },
    /// A viewer finished its handshake.
    ViewerJoined {
        /// The path's name.
        path: String,
        /// The session's public id.
        session: String,
    },
    /// A viewer's session ended.
    ViewerLeft {
        /// The path's name.
        path: String,
        /// The session's public id.
        session: String,
        /// Why.
        reason: EndReason,
    },
    /// Somebody watches what the program itself publishes, and needs a keyframe: it is to make one.
    /// The requests of all viewers are merged: the first is told at once, the next 500 ms after it at
    /// the earliest.
    KeyframeWanted {
        /// The path's name.
        path: String,
        /// Which publication.
        source: SourceId,
    },
    /// A session ended before its handshake was done.
    HandshakeFailed {
        /// The path's name.
        path: String,
        /// The session's public id.
        session: String,
        /// Why.
        reason: EndReason,
    },
}

impl Server {
    /// A server with everything still to come. `seed` is where its randomness comes from: the
    /// operating system's in production, a number in tests. `unix_time` is the wall clock at
    /// `now`; it is not asked for again. What does not follow from the seed: the DTLS certificate,
    /// made anew by the crypto library each time; what DTLS draws; and the few numbers that str0m
    /// draws for a publisher (its own SSRCs), which come from `fastrand`'s generator of the thread.
    ///
    /// # Errors
    /// A [`ConfigError`] names the setting that cannot work.
    pub fn new(
        mut config: Config,
        seed: [u8; 32],
        now: Instant,
        unix_time: SystemTime,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        for transport in &mut config.transports {
            *transport = crate::net::canonical(*transport);
        }
        let certificate = dimpl::certificate::generate_self_signed_certificate()
            .map_err(|e| ConfigError::Certificate(e.to_string()))?;
        let dtls = dtls::config().map_err(ConfigError::Crypto)?;
        let mut rng = Seeded::new(seed);
        let mut outboxes = Vec::new();
        outboxes.resize_with(config.transports.len(), Outbox::default);
        Ok(Self {
            clock: WallClock::new(now, unix_time),
            fingerprint: certificate.fingerprint(),
            shared: Arc::new(Shared {
                dtls,
                certificate,
                crypto: Arc::new(dtls::crypto_provider()),
                srtp: config.srtp,
            }),
            sessions: Sessions::default(),
            paths: Paths::default(),
            addresses: rng.map(),
            deadlines: Deadlines::default(),
            outboxes,
            watched: VecDeque::new(),
            responses: VecDeque::new(),
            undelivered: VecDeque::new(),
            events: VecDeque::new(),
            endings: Endings::default(),
            candidates: Candidates::new(&config, &[]),
            counters: Counters::default(),
            refusal_log: RefusalLog::default(),
            shutting_down: None,
            scratch: vec![0; dtls::OUTPUT_LEN],
            config,
            rng,
        })
    }

    /// Takes in one datagram. Never fails: what cannot be used is counted.
    ///
    /// Bounded work: one session is looked up and given the datagram; a publisher's packet alerts
    /// the audiences of its path, which does not depend on how many viewers they have.
    pub fn handle_datagram(&mut self, now: Instant, datagram: Datagram<'_>) {
        self.counters.datagrams += 1;
        self.arrive(now, &datagram);
    }

    /// Takes in one HTTP request. The answer comes by [`poll_response`](Self::poll_response), at
    /// once or later.
    ///
    /// Bounded work: bodies above [`MAX_BODY_LEN`](crate::signal::MAX_BODY_LEN) are not read, and
    /// at most one session is made or ended.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a request is used up, whatever of it is looked at"
    )]
    pub fn handle_request(&mut self, now: Instant, id: RequestId, request: Request) {
        let response = self.admit(now, id, &request);
        if response.status().as_u16() >= 400 {
            self.counters.refused += 1;
        }
        self.responses.push_back((id, response));
    }

    /// The client of a request went away before its response was delivered. A session that the
    /// response would have told it of is ended.
    pub fn handle_cancelled(&mut self, now: Instant, id: RequestId) {
        self.responses.retain(|(waiting, _)| *waiting != id);
        if let Some(at) = self
            .undelivered
            .iter()
            .position(|(waiting, _)| *waiting == id)
            && let Some((_, session)) = self.undelivered.remove(at)
        {
            self.retire(now, session, &EndReason::Cancelled);
        }
    }

    /// The next response to give.
    pub fn poll_response(&mut self) -> Option<(RequestId, Response)> {
        self.responses.pop_front()
    }

    /// Replaces the list of this machine's addresses. To be called before the first request, and
    /// whenever the list changes. Sessions that exist go on.
    pub fn handle_interfaces(&mut self, _now: Instant, interfaces: &[Interface]) {
        self.candidates = Candidates::new(&self.config, interfaces);
    }

    /// Does what has fallen due.
    ///
    /// Bounded work: so many owners of deadlines have their turn, and what is left is still due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.keep_up(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called next. `None`: nothing will
    /// ever fall due by itself.
    pub fn poll_timeout(&mut self) -> Option<Deadline> {
        let ending = self.shutting_down.filter(|_| self.sessions.len() > 0);
        match ending {
            Some(at) => Some(Deadline {
                at,
                reason: Reason::Ending,
            }),
            None => self.deadlines.next(),
        }
    }

    /// Writes the next datagram or train for one of the driver's sockets into `buffer`, which
    /// holds [`TRANSMIT_BUFFER_LEN`](crate::net::TRANSMIT_BUFFER_LEN) bytes or trains are shorter.
    /// Is to be called until it returns `None`, or the socket refuses: then the driver keeps that
    /// transmit and sends it first, later.
    ///
    /// Bounded work: one train is sealed, and no viewer is looked at twice for its repairs, for
    /// media or for its reports.
    pub fn poll_transmit(
        &mut self,
        now: Instant,
        transport: TransportId,
        buffer: &mut [u8],
    ) -> Option<Transmit> {
        let transmit = self.next_transmit(now, transport, buffer);
        self.counters.transmits += u64::from(transmit.is_some());
        transmit
    }

    /// The next coming, going or wish. At most 1,024 are kept; the oldest are lost first.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Ends every session (RTCP BYE, DTLS close) and refuses new ones with 503. What is to be sent
    /// still comes by [`poll_transmit`](Self::poll_transmit), and where there are many sessions,
    /// most of them end in [`handle_timeout`](Self::handle_timeout), which is due until all are gone.
    pub fn shut_down(&mut self, now: Instant) {
        self.shutting_down = Some(now);
        self.keep_up(now);
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }
}
