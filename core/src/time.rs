//! Deadlines.

use std::time::Instant;

/// When [`handle_timeout`](crate::Server::handle_timeout) must be called, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// May lie in the past: then call at once, after other input had its turn.
    pub at: Instant,
    /// What falls due, for logs and tests.
    pub reason: Reason,
}

/// What falls due at a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A session that must have finished ICE and DTLS by then.
    Handshake,
    /// A timer of ICE, DTLS or str0m.
    Control,
    /// Sender reports to a viewer.
    Report,
    /// A path whose publisher did not come back.
    Grace,
    /// A keyframe request that was held back.
    Keyframe,
}
