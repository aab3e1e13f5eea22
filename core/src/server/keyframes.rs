//! Keyframes are asked for: of a publisher by RTCP, of the program itself by an event. When is for
//! [`KeyframeRequests`](crate::stream::keyframes::KeyframeRequests) to say.

use std::time::Instant;

use crate::ids::{PathId, SessionId, SourceId};
use crate::server::sessions::{Peer, Session};
use crate::server::{Event, Server};

impl Server {
    /// A viewer needs a keyframe of its path.
    pub(super) fn want_keyframe(&mut self, now: Instant, viewer: SessionId) {
        if let Some(path_id) = self.sessions.get(viewer).and_then(Session::watches) {
            self.want_keyframe_of(now, path_id);
        }
    }

    /// Somebody needs a keyframe of this path.
    pub(super) fn want_keyframe_of(&mut self, now: Instant, path_id: PathId) {
        if let Some(path) = self.paths.get_mut(path_id) {
            path.keyframes.want(now);
        }
        self.pass_on_keyframe_request(now, path_id);
    }

    /// Sends a request upstream if one is due, and notes when the next is.
    pub(super) fn pass_on_keyframe_request(&mut self, now: Instant, path_id: PathId) {
        let Some(path) = self.paths.get_mut(path_id) else {
            return;
        };
        let publisher = path.publisher;
        if let Some(id) = publisher.filter(|_| path.keyframes.take(now))
            && let Some(session) = self.sessions.get_mut(id)
        {
            self.counters.keyframe_requests += 1;
            match &mut session.peer {
                Peer::Publisher(publisher) => {
                    publisher.ingest.request_keyframe();
                    self.drive(now, id);
                }
                _ => {
                    let (path, source) = (session.path_name.clone(), SourceId(id));
                    self.tell(Event::KeyframeWanted { path, source });
                }
            }
        }
        self.schedule_path(path_id);
    }
}
