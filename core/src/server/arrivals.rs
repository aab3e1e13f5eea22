//! Datagrams find their sessions, and what comes of them is carried out.

use std::time::{Duration, Instant};

use is::stun::StunMessage;

use crate::control;
use crate::dtls::DATAGRAM_LEN_MAX;
use crate::egress::RepairTally;
use crate::ids::{self, PathId, SessionId};
use crate::ingest;
use crate::media::MediaKind;
use crate::net::{Datagram, Kind, Route};
use crate::rtcp::{self, Feedback};
use crate::server::Server;
use crate::server::sessions::Peer;
use crate::stats::EndReason;
use crate::stream::track::{Packet, Received};

/// An address stays with its session while that one's last sign of life is younger than this,
/// even if another session shows valid ones from there; unless it has moved elsewhere. Longer
/// protects against spoofed sources; shorter lets a client that restarted on the same port in
/// sooner.
const ADDRESS_HELD: Duration = Duration::from_secs(5);

impl Server {
    pub(super) fn arrive(&mut self, now: Instant, datagram: &Datagram<'_>) {
        let route = Route::of(datagram);
        if usize::from(route.transport.0) >= self.outboxes.len() {
            debug_assert!(false, "a transport that is not in the config");
            self.counters.dropped_unknown += 1;
            return;
        }
        match Kind::of(datagram.contents) {
            None => self.counters.dropped_unknown += 1,
            Some(Kind::Stun) => self.arrive_stun(now, route, datagram.contents),
            Some(kind) => match self.addresses.get(&(route.transport, route.remote)) {
                Some(id) => self.arrive_for(now, *id, route, kind, datagram.contents),
                None => self.counters.dropped_no_session += 1,
            },
        }
    }

    /// STUN says itself whose it is: the first half of its user name is our ufrag.
    fn arrive_stun(&mut self, now: Instant, route: Route, contents: &[u8]) {
        let Some((id, valid)) = self.take_stun(now, route, contents) else {
            self.counters.dropped_stun += 1;
            return;
        };
        match valid {
            Ok(()) => {
                self.bind(now, id, route);
                self.drive(now, id);
            }
            Err(reason) => self.retire(now, id, &reason),
        }
    }

    /// `None`: it is nobody's.
    fn take_stun(
        &mut self,
        now: Instant,
        route: Route,
        contents: &[u8],
    ) -> Option<(SessionId, Result<(), EndReason>)> {
        let message = StunMessage::parse(contents).ok()?;
        let id = ids::session_of_ufrag(message.split_username()?.0)?;
        let session = self.sessions.get_mut(id)?;
        let nominates = message.use_candidate();
        let taken = match &mut session.peer {
            Peer::Viewer(viewer) => Ok(viewer.control.handle_stun(route, &message)),
            Peer::Publisher(publisher) => publisher.ingest.handle_stun(now, route, &message),
            Peer::Source(_) | Peer::Watcher(_) => Ok(false),
        };
        match taken {
            Ok(true) => {
                if let Some(handshake) = &mut session.handshake {
                    handshake.on_check(route.remote, nominates);
                }
                Some((id, Ok(())))
            }
            Ok(false) => {
                if let Some(handshake) = &mut session.handshake {
                    handshake.on_unproven(route.remote);
                }
                None
            }
            Err(reason) => Some((id, Err(reason))),
        }
    }

    /// The route has shown a valid binding request: from now on it leads to the session.
    fn bind(&mut self, now: Instant, id: SessionId, route: Route) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if session.is_selected(route) {
            session.last_heard = Some(now);
        }
        let selected = session.selected();
        let forgotten = session.routes.note(route, selected);
        if let Some(old) = forgotten {
            self.unbind(id, old);
        }
        let key = (route.transport, route.remote);
        let holder = self.addresses.get(&key).filter(|holder| **holder != id);
        let held = holder
            .and_then(|holder| self.sessions.get(*holder))
            .filter(|holder| holder.is_selected(route))
            .and_then(|holder| holder.last_heard)
            .is_some_and(|last| now.saturating_duration_since(last) < ADDRESS_HELD);
        if !held {
            self.addresses.insert(key, id);
        }
    }

    /// The route does not lead to the session any more.
    pub(super) fn unbind(&mut self, id: SessionId, route: Route) {
        let key = (route.transport, route.remote);
        if self.addresses.get(&key) == Some(&id) {
            self.addresses.remove(&key);
        }
    }

    fn arrive_for(
        &mut self,
        now: Instant,
        id: SessionId,
        route: Route,
        kind: Kind,
        contents: &[u8],
    ) {
        let Some(session) = self.sessions.get_mut(id) else {
            self.counters.dropped_no_session += 1;
            return;
        };
        if kind == Kind::Dtls && contents.len() > DATAGRAM_LEN_MAX {
            self.counters.dropped_media += 1;
            return;
        }
        if kind == Kind::Dtls
            && let Some(handshake) = &mut session.handshake
        {
            handshake.on_dtls();
        }
        session.by_selected = session.is_selected(route);
        let is_publisher = matches!(session.peer, Peer::Publisher(_));
        let taken = match &mut session.peer {
            Peer::Publisher(publisher) => publisher.ingest.handle_datagram(now, kind, contents),
            Peer::Viewer(viewer) if kind == Kind::Dtls => {
                viewer.control.handle_dtls(now, contents).map(|()| true)
            }
            Peer::Viewer(_) => Ok(self.arrive_feedback(now, id, contents)),
            Peer::Source(_) | Peer::Watcher(_) => Ok(false),
        };
        match taken {
            Ok(true) if is_publisher && kind == Kind::Media && !rtcp::is_rtcp(contents) => {
                self.drive_rtp(now, id);
            }
            Ok(true) => self.drive(now, id),
            Ok(false) => self.counters.dropped_media += 1,
            Err(reason) => self.retire(now, id, &reason),
        }
    }

    /// Carries out what came of a publisher's RTP, and counts what nothing came of.
    fn drive_rtp(&mut self, now: Instant, id: SessionId) {
        let before = self.counters.packets();
        self.drive(now, id);
        self.counters.dropped_media += u64::from(self.counters.packets() == before);
    }

    /// A viewer's RTCP. Returns whether it was of use.
    fn arrive_feedback(&mut self, now: Instant, id: SessionId, contents: &[u8]) -> bool {
        let Some(media) = self
            .sessions
            .media_mut(id)
            .filter(|_| rtcp::is_rtcp(contents))
        else {
            return false;
        };
        let Some(packet) = self.scratch.get_mut(..contents.len()) else {
            return false;
        };
        packet.copy_from_slice(contents);
        let Some(compound) = media.opener.open_rtcp(packet) else {
            return false;
        };
        let egress = &mut media.egress;
        let mut repairs = RepairTally::default();
        let mut wants_keyframe = false;
        let mut goodbye = false;
        for feedback in rtcp::feedback(compound) {
            match feedback {
                Feedback::Keyframe { ssrc } => wants_keyframe |= egress.is_video(ssrc),
                Feedback::Nack { ssrc, lost } => egress.on_nack(ssrc, lost, &mut repairs),
                Feedback::Report(report) => egress.on_report(now, &report),
                Feedback::ReferenceTime { ssrc, ntp } => egress.on_reference_time(now, ssrc, ntp),
                Feedback::Goodbye => goodbye = true,
            }
        }
        self.count_repairs(&repairs);
        self.hear(now, id);
        self.queue_repairs(id);
        if wants_keyframe {
            self.want_keyframe(now, id);
        }
        if goodbye {
            self.retire(now, id, &EndReason::PeerClosed);
        }
        true
    }

    /// Carries out what came of the last input to a session, until nothing more does, and notes
    /// its next deadline.
    pub(super) fn drive(&mut self, now: Instant, id: SessionId) {
        loop {
            let Some(session) = self.sessions.get_mut(id) else {
                return;
            };
            let carried_on = match &mut session.peer {
                Peer::Viewer(viewer) => match viewer.control.poll(&mut self.scratch) {
                    Some(progress) => self.on_viewer(now, id, progress),
                    None => break,
                },
                Peer::Publisher(publisher) => match publisher.ingest.poll() {
                    Some(progress) => self.on_publisher(now, id, progress),
                    None => break,
                },
                Peer::Source(_) | Peer::Watcher(_) => break,
            };
            if let Err(reason) = carried_on {
                self.retire(now, id, &reason);
                return;
            }
        }
        if let Some(publisher) = self.sessions.publisher_mut(id) {
            let tally = publisher.ingest.take_tally();
            self.counters.publisher_nacked += tally.asked;
            self.counters.publisher_repaired += tally.repaired;
            self.counters.publisher_given_up += tally.given_up;
        }
        self.schedule(id);
    }

    fn on_viewer(
        &mut self,
        now: Instant,
        id: SessionId,
        progress: control::Progress,
    ) -> Result<(), EndReason> {
        match progress {
            control::Progress::Send(route, contents) => self.answer(route, contents),
            control::Progress::Selected(route) => {
                self.move_viewer(id, route);
                // What left by the old route meanwhile is lost, mostly for good.
                if self.sessions.media_mut(id).is_some() {
                    self.want_keyframe(now, id);
                }
            }
            control::Progress::Connected(profile, keys) => {
                self.connect_viewer(now, id, profile, *keys);
            }
            control::Progress::Ended(reason) => return Err(reason),
        }
        Ok(())
    }

    fn on_publisher(
        &mut self,
        now: Instant,
        id: SessionId,
        progress: ingest::Progress,
    ) -> Result<(), EndReason> {
        match progress {
            ingest::Progress::Send(route, contents) => self.answer(route, contents),
            ingest::Progress::Connected(profile) => {
                return self.connect_publisher(now, id, profile);
            }
            ingest::Progress::Packet(kind, packet) => {
                self.hear(now, id);
                if let Some(path_id) = self.sessions.publisher_mut(id).and_then(|p| p.path) {
                    self.forward(now, path_id, kind, packet);
                }
            }
            ingest::Progress::TooMuchLost => {
                let path_id = self.sessions.publisher_mut(id).and_then(|p| p.path);
                if let Some(path_id) = path_id {
                    self.want_keyframe_of(now, path_id);
                }
            }
            ingest::Progress::SenderReport {
                kind,
                received,
                ntp,
                timestamp,
            } => {
                self.hear(now, id);
                let ours = self.clock.ntp(received);
                let path = self.sessions.publisher_mut(id).and_then(|p| p.path);
                if let Some(path) = path.and_then(|path| self.paths.get_mut(path)) {
                    path.handle_sender_report(kind, received, ours, (ntp, timestamp));
                }
            }
            ingest::Progress::Ended(reason) => return Err(reason),
        }
        Ok(())
    }

    pub(super) fn answer(&mut self, route: Route, contents: Vec<u8>) {
        if let Some(outbox) = self.outboxes.get_mut(usize::from(route.transport.0)) {
            self.counters.dropped_answers += u64::from(outbox.answer(route, contents));
        }
    }

    /// The session has shown that its peer is there.
    fn hear(&mut self, now: Instant, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id).filter(|s| s.by_selected) {
            session.last_heard = Some(now);
        }
    }

    /// The packet path: into the history, then word to the audience.
    pub(super) fn forward(
        &mut self,
        now: Instant,
        path_id: PathId,
        kind: MediaKind,
        packet: Packet,
    ) {
        let Some(path) = self.paths.get_mut(path_id) else {
            return;
        };
        let Some(track) = path.track_mut(kind) else {
            return;
        };
        let is_part = kind == MediaKind::Video && !packet.marker;
        match track.receive(now, packet) {
            Received::Recorded { keyframe } => {
                self.counters.packets_in += 1;
                if keyframe && path.keyframes.due().is_some() {
                    path.keyframes.on_keyframe();
                    self.schedule_path(path_id);
                }
                self.announce(now, path_id, kind, is_part);
            }
            Received::AwaitsKeyframe => {
                self.counters.awaited_keyframe += 1;
                self.want_keyframe_of(now, path_id);
            }
            Received::TooLong | Received::Unrecorded => self.counters.dropped_unrecorded += 1,
        }
    }

    /// There is something new on a path. The program itself is told at once; viewers when a frame is
    /// whole, or has taken too long for that. Sound goes with it.
    fn announce(&mut self, now: Instant, path_id: PathId, kind: MediaKind, is_part: bool) {
        let Some(path) = self.paths.get_mut(path_id) else {
            return;
        };
        path.watchers.alert();
        if path.watchers.enqueue() {
            self.watched.push_back(path_id);
        }
        let waits = path.held_until.is_some();
        let hold = path.hold(self.config.hold_max).filter(|_| is_part);
        match (waits, hold) {
            (false, Some(hold)) => {
                path.held_until = Some(now + hold);
                self.schedule_path(path_id);
            }
            (true, Some(_)) => {}
            (true, None) if kind == MediaKind::Audio => {}
            (_, None) => self.alert(path_id),
        }
    }

    /// All viewers of a path are to have what is new, and nothing is held any more.
    pub(super) fn alert(&mut self, path_id: PathId) {
        let Some(path) = self.paths.get_mut(path_id) else {
            return;
        };
        let was_held = path.held_until.take().is_some();
        for (outbox, (_, audience)) in self.outboxes.iter_mut().zip(path.audiences()) {
            audience.alert();
            if audience.enqueue() {
                outbox.paths.push_back(path_id);
            }
        }
        if was_held {
            self.schedule_path(path_id);
        }
    }
}
