//! Why sessions ended, for clients that ask for one that has, and for the program itself.
//!
//! Bounded: the newest are remembered, in place of the oldest.

use std::collections::VecDeque;

use crate::ids::{self, SessionId};
use crate::stats::EndReason;

/// How many are remembered. Who asks does so within seconds.
const ENDINGS_MAX: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Endings {
    newest_last: VecDeque<Ending>,
}

#[derive(Debug)]
struct Ending {
    id: SessionId,
    /// The last part of the session's URL, which only its client knows.
    resource: String,
    reason: EndReason,
}

impl Default for Endings {
    fn default() -> Self {
        Self {
            newest_last: VecDeque::with_capacity(ENDINGS_MAX),
        }
    }
}

impl Endings {
    pub(super) fn note(&mut self, id: SessionId, resource: String, reason: EndReason) {
        if self.newest_last.len() >= ENDINGS_MAX {
            self.newest_last.pop_front();
        }
        self.newest_last.push_back(Ending {
            id,
            resource,
            reason,
        });
    }

    pub(super) fn reason_of(&self, id: SessionId) -> Option<&EndReason> {
        let mut newest_first = self.newest_last.iter().rev();
        let ending = newest_first.find(|ending| ending.id == id);
        ending.map(|ending| &ending.reason)
    }

    pub(super) fn reason(&self, secret: &str) -> Option<&EndReason> {
        self.newest_last
            .iter()
            .rev()
            .find(|ending| ids::same_secret(&ending.resource, secret))
            .map(|ending| &ending.reason)
    }
}
