//! The program itself in the place of a peer: what its sources and its watchers have in common.
//!
//! They are sessions like all others, without a handshake: limits, events, lists and ends are what they
//! are for everybody.

use std::fmt;
use std::time::Instant;

use crate::ids::{self, SessionId};
use crate::net::Routes;
use crate::server::Server;
use crate::server::sessions::{Peer, Session};
use crate::stats::EndReason;

/// A source or a watcher has ended, and its id stands for nothing any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Why. The reasons of the last 256 sessions that ended are known.
    pub reason: Option<EndReason>,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            Some(reason) => write!(f, "it has ended: {reason}"),
            None => f.write_str("it ended a while ago"),
        }
    }
}

impl std::error::Error for Ended {}

impl Server {
    /// Takes in a session of the program itself. `None`: there is no room.
    pub(super) fn settle_own(&mut self, now: Instant, path: &str, peer: Peer) -> Option<SessionId> {
        let id = self.room()?;
        self.sessions.insert(Session {
            id,
            uuid: ids::uuid(&mut self.rng),
            resource: ids::resource(id, &mut self.rng),
            path_name: path.to_owned(),
            since: now,
            handshake: None,
            by_selected: false,
            last_heard: None,
            routes: Routes::default(),
            peer,
        });
        Some(id)
    }

    /// What is said of an id that stands for nothing.
    pub(super) fn ended(&self, id: SessionId) -> Ended {
        Ended {
            reason: self.endings.reason_of(id).cloned(),
        }
    }
}
