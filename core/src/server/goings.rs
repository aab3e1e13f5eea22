//! Sessions end: goodbyes are said, and nothing is left behind.

use std::time::Instant;

use tracing::Level;

use crate::control;
use crate::ids::{PathId, SessionId};
use crate::ingest;
use crate::server::sessions::{Peer, Session};
use crate::server::{Event, Server};
use crate::signal::Role;
use crate::stats::EndReason;

impl Server {
    /// Ends a session: says goodbye where there is somebody to say it to, and leaves nothing.
    pub(super) fn retire(&mut self, now: Instant, id: SessionId, reason: &EndReason) {
        if !matches!(
            reason,
            EndReason::Gone
                | EndReason::PeerClosed
                | EndReason::Handshake(_)
                | EndReason::GaveUp(_)
                | EndReason::Failed(_)
                | EndReason::Fingerprint
        ) {
            self.say_goodbye(now, id);
        }
        let Some((session, media)) = self.sessions.remove(id) else {
            return;
        };
        self.unschedule(id);
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
                let seat = media.map(|media| media.route.transport);
                let path = self.paths.get_mut(viewer.path);
                if let Some(audience) = path.zip(seat).and_then(|(path, seat)| path.audience(seat))
                {
                    audience.retire(id);
                }
                self.leave_if_last(viewer.path);
            }
            Peer::Source(source) => {
                if let Some(path) = source.path {
                    self.leave(now, path, id);
                }
            }
            Peer::Watcher(watcher) => {
                if let Some(path) = self.paths.get_mut(watcher.path) {
                    path.watchers.retire(id);
                }
                self.leave_if_last(watcher.path);
            }
        }
        match reason {
            EndReason::Handshake(_) => self.counters.handshake_timeouts += 1,
            EndReason::Gone => self.counters.gone += 1,
            _ => {}
        }
        self.tell_end(now, session, reason);
    }

    fn tell_end(&mut self, now: Instant, session: Session, reason: &EndReason) {
        let (connected, role) = (session.is_connected(), session.role());
        self.endings
            .note(session.id, session.resource, reason.clone());
        let (path, session, reason) = (session.path_name, session.uuid, reason.clone());
        if connected {
            tracing::info!("{path}: {role} {session} left: {reason}");
        } else {
            let level = match reason {
                // What only whoever runs the server can mend, as a rule.
                EndReason::Handshake(_) | EndReason::GaveUp(_) | EndReason::NoAead(_) => {
                    Level::WARN
                }
                _ => Level::INFO,
            };
            let line = format!("{path}: {role} {session} did not connect: {reason}");
            self.note_failure(now, level, &line);
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
        path.ends = Some((now + self.config.publisher_grace, EndReason::PathEnded));
        self.schedule_path(path_id);
        self.leave_if_last(path_id);
    }

    /// A path without publisher and viewers is no path: nobody is there to wait for.
    pub(super) fn leave_if_last(&mut self, path_id: PathId) {
        let is_silent = self
            .paths
            .get(path_id)
            .is_some_and(|path| path.publisher.is_none());
        if is_silent && self.sessions.viewers_of(path_id, 1).is_empty() {
            self.remove_path(path_id);
        }
    }

    /// RTCP BYE, then DTLS close_notify.
    fn say_goodbye(&mut self, now: Instant, id: SessionId) {
        let mut last = Vec::new();
        if let Some(media) = self.sessions.media_mut(id)
            && let Some(path) = self.paths.get(media.path)
            && let Some(goodbye) = media.egress.goodbye(now, &self.clock, path)
        {
            last.push((media.route, goodbye));
        }
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        match &mut session.peer {
            Peer::Publisher(publisher) => {
                publisher.ingest.close();
                while let Some(progress) = publisher.ingest.poll() {
                    match progress {
                        ingest::Progress::Send(route, contents) => last.push((route, contents)),
                        ingest::Progress::Ended(_) => break,
                        _ => {}
                    }
                }
            }
            Peer::Viewer(viewer) => {
                viewer.control.close();
                while let Some(progress) = viewer.control.poll(&mut self.scratch) {
                    match progress {
                        control::Progress::Send(route, contents) => last.push((route, contents)),
                        control::Progress::Ended(_) => break,
                        _ => {}
                    }
                }
            }
            Peer::Source(_) | Peer::Watcher(_) => {}
        }
        for (route, contents) in last {
            self.answer(route, contents);
        }
    }
}
