//! What one transport is to send: answers that are made, and notes of who has something to seal.

use std::collections::VecDeque;

use crate::ids::{PathId, SessionId};
use crate::net::Route;

/// Answers of ICE and DTLS that may wait for a full socket. All come again if lost.
const ANSWERS_MAX: usize = 8192;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    answers: VecDeque<(Route, Vec<u8>)>,
    /// Paths whose audience on this transport is due.
    pub(super) paths: VecDeque<PathId>,
    /// Viewers that are to be sent something again.
    pub(super) repairs: VecDeque<SessionId>,
    /// What comes first when something is to be sealed.
    pub(super) turn: Turn,
    /// Viewers who are to be sent something before it is their path's turn: reports, and what a burst
    /// has left.
    pub(super) alone: VecDeque<SessionId>,
}

/// What is sealed, in turn.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Turn {
    #[default]
    Repairs,
    Trains,
    Alone,
}

impl Turn {
    pub(super) fn next(self) -> Self {
        match self {
            Self::Repairs => Self::Trains,
            Self::Trains => Self::Alone,
            Self::Alone => Self::Repairs,
        }
    }
}

impl Outbox {
    /// Puts in an answer. Returns whether an older one had to go for it.
    pub(super) fn answer(&mut self, route: Route, contents: Vec<u8>) -> bool {
        let is_full = self.answers.len() >= ANSWERS_MAX;
        if is_full {
            self.answers.pop_front();
        }
        self.answers.push_back((route, contents));
        is_full
    }

    pub(super) fn next_answer(&mut self) -> Option<(Route, Vec<u8>)> {
        self.answers.pop_front()
    }
}
