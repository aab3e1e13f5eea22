//! What time brings: deadlines, and whose turn it is.

use std::time::Instant;

use crate::ids::{PathId, SessionId};
use crate::rtcp::schedule::SLACK;
use crate::server::Server;
use crate::server::sessions::{Peer, SILENCE_MAX};
use crate::stats::EndReason;
use crate::time::{Deadline, Reason};

/// How many owners of deadlines have their turn in one call. More keeps datagrams waiting longer
/// when much falls due at once; fewer goes round the driver's loop more often.
const TURNS_MAX: usize = 256;

/// How many sessions end in one call, where many do: each takes a seal or two, and leaves two
/// datagrams in the queue to the socket.
const ENDINGS_MAX: usize = 256;

impl Server {
    pub(super) fn keep_up(&mut self, now: Instant) {
        let mut endings = ENDINGS_MAX;
        if self.shutting_down.is_some() {
            self.end(now, self.sessions.some(endings), &EndReason::ShutDown);
            return;
        }
        let mut reports = 0;
        for _ in 0..TURNS_MAX {
            if endings == 0 {
                return;
            }
            let Some(next) = self.deadlines.next() else {
                return;
            };
            let until = match next.reason {
                Reason::Report if reports > 0 => now + SLACK,
                _ => now,
            };
            let Some((owner, deadline)) = self.deadlines.pop(until) else {
                return;
            };
            reports += u32::from(deadline.reason == Reason::Report);
            match Owner::of(owner) {
                Owner::Session(slot) => {
                    if let Some(id) = self.sessions.in_slot(slot) {
                        self.keep_up_session(now, id, until);
                    }
                }
                Owner::Path(slot) => {
                    if let Some(id) = self.paths.in_slot(slot) {
                        endings -= self.keep_up_path(now, id, endings);
                    }
                }
            }
        }
    }

    fn keep_up_session(&mut self, now: Instant, id: SessionId, until: Instant) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let late = session.handshake.as_ref().filter(|h| h.until <= now);
        let ended = if let Some(handshake) = late {
            Err(EndReason::Handshake(handshake.unfinished()))
        } else if session
            .last_heard
            .is_some_and(|last| last + SILENCE_MAX <= now)
        {
            Err(EndReason::Gone)
        } else {
            match &mut session.peer {
                Peer::Publisher(p) if p.ingest.poll_timeout() <= now => {
                    p.ingest.handle_timeout(now)
                }
                Peer::Publisher(_) | Peer::Source(_) | Peer::Watcher(_) => Ok(()),
                Peer::Viewer(v) => v.control.handle_timeout(now),
            }
        };
        if let Err(reason) = ended {
            self.retire(now, id, &reason);
            return;
        }
        self.report(now, id, until);
        let media = self.sessions.media_mut(id);
        if media.is_some_and(|media| media.egress.take_rest(now)) {
            self.queue_alone(id);
        }
        self.drive(now, id);
    }

    /// Notes that a viewer's reports are due, if they are.
    fn report(&mut self, now: Instant, id: SessionId, until: Instant) {
        let media = self.sessions.media_mut(id);
        let Some(media) = media.filter(|media| media.schedule.due() <= until) else {
            return;
        };
        // Drawn for a report and not for every turn: how many turns a session has depends on what
        // its DTLS draws, which does not come from the seed.
        let (period, draw) = (self.config.report_interval, self.rng.fraction());
        let Some(shape) = media.schedule.take(now, until, period, draw) else {
            return;
        };
        media.egress.on_report_due(shape);
        self.queue_alone(id);
    }

    /// Returns how many sessions ended with the path, `endings` at most.
    fn keep_up_path(&mut self, now: Instant, id: PathId, endings: usize) -> usize {
        let held_until = self.paths.get(id).and_then(|path| path.held_until);
        if held_until.is_some_and(|at| at <= now) {
            self.alert(id);
        }
        let ends = self.paths.get(id).and_then(|path| path.ends.clone());
        let Some((_, reason)) = ends.filter(|(at, _)| *at <= now) else {
            self.pass_on_keyframe_request(now, id);
            return 0;
        };
        let viewers = self.sessions.viewers_of(id, endings);
        let count = viewers.len();
        self.end(now, viewers, &reason);
        if count < endings {
            self.remove_path(id);
        } else {
            self.schedule_path(id);
        }
        count
    }

    fn end(&mut self, now: Instant, sessions: Vec<SessionId>, reason: &EndReason) {
        for id in sessions {
            self.retire(now, id, reason);
        }
    }

    pub(super) fn remove_path(&mut self, id: PathId) {
        if self.paths.remove(id).is_some() {
            self.deadlines.set(Owner::Path(id.slot).number(), None);
        }
    }

    /// A session wants no turn any more.
    pub(super) fn unschedule(&mut self, id: SessionId) {
        self.deadlines.set(Owner::Session(id.slot).number(), None);
    }

    /// Notes when a session wants its turn.
    pub(super) fn schedule(&mut self, id: SessionId) {
        let deadline = self.sessions.deadline(id);
        self.deadlines
            .set(Owner::Session(id.slot).number(), deadline);
    }

    /// Notes when a path wants its turn.
    pub(super) fn schedule_path(&mut self, id: PathId) {
        let deadline = self.paths.get(id).and_then(|path| {
            let asks = path.keyframes.due().filter(|_| path.publisher.is_some());
            let ends = path.ends.as_ref().map(|(at, _)| *at);
            let held = path.held_until;
            [
                (ends, Reason::Grace),
                (asks, Reason::Keyframe),
                (held, Reason::Hold),
            ]
            .into_iter()
            .filter_map(|(at, reason)| at.map(|at| Deadline { at, reason }))
            .min_by_key(|d| d.at)
        });
        self.deadlines.set(Owner::Path(id.slot).number(), deadline);
    }
}

/// Whose deadline it is. Sessions and paths share one heap, by even and odd numbers.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Session(u32),
    Path(u32),
}

impl Owner {
    fn of(number: u32) -> Self {
        if number.is_multiple_of(2) {
            Self::Session(number / 2)
        } else {
            Self::Path(number / 2)
        }
    }

    fn number(self) -> u32 {
        match self {
            Self::Session(slot) => slot * 2,
            Self::Path(slot) => slot * 2 + 1,
        }
    }
}
