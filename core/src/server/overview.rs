//! What is going on, for whoever runs the server, and how a session is ended by hand.

use std::time::{Duration, Instant};

use crate::media::MediaKind;
use crate::rtcp::ReceptionReport;
use crate::server::Server;
use crate::server::sessions::{Peer, Session};
use crate::signal::{Response, Role, respond};
use crate::stats::{
    EndReason, PathStats, Reception, SessionRole, SessionStats, Snapshot, ViewerStats,
};

impl Server {
    /// What is going on. Walks all paths: for an occasional look, not for every packet.
    #[must_use]
    pub fn stats(&self) -> Snapshot {
        Snapshot {
            paths: self.path_stats(),
            sessions: self.sessions.len(),
            counters: self.counters,
        }
    }

    /// How the connected viewers receive, in no particular order. Walks all sessions: for an
    /// occasional look.
    #[must_use]
    pub fn viewer_stats(&self) -> Vec<ViewerStats> {
        let viewers = self.sessions.viewers();
        viewers
            .map(|(session, media)| {
                let reception = |kind| {
                    let report = media.egress.quality().last_report(kind)?;
                    let track = self.paths.get(media.path)?.track(kind)?;
                    Some(reception(&report, track.codec().clock_rate))
                };
                ViewerStats {
                    path: session.path_name.clone(),
                    session: session.uuid.clone(),
                    rtt: media.egress.quality().rtt(),
                    video: reception(MediaKind::Video),
                    audio: reception(MediaKind::Audio),
                }
            })
            .collect()
    }

    /// All sessions, those that are not connected yet and the program's own among them, in no
    /// particular order. Walks all sessions: for an occasional look.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionStats> {
        self.sessions.iter().map(session_stats).collect()
    }

    /// Ends the session of this public id, whatever it is, with [`EndReason::Closed`]: says goodbye to
    /// its peer, and tells by an event. Pages reconnect then, as after every end. Returns whether there
    /// was such a session. Walks all sessions.
    pub fn close(&mut self, now: Instant, session: &str) -> bool {
        let named = self.sessions.iter().find(|s| s.uuid == session);
        let Some(id) = named.map(|session| session.id) else {
            return false;
        };
        self.retire(now, id, &EndReason::Closed);
        true
    }

    fn path_stats(&self) -> Vec<PathStats> {
        self.paths
            .iter()
            .map(|path| PathStats {
                name: path.name.clone(),
                live: path.publisher.is_some(),
                codecs: path.codec_names(),
                viewers: path.viewer_count(),
            })
            .collect()
    }

    pub(super) fn list_paths(&self) -> Response {
        let live: Vec<_> = self.path_stats().into_iter().filter(|p| p.live).collect();
        respond::list(&live)
    }
}

fn session_stats(session: &Session) -> SessionStats {
    SessionStats {
        session: session.uuid.clone(),
        path: session.path_name.clone(),
        role: match session.role() {
            Role::Publish => SessionRole::Publisher,
            Role::View => SessionRole::Viewer,
        },
        in_process: matches!(session.peer, Peer::Source(_) | Peer::Watcher(_)),
        connected: session.is_connected(),
        remote: session.selected().map(|route| route.remote),
        since: session.since,
    }
}

/// A report in units that do not depend on the codec.
fn reception(report: &ReceptionReport, clock_rate: u32) -> Reception {
    Reception {
        fraction_lost: f32::from(report.fraction_lost) / 256.0,
        packets_lost: report.lost,
        jitter: Duration::from_secs_f64(f64::from(report.jitter) / f64::from(clock_rate.max(1))),
    }
}
