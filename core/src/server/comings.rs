//! Sessions whose handshake is done take their places.

use std::time::Instant;

use dimpl::SrtpProfile;

use crate::egress::Egress;
use crate::ids::{PathId, SessionId};
use crate::net::Route;
use crate::rtcp::schedule::Schedule;
use crate::server::sessions::{Media, Peer, Session};
use crate::server::{Event, Server};
use crate::srtp::{self, Opener, Sealer};
use crate::stats::EndReason;
use crate::stream::path::Codecs;

impl Server {
    /// A publisher's handshake is done: it takes over its path.
    pub(super) fn connect_publisher(
        &mut self,
        now: Instant,
        id: SessionId,
        profile: SrtpProfile,
    ) -> Result<(), EndReason> {
        let Some(publisher) = self.sessions.publisher_mut(id) else {
            return Ok(());
        };
        let codecs = publisher.codecs();
        self.take_over(now, id, codecs, srtp::name(profile))?;
        let path_id = self.sessions.get(id).and_then(Session::publishes);
        let path = path_id.and_then(|path| self.paths.get(path));
        if let Some(path) = path.filter(|path| path.video.is_some()) {
            self.want_keyframe_of(now, path.id);
        }
        Ok(())
    }

    /// Whether a publisher may take over a path, if it has one.
    pub(super) fn may_take_over(&self, name: &str) -> bool {
        self.config.override_publisher || self.paths.live(name).is_none()
    }

    /// A publisher takes over its path, in the place of whoever published there. `way` is how its
    /// media comes in, for the log.
    pub(super) fn take_over(
        &mut self,
        now: Instant,
        id: SessionId,
        codecs: Codecs,
        way: &str,
    ) -> Result<(), EndReason> {
        let Some(session) = self.sessions.get(id) else {
            return Ok(());
        };
        let (name, uuid) = (session.path_name.clone(), session.uuid.clone());
        if !self.may_take_over(&name) {
            return Err(EndReason::Conflict);
        }
        let present = self.paths.by_name(&name);
        let predecessor = present.and_then(|path| path.publisher);
        if let Some(old) = present
            .filter(|path| !path.goes_on_with(&codecs))
            .map(|path| path.id)
        {
            self.outlive(now, old);
        }
        let path_id = self
            .paths
            .obtain(&name, self.outboxes.len())
            .ok_or(EndReason::Conflict)?;
        if let Some(session) = self.sessions.get_mut(id) {
            session.on_taken_over(path_id);
        }
        let Some(path) = self.paths.get_mut(path_id) else {
            return Ok(());
        };
        path.begin(id, codecs, self.config.history);
        tracing::info!(
            "{name}: {uuid} publishes {} ({way})",
            path.codec_names().join(" and "),
        );
        self.schedule_path(path_id);
        if let Some(predecessor) = predecessor {
            self.retire(now, predecessor, &EndReason::Replaced);
        }
        self.tell(Event::PublisherJoined {
            path: name,
            session: uuid,
        });
        Ok(())
    }

    /// The path's name passes to another, whose codecs its viewers may not be able to play. They
    /// are told so, by and by.
    fn outlive(&mut self, now: Instant, path_id: PathId) {
        self.paths.release_name(path_id);
        if let Some(path) = self.paths.get_mut(path_id) {
            path.publisher = None;
            path.ends = Some((now, EndReason::CodecChanged));
        }
        self.schedule_path(path_id);
        self.leave_if_last(path_id);
    }

    /// A viewer's handshake is done: it takes its seat.
    pub(super) fn connect_viewer(
        &mut self,
        now: Instant,
        id: SessionId,
        profile: SrtpProfile,
        (sealer, opener): (Sealer, Opener),
    ) {
        let draw = self.rng.fraction();
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let Peer::Viewer(viewer) = &mut session.peer else {
            return;
        };
        let Some(route) = viewer.control.selected() else {
            return;
        };
        let path_id = viewer.path;
        let media = Media {
            path: viewer.path,
            egress: Egress::new(now, sealer, &viewer.lanes, viewer.cname, self.config.repair),
            opener: Box::new(opener),
            route,
            schedule: Schedule::new(
                now,
                self.config.report_interval,
                viewer.reduced_reports,
                draw,
            ),
            alone_queued: false,
            repair_queued: false,
        };
        session.handshake = None;
        let joined = Event::ViewerJoined {
            path: session.path_name.clone(),
            session: session.uuid.clone(),
        };
        tracing::info!(
            "{}: {} watches ({})",
            session.path_name,
            session.uuid,
            srtp::name(profile)
        );
        tracing::debug!("{} is at {}", session.uuid, route.remote);
        if self.sessions.seat(id, media) {
            self.tell(joined);
            self.seat(path_id, id, route);
        }
    }

    /// Gives a viewer its place in the audience of a transport, and its first turn.
    fn seat(&mut self, path_id: PathId, id: SessionId, route: Route) {
        let Some(audience) = self
            .paths
            .get_mut(path_id)
            .and_then(|p| p.audience(route.transport))
        else {
            return;
        };
        audience.admit(id);
        let enters = audience.enqueue();
        if let Some(outbox) = self
            .outboxes
            .get_mut(usize::from(route.transport.0))
            .filter(|_| enters)
        {
            outbox.paths.push_back(path_id);
        }
    }

    /// The viewer's route changed: its packets go there from now on.
    pub(super) fn move_viewer(&mut self, id: SessionId, route: Route) {
        let Some(media) = self.sessions.media_mut(id) else {
            return;
        };
        let path_id = media.path;
        let old = std::mem::replace(&mut media.route, route).transport;
        if old == route.transport {
            return;
        }
        media.repair_queued = false;
        let was_queued = std::mem::take(&mut media.alone_queued);
        if let Some(audience) = self.paths.get_mut(path_id).and_then(|p| p.audience(old)) {
            audience.retire(id);
        }
        self.seat(path_id, id, route);
        self.queue_repairs(id);
        if was_queued {
            self.queue_alone(id);
        }
    }
}
