//! What time brings: deadlines, and the ends of sessions and paths.

use std::time::{Duration, Instant};

use crate::ids::{PathId, SessionId};
use crate::server::sessions::{BINDING_TIMEOUT, Peer, Session};
use crate::server::{Event, Server};
use crate::signal::Role;
use crate::stats::EndReason;
use crate::time::{Deadline, Reason};

/// How many owners of deadlines have their turn in one call. More keeps datagrams waiting longer
/// when much falls due at once; fewer goes round the driver's loop more often.
const TURNS_MAX: usize = 256;

/// Reports that fall due this soon after others go out with them: one wake-up for all.
const REPORT_SLACK: Duration = Duration::from_millis(10);

impl Server {
    pub(super) fn keep_up(&mut self, now: Instant) {
        let mut reports = 0;
        for _ in 0..TURNS_MAX {
            let Some(next) = self.deadlines.next() else {
                return;
            };
            let until = match next.reason {
                Reason::Report if reports > 0 => now + REPORT_SLACK,
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
                        self.keep_up_path(now, id);
                    }
                }
            }
        }
    }

    fn keep_up_session(&mut self, now: Instant, id: SessionId, until: Instant) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let ended = if session.handshake_until.is_some_and(|at| at <= now) {
            Err(EndReason::Handshake)
        } else if session
            .last_binding
            .is_some_and(|last| last + BINDING_TIMEOUT <= now)
        {
            Err(EndReason::Gone)
        } else {
            match &mut session.peer {
                Peer::Publisher(p) if p.ingest.poll_timeout() <= now => {
                    p.ingest.handle_timeout(now)
                }
                Peer::Publisher(_) => Ok(()),
                Peer::Viewer(v) => v.control.handle_timeout(now),
            }
        };
        if let Err(reason) = ended {
            self.retire(now, id, &reason);
            return;
        }
        self.report(now, id, until);
        self.drive(now, id);
    }

    /// Notes that a viewer's reports are due, and when they are again: after one period, give or
    /// take half of it (RFC 3550 §6.3.1).
    fn report(&mut self, now: Instant, id: SessionId, until: Instant) {
        let next = self
            .config
            .report_interval
            .mul_f64(0.5 + self.rng.fraction());
        let Some((_, media)) = self
            .sessions
            .viewer_mut(id)
            .filter(|(_, m)| m.report_at <= until)
        else {
            return;
        };
        media.report_at = now + next;
        media.egress.on_report_due();
        if std::mem::replace(&mut media.report_queued, true) {
            return;
        }
        if let Some(outbox) = self.outboxes.get_mut(usize::from(media.transport.0)) {
            outbox.reports.push_back(id);
        }
    }

    fn keep_up_path(&mut self, now: Instant, id: PathId) {
        if self
            .paths
            .get(id)
            .is_some_and(|p| p.ends.is_some_and(|at| at <= now))
        {
            for viewer in self.sessions.viewers_of(id) {
                self.retire(now, viewer, &EndReason::PathEnded);
            }
            self.paths.remove(id);
            self.deadlines.set(Owner::Path(id.slot).number(), None);
            return;
        }
        self.request_keyframe(now, id);
    }

    /// Notes when a session wants its turn.
    pub(super) fn schedule(&mut self, id: SessionId) {
        let deadline = self.sessions.get(id).and_then(Session::deadline);
        self.deadlines
            .set(Owner::Session(id.slot).number(), deadline);
    }

    /// Notes when a path wants its turn.
    pub(super) fn schedule_path(&mut self, id: PathId) {
        let deadline = self.paths.get(id).and_then(|path| {
            let asks = path.keyframes.due().filter(|_| path.publisher.is_some());
            [(path.ends, Reason::Grace), (asks, Reason::Keyframe)]
                .into_iter()
                .filter_map(|(at, reason)| at.map(|at| Deadline { at, reason }))
                .min_by_key(|d| d.at)
        });
        self.deadlines.set(Owner::Path(id.slot).number(), deadline);
    }

    /// Ends a session: says goodbye where there is somebody to say it to, and leaves nothing.
    pub(super) fn retire(&mut self, now: Instant, id: SessionId, reason: &EndReason) {
        if !matches!(
            reason,
            EndReason::Gone | EndReason::PeerClosed | EndReason::Handshake
        ) {
            self.say_goodbye(now, id);
        }
        let Some(session) = self.sessions.remove(id) else {
            return;
        };
        self.deadlines.set(Owner::Session(id.slot).number(), None);
        for route in session.routes.iter() {
            self.unbind(id, route);
        }
        match &session.peer {
            Peer::Publisher(publisher) => {
                if let Some(path) = publisher.path {
                    self.leave(now, path, id);
                }
            }
            Peer::Viewer(viewer) => {
                let seat = viewer.media.as_ref().map(|m| m.transport);
                let path = self.paths.get_mut(viewer.path);
                if let Some(audience) = path.zip(seat).and_then(|(path, seat)| path.audience(seat))
                {
                    audience.retire(id);
                }
            }
        }
        match reason {
            EndReason::Handshake => self.counters.handshake_timeouts += 1,
            EndReason::Gone => self.counters.gone += 1,
            _ => {}
        }
        self.tell_end(session, reason);
    }

    fn tell_end(&mut self, session: Session, reason: &EndReason) {
        let (connected, role) = (session.is_connected(), session.role());
        let (path, session, reason) = (session.path_name, session.uuid, reason.clone());
        if connected {
            tracing::info!("{path}: {role} {session} left: {reason}");
        } else {
            tracing::warn!("{path}: {role} {session} did not connect: {reason}");
        }
        self.tell(match (connected, role) {
            (false, _) => Event::HandshakeFailed {
                path,
                session,
                reason,
            },
            (true, Role::Publish) => Event::PublisherLeft {
                path,
                session,
                reason,
            },
            (true, Role::View) => Event::ViewerLeft {
                path,
                session,
                reason,
            },
        });
    }

    /// A path's publisher is gone: if nobody takes over in time, the path ends.
    fn leave(&mut self, now: Instant, path_id: PathId, publisher: SessionId) {
        let Some(path) = self
            .paths
            .get_mut(path_id)
            .filter(|p| p.publisher == Some(publisher))
        else {
            return;
        };
        path.publisher = None;
        path.ends = Some(now + self.config.publisher_grace);
        self.schedule_path(path_id);
    }

    /// RTCP BYE, then DTLS close_notify.
    fn say_goodbye(&mut self, now: Instant, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let mut last = Vec::new();
        match &mut session.peer {
            Peer::Publisher(publisher) => {
                publisher.ingest.close();
                while let Some(progress) = publisher.ingest.poll(&session.routes) {
                    if let crate::ingest::Progress::Send(route, contents) = progress {
                        last.push((route, contents));
                    }
                }
            }
            Peer::Viewer(viewer) => {
                let path = self.paths.get(viewer.path);
                if let (Some(media), Some(path), Some(route)) =
                    (&mut viewer.media, path, viewer.control.selected())
                    && let Some(goodbye) = media.egress.goodbye(now, &self.clock, path)
                {
                    last.push((route, goodbye));
                }
                viewer.control.close();
                while let Some(progress) = viewer.control.poll(&session.routes, &mut self.scratch) {
                    if let crate::control::Progress::Send(route, contents) = progress {
                        last.push((route, contents));
                    }
                }
            }
        }
        for (route, contents) in last {
            self.answer(route, contents);
        }
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
