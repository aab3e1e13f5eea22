//! What a session whose ICE and DTLS are under way has been offered, and what has come of it: so
//! that a failure can be explained.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::stats::{Reached, Unfinished};

/// A handshake that takes longer than this has something wrong with it. Most take less than half a
/// second; a lost flight costs one more.
const LONG: Duration = Duration::from_secs(3);

/// See the module.
#[derive(Debug)]
pub(super) struct Handshake {
    began: Instant,
    /// Until when it must be done.
    pub(super) until: Instant,
    /// The candidates of the answer.
    offered: Arc<[SocketAddr]>,
    /// Who sent the last binding request that did not verify.
    unproven: Option<SocketAddr>,
    /// Who sent the last that did.
    checked: Option<SocketAddr>,
    nominated: bool,
    /// DTLS datagrams that came.
    datagrams: u32,
}

impl Handshake {
    pub(super) fn new(now: Instant, time: Duration, offered: Arc<[SocketAddr]>) -> Self {
        Self {
            began: now,
            until: now + time,
            offered,
            unproven: None,
            checked: None,
            nominated: false,
            datagrams: 0,
        }
    }

    pub(super) fn on_unproven(&mut self, from: SocketAddr) {
        self.unproven = Some(from);
    }

    pub(super) fn on_check(&mut self, from: SocketAddr, nominates: bool) {
        self.checked = Some(from);
        self.nominated |= nominates;
    }

    pub(super) fn on_dtls(&mut self) {
        self.datagrams = self.datagrams.saturating_add(1);
    }

    /// Whether it takes longer than one does to which nothing happened.
    pub(super) fn is_long(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= LONG
    }

    /// How far it came.
    pub(super) fn unfinished(&self) -> Unfinished {
        let reached = match (self.checked, self.unproven) {
            (Some(from), _) if self.datagrams > 0 => Reached::Dtls {
                from,
                datagrams: self.datagrams,
            },
            (Some(from), _) if self.nominated => Reached::Ice { from },
            (Some(from), _) => Reached::Checks { from },
            (None, Some(from)) => Reached::Unproven { from },
            (None, None) => Reached::Nothing,
        };
        Unfinished {
            offered: self.offered.to_vec(),
            reached,
        }
    }
}
