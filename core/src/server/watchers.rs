//! The program itself watches paths: it reads the same histories as viewers do, through cursors of
//! its own. Nothing is queued and nothing is copied.

use std::time::Instant;

use crate::ids::WatcherId;
use crate::media::{Codec, MediaKind};
use crate::rtp::TrackPacket;
use crate::server::program::Ended;
use crate::server::sessions::{Peer, Watcher};
use crate::server::{Event, Server};
use crate::stats::EndReason;
use crate::stream::cursor::{Cursor, Mishaps};
use crate::stream::history::Entry;
use crate::stream::path::Path;

/// Why the program cannot watch. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// Nobody publishes there: wait for
    /// [`Event::PublisherJoined`](crate::server::Event::PublisherJoined).
    #[error("nobody publishes on the path")]
    NoStream,
    /// There are [`sessions_max`](crate::Config::sessions_max) sessions.
    #[error("there are {0} sessions, which is all that may be")]
    TooManySessions(usize),
    /// [`shut_down`](crate::Server::shut_down) was called.
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// One track of a path that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedTrack {
    /// What it carries: as announced, until a keyframe shows the real profile and level.
    pub codec: Codec,
    /// NTP time (RFC 5905 §6, 32.32 fixed point) and the track's RTP timestamp of the moment that was
    /// asked for, as sender reports to viewers say it (RFC 3550 §6.4.1): with that of the other track
    /// it gives lip sync. `None`: nothing has come.
    pub moment: Option<(u64, u32)>,
}

impl Server {
    /// Watches a path from within the program. Packets come by [`poll_packet`](Self::poll_packet).
    ///
    /// All is as with a WHEP viewer. Video begins with the first packet of a keyframe, which is asked
    /// for if there is no fresh one; what the publisher sends comes in the order in which it arrived;
    /// when another publisher takes over, numbers and timestamps go on. The watcher keeps the path, is
    /// counted as a viewer and told of by [`Event::ViewerJoined`] and [`Event::ViewerLeft`]. It ends
    /// with the path, or when its codecs change to what a player of the old ones could not play.
    ///
    /// Bounded work.
    ///
    /// # Errors
    /// A [`WatchError`] says what is in the way.
    pub fn watch(&mut self, now: Instant, path: &str) -> Result<WatcherId, WatchError> {
        if self.shutting_down.is_some() {
            return Err(WatchError::ShuttingDown);
        }
        let live = self.paths.live(path).ok_or(WatchError::NoStream)?;
        let path_id = live.id;
        let watcher = Watcher {
            path: path_id,
            video: Cursor::new(now),
            audio: Cursor::new(now),
        };
        let full = WatchError::TooManySessions(self.config.sessions_max);
        let id = self.settle_own(now, path, Peer::Watcher(Box::new(watcher)));
        let watcher = WatcherId(id.ok_or(full)?);
        if let Some(path) = self.paths.get_mut(path_id) {
            path.watchers.admit(watcher.0);
            if path.watchers.enqueue() {
                self.watched.push_back(path_id);
            }
        }
        let session = self.watcher_session(watcher).unwrap_or_default().to_owned();
        tracing::info!("{path}: {session} watches (this program)");
        self.tell(Event::ViewerJoined {
            path: path.to_owned(),
            session,
        });
        Ok(watcher)
    }

    /// A watcher for which packets may have come since it was told last, each once: to be called until
    /// `None` after a batch of input. Whoever does not want its packets yet leaves them where they are:
    /// it is told again when there are more.
    ///
    /// Bounded work. It costs nothing where nothing has come, and packets of paths that nobody here
    /// watches cost nothing more for it.
    pub fn poll_watcher(&mut self) -> Option<WatcherId> {
        loop {
            let path_id = self.watched.pop_front()?;
            let Some(path) = self.paths.get_mut(path_id) else {
                continue;
            };
            path.watchers.on_dequeued();
            let Some(id) = path.watchers.turn() else {
                continue;
            };
            path.watchers.done();
            if path.watchers.enqueue() {
                self.watched.push_back(path_id);
            }
            return Some(WatcherId(id));
        }
    }

    /// The next packet of a watcher. To be called until `Ok(None)`, or for as long as there is room
    /// for packets: they stay in the path's history as long as that holds them. A watcher that comes
    /// later goes on with the next keyframe, as viewers do, and is counted as
    /// [`fell_off`](crate::stats::Counters::fell_off).
    ///
    /// Bounded work: no more than the history holds is looked through.
    ///
    /// # Errors
    /// The watcher has ended. What it had not read is gone.
    pub fn poll_packet(
        &mut self,
        now: Instant,
        watcher: WatcherId,
    ) -> Result<Option<TrackPacket>, Ended> {
        let Some(own) = self.sessions.watcher_mut(watcher) else {
            return Err(self.ended(watcher.0));
        };
        let mut mishaps = Mishaps::default();
        let path = self.paths.get(own.path);
        let packet = path.and_then(|path| own.next(now, path, &mut mishaps));
        self.counters.packets_watched += u64::from(packet.is_some());
        self.counters.fell_off += mishaps.fell_off;
        if mishaps.wants_keyframe {
            self.want_keyframe(now, watcher.0);
        }
        Ok(packet)
    }

    /// Asks the publisher of a watched path for a keyframe, as a viewer does whose decoder has lost its
    /// picture: to begin a file, or because whoever the packets are passed on to wants one. Requests
    /// of all viewers are merged into one in 500 ms at most.
    ///
    /// # Errors
    /// The watcher has ended.
    pub fn request_keyframe(&mut self, now: Instant, watcher: WatcherId) -> Result<(), Ended> {
        if self.sessions.watcher_mut(watcher).is_none() {
            return Err(self.ended(watcher.0));
        }
        self.want_keyframe(now, watcher.0);
        Ok(())
    }

    /// The tracks of the path that a watcher watches, video first, with what their timestamps mean
    /// at `now`.
    ///
    /// # Errors
    /// The watcher has ended.
    pub fn watched_tracks(
        &self,
        now: Instant,
        watcher: WatcherId,
    ) -> Result<Vec<WatchedTrack>, Ended> {
        let path = self
            .sessions
            .get(watcher.0)
            .and_then(|session| self.paths.get(session.watches()?));
        let path = path.ok_or_else(|| self.ended(watcher.0))?;
        let tracks = path.tracks().map(|track| WatchedTrack {
            codec: track.codec().clone(),
            moment: path.moment(now, self.clock.ntp(now), track.codec().kind()),
        });
        Ok(tracks.collect())
    }

    /// Ends a watcher, as when a viewer says goodbye. Nothing happens if it has ended.
    pub fn unwatch(&mut self, now: Instant, watcher: WatcherId) {
        if self.sessions.watcher_mut(watcher).is_some() {
            self.retire(now, watcher.0, &EndReason::PeerClosed);
        }
    }

    /// The public id of a watcher's session, as events and lists have it. `None`: it has ended.
    #[must_use]
    pub fn watcher_session(&self, watcher: WatcherId) -> Option<&str> {
        let session = self.sessions.get(watcher.0)?;
        matches!(session.peer, Peer::Watcher(_)).then_some(&session.uuid)
    }
}

impl Watcher {
    /// Of the next packets of both tracks the one that arrived first.
    fn next(&mut self, now: Instant, path: &Path, mishaps: &mut Mishaps) -> Option<TrackPacket> {
        let mut peek = |cursor: &mut Cursor, kind| cursor.peek(now, path.track(kind)?, mishaps);
        let video = peek(&mut self.video, MediaKind::Video);
        let audio = peek(&mut self.audio, MediaKind::Audio);
        let audio_is_first = match (video, audio) {
            (Some(video), Some(audio)) => audio.arrived < video.arrived,
            (video, _) => video.is_none(),
        };
        let (cursor, kind, entry) = if audio_is_first {
            (&mut self.audio, MediaKind::Audio, audio?)
        } else {
            (&mut self.video, MediaKind::Video, video?)
        };
        cursor.advance();
        Some(packet(kind, entry))
    }
}

fn packet(kind: MediaKind, entry: &Entry) -> TrackPacket {
    TrackPacket {
        kind,
        sequence: entry.sequence,
        timestamp: entry.timestamp,
        marker: entry.marker,
        arrived: entry.arrived,
        payload: entry.payload.clone(),
    }
}
