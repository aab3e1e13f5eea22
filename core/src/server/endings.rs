//! Why sessions ended, for clients that ask for one that has.
//!
//! Bounded: the newest are remembered, in place of the oldest.

use std::collections::VecDeque;

use crate::ids;
use crate::stats::EndReason;

/// How many are remembered. Who asks does so within seconds.
const ENDINGS_MAX: usize = 256;

/// See the module.
#[derive(Debug)]
pub(super) struct Endings {
    /// By the last part of the session's URL, which only its client knows.
    newest_last: VecDeque<(String, EndReason)>,
}

impl Default for Endings {
    fn default() -> Self {
        Self {
            newest_last: VecDeque::with_capacity(ENDINGS_MAX),
        }
    }
}

impl Endings {
    pub(super) fn note(&mut self, resource: String, reason: EndReason) {
        if self.newest_last.len() >= ENDINGS_MAX {
            self.newest_last.pop_front();
        }
        self.newest_last.push_back((resource, reason));
    }

    pub(super) fn reason(&self, secret: &str) -> Option<&EndReason> {
        self.newest_last
            .iter()
            .rev()
            .find(|(resource, _)| ids::same_secret(resource, secret))
            .map(|(_, reason)| reason)
    }
}
