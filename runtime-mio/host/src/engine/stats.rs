//! What a driver can tell of itself.

use std::net::SocketAddr;

use hyper::rt::{Read, Write};
use kvill_core::stats::{Snapshot, ViewerStats};
use tracing::info;

use super::Engine;
use crate::http::Watch;
use crate::interfaces::InterfaceCounters;
use crate::udp::Counters;

/// A snapshot of a driver's state, made when asked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stats {
    /// The core's: paths, sessions, totals.
    pub core: Snapshot,
    /// How connected viewers receive, as they say themselves.
    pub viewers: Vec<ViewerStats>,
    /// HTTP requests that were refused without asking the core.
    pub http_refused: u64,
    /// The UDP sockets.
    pub transports: Vec<TransportStats>,
    /// How often the system was asked for its addresses, and why.
    pub interfaces: InterfaceCounters,
    /// The loop's totals.
    pub turns: LoopCounters,
}

/// One UDP socket.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct TransportStats {
    /// The address it is bound to.
    pub local: SocketAddr,
    /// Its totals.
    pub counters: Counters,
}

/// Totals of a loop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoopCounters {
    /// Turns made: under load, one sleep may be followed by several.
    pub turns: u64,
    /// Turns that the loop had to be woken for.
    pub wakeups: u64,
    /// Of these, the ones that found nothing: no datagram, no HTTP, no command, nothing to send,
    /// and no due deadline.
    pub empty_wakeups: u64,
}

impl<S: Read + Write + Unpin + 'static, W: Watch> Engine<S, W> {
    pub(super) fn stats(&self) -> Stats {
        let transports = self.transports.iter();
        Stats {
            core: self.server.stats(),
            viewers: self.server.viewer_stats(),
            http_refused: self.http.refused(),
            transports: transports
                .map(|transport| TransportStats {
                    local: transport.local_address(),
                    counters: transport.counters(),
                })
                .collect(),
            interfaces: self.interfaces.counters(),
            turns: self.counters,
        }
    }

    /// Logs all totals, for the end.
    pub fn log_totals(&self) {
        for transport in &self.transports {
            let counters = transport.counters();
            info!(
                local = %transport.local_address(),
                sends = counters.sends,
                datagrams = counters.datagrams,
                too_large = counters.too_large,
                failed = counters.failed,
                trains_split = counters.trains_split,
                full = counters.full,
                "UDP totals"
            );
        }
        let core = self.server.stats().counters;
        let refused = core.refused + self.http.refused();
        info!(refused, "HTTP totals");
        info!("core totals {core}");
        let interfaces = self.interfaces.counters();
        info!(
            asked = interfaces.asked,
            failed = interfaces.failed,
            served = interfaces.served,
            ended_by_notice = interfaces.ended_by_notice,
            ended_by_failed_send = interfaces.ended_by_failed_send,
            "interface totals"
        );
        let LoopCounters {
            turns,
            wakeups,
            empty_wakeups,
        } = self.counters;
        info!(turns, wakeups, empty_wakeups, "loop totals");
    }
}
