//! The table of sessions. A session's slot is reused, its id never.

use std::time::{Duration, Instant};

use slab::Slab;

use crate::control::Control;
use crate::egress::{Egress, LaneConfig};
use crate::ice::Ice;
use crate::ids::{PathId, SessionId, SourceId, WatcherId};
use crate::ingest::Ingest;
use crate::ingest::feed::Feed;
use crate::media::MediaKind;
use crate::net::{Route, Routes};
use crate::rtcp::Cname;
use crate::rtcp::schedule::Schedule;
use crate::server::handshake::Handshake;
use crate::server::seats::Seats;
use crate::signal::Role;
use crate::srtp::Opener;
use crate::stream::cursor::Cursor;
use crate::stream::path::Codecs;
use crate::time::{Deadline, Reason};

/// A peer whose last sign of life is this old is gone. Browsers send a binding request every 2.5 s;
/// libnice sends none once the handshake is done, but media every few milliseconds, or a receiver
/// report every few seconds.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(15);

/// One peer, or the program itself in the place of one.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    /// Its public name.
    pub(super) uuid: String,
    /// The last part of its URL. Nobody is told that of a session of the program itself.
    pub(super) resource: String,
    pub(super) path_name: String,
    /// Since when there is a session.
    pub(super) since: Instant,
    /// Its ICE and DTLS; `None` when they are done.
    pub(super) handshake: Option<Box<Handshake>>,
    /// The datagram at hand came by the route that the peer nominated, or it has nominated none.
    pub(super) by_selected: bool,
    /// When its last sign of life came by that route: a valid binding request, or RTP or RTCP under
    /// its keys. Who is heard elsewhere only has not agreed to what is sent there (RFC 7675).
    pub(super) last_heard: Option<Instant>,
    /// The ways to it.
    pub(super) routes: Routes,
    pub(super) peer: Peer,
}

/// What it does here.
#[derive(Debug)]
pub(super) enum Peer {
    Publisher(Box<Publisher>),
    Viewer(Box<Viewer>),
    /// The program itself publishes.
    Source(Box<Source>),
    /// The program itself watches.
    Watcher(Box<Watcher>),
}

#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) ingest: Ingest,
    /// The path it has taken over.
    pub(super) path: Option<PathId>,
}

#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) path: PathId,
    pub(super) control: Control,
    pub(super) lanes: heapless::Vec<LaneConfig, 2>,
    /// Reduced-size RTCP was negotiated.
    pub(super) reduced_reports: bool,
    pub(super) cname: Cname,
}

/// What a connected viewer has.
#[derive(Debug)]
pub(super) struct Media {
    pub(super) path: PathId,
    pub(super) egress: Egress,
    /// Apart: it is large, and no train asks for it.
    pub(super) opener: Box<Opener>,
    /// Where everything goes, which the peer nominated. Its transport is that of the audience it sits
    /// in.
    pub(super) route: Route,
    /// When its sender reports are due.
    pub(super) schedule: Schedule,
    /// They, or what a burst has left, wait for their turn to be sent.
    pub(super) alone_queued: bool,
    /// Repairs wait for their turn to be sent.
    pub(super) repair_queued: bool,
}

/// What the program itself publishes.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) feed: Feed,
    /// The path it has taken over.
    pub(super) path: Option<PathId>,
}

/// Where the program itself stands in the tracks of a path that it watches.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) path: PathId,
    pub(super) video: Cursor,
    pub(super) audio: Cursor,
}

impl Publisher {
    /// The codecs of its tracks.
    pub(super) fn codecs(&self) -> Codecs {
        let mut codecs = Codecs::default();
        for codec in self.ingest.codecs() {
            match codec.kind() {
                MediaKind::Video => codecs.video = Some(codec.clone()),
                MediaKind::Audio => codecs.audio = Some(codec.clone()),
            }
        }
        codecs
    }
}

impl Session {
    pub(super) fn role(&self) -> Role {
        match self.peer {
            Peer::Publisher(_) | Peer::Source(_) => Role::Publish,
            Peer::Viewer(_) | Peer::Watcher(_) => Role::View,
        }
    }

    /// `None`: it is the program itself.
    pub(super) fn ice(&self) -> Option<&Ice> {
        match &self.peer {
            Peer::Publisher(publisher) => Some(&publisher.ingest.ice),
            Peer::Viewer(viewer) => Some(&viewer.control.ice),
            Peer::Source(_) | Peer::Watcher(_) => None,
        }
    }

    pub(super) fn ice_mut(&mut self) -> Option<&mut Ice> {
        match &mut self.peer {
            Peer::Publisher(publisher) => Some(&mut publisher.ingest.ice),
            Peer::Viewer(viewer) => Some(&mut viewer.control.ice),
            Peer::Source(_) | Peer::Watcher(_) => None,
        }
    }

    /// The route that the peer nominated.
    pub(super) fn selected(&self) -> Option<Route> {
        self.ice()?.selected()
    }

    /// Whether a route is the one that the peer nominated, or it has nominated none.
    pub(super) fn is_selected(&self, route: Route) -> bool {
        let selected = self.selected();
        selected.is_none_or(|selected| selected.is_way_of(route))
    }

    /// The path that it publishes on.
    pub(super) fn publishes(&self) -> Option<PathId> {
        match &self.peer {
            Peer::Publisher(publisher) => publisher.path,
            Peer::Source(source) => source.path,
            Peer::Viewer(_) | Peer::Watcher(_) => None,
        }
    }

    /// The path that it watches, or will when it is connected.
    pub(super) fn watches(&self) -> Option<PathId> {
        match &self.peer {
            Peer::Viewer(viewer) => Some(viewer.path),
            Peer::Watcher(watcher) => Some(watcher.path),
            Peer::Publisher(_) | Peer::Source(_) => None,
        }
    }

    /// It is connected, and publishes on a path from now on.
    pub(super) fn on_taken_over(&mut self, path: PathId) {
        self.handshake = None;
        match &mut self.peer {
            Peer::Publisher(publisher) => publisher.path = Some(path),
            Peer::Source(source) => source.path = Some(path),
            Peer::Viewer(_) | Peer::Watcher(_) => {
                debug_assert!(false, "a viewer takes over no path");
            }
        }
    }

    /// Whether the handshake is done.
    pub(super) fn is_connected(&self) -> bool {
        self.handshake.is_none()
    }

    /// The earliest of all that may fall due. `media` is what a connected viewer has.
    fn deadline(&self, media: Option<&Media>) -> Option<Deadline> {
        let gone = self.last_heard.map(|last| last + SILENCE_MAX);
        let control = match &self.peer {
            Peer::Publisher(p) => Some(p.ingest.poll_timeout()),
            Peer::Viewer(v) => v.control.poll_timeout(),
            Peer::Source(_) | Peer::Watcher(_) => None,
        };
        [
            (self.handshake.as_ref().map(|h| h.until), Reason::Handshake),
            (gone, Reason::Control),
            (control, Reason::Control),
            (media.map(|media| media.schedule.due()), Reason::Report),
            (media.and_then(|media| media.egress.rest()), Reason::Burst),
        ]
        .into_iter()
        .filter_map(|(at, reason)| at.map(|at| Deadline { at, reason }))
        .min_by_key(|d| d.at)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    slab: Slab<Session>,
    seats: Seats,
    /// The generation of the session that is made next.
    generation: u32,
}

impl Sessions {
    /// The id that the next session will have.
    pub(super) fn next_id(&self) -> Option<SessionId> {
        Some(SessionId {
            slot: u32::try_from(self.slab.vacant_key()).ok()?,
            generation: self.generation,
        })
    }

    /// Takes in the session that was made with [`next_id`](Self::next_id).
    pub(super) fn insert(&mut self, session: Session) {
        debug_assert_eq!(Some(session.id), self.next_id());
        self.slab.insert(session);
        self.generation = self.generation.wrapping_add(1);
    }

    pub(super) fn get(&self, id: SessionId) -> Option<&Session> {
        self.slab.get(id.index()).filter(|s| s.id == id)
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.slab.get_mut(id.index()).filter(|s| s.id == id)
    }

    /// What a connected viewer has.
    pub(super) fn media_mut(&mut self, id: SessionId) -> Option<&mut Media> {
        self.seats.get_mut(id)
    }

    /// A viewer is connected. Returns whether it was not before.
    pub(super) fn seat(&mut self, id: SessionId, media: Media) -> bool {
        let is_new = self.seats.get(id).is_none() && self.get(id).is_some();
        if is_new {
            self.seats.take(id, media);
        }
        is_new
    }

    /// When something of a session falls due next.
    pub(super) fn deadline(&self, id: SessionId) -> Option<Deadline> {
        self.get(id)?.deadline(self.seats.get(id))
    }

    /// The connected viewers.
    pub(super) fn viewers(&self) -> impl Iterator<Item = (&Session, &Media)> {
        self.slab
            .iter()
            .filter_map(|(_, session)| Some((session, self.seats.get(session.id)?)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.slab.iter().map(|(_, session)| session)
    }

    pub(super) fn publisher_mut(&mut self, id: SessionId) -> Option<&mut Publisher> {
        match &mut self.get_mut(id)?.peer {
            Peer::Publisher(publisher) => Some(publisher),
            _ => None,
        }
    }

    pub(super) fn source_mut(&mut self, id: SourceId) -> Option<&mut Source> {
        match &mut self.get_mut(id.0)?.peer {
            Peer::Source(source) => Some(source),
            _ => None,
        }
    }

    pub(super) fn watcher_mut(&mut self, id: WatcherId) -> Option<&mut Watcher> {
        match &mut self.get_mut(id.0)?.peer {
            Peer::Watcher(watcher) => Some(watcher),
            _ => None,
        }
    }

    /// The session in a slot, whatever its generation.
    pub(super) fn in_slot(&self, slot: u32) -> Option<SessionId> {
        self.slab.get(slot as usize).map(|s| s.id)
    }

    /// Ends a session, and gives what it had as a connected viewer.
    pub(super) fn remove(&mut self, id: SessionId) -> Option<(Session, Option<Media>)> {
        self.get(id)?;
        let media = self.seats.leave(id);
        Some((self.slab.try_remove(id.index())?, media))
    }

    pub(super) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Some sessions, at most `count`.
    pub(super) fn some(&self, count: usize) -> Vec<SessionId> {
        self.slab.iter().map(|(_, s)| s.id).take(count).collect()
    }

    /// Viewers of a path, connected or not and the program itself, at most `count`.
    pub(super) fn viewers_of(&self, path: PathId, count: usize) -> Vec<SessionId> {
        self.iter()
            .filter(|session| session.watches() == Some(path))
            .map(|session| session.id)
            .take(count)
            .collect()
    }
}
