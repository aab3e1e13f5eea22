//! The addresses of this machine, and when they changed.
//!
//! Asking the system walks all its interfaces, which is far too much for every offer, and a list
//! that is kept may be out of date. So it is kept for a while ([`InterfaceSettings::ttl`]), and
//! ended at once by a notice of the system, or by a datagram that could not be sent for want of its
//! source address. What is offered is then made anew once for a change, not once for an offer.
//!
//! Notices are Linux's (netlink). Elsewhere there are none, and a change of network counts within
//! the TTL, or as soon as a send fails. The code for Windows and macOS is if-addrs'; it was not
//! compiled there.
//!
//! **What is listed**: addresses of interfaces that are wanted, and up as the system has it: Linux
//! says so up to a second after a link came up, and gives notice then. IPv6 link-local ones are left
//! out: they are of no use without a zone, and browsers offer none. IPv4 link-local ones
//! (169.254.0.0/16) are left out as long as there is any other than loopback: without one, two
//! machines on a cable still meet. Loopback is listed, and the core decides: it is offered to clients
//! on this machine, and to others where there is nothing else.
//!
//! **IPv6 addresses that are new** are listed at once, though the system takes nothing to them for
//! the second or so in which it asks its neighbours for a duplicate (RFC 4862 §5.4): if-addrs does not
//! tell them from others. An offer of that second is answered with an address that is about to work:
//! ICE repeats its checks for longer than that. When the duplicate detection ends there is another
//! notice, so an address that was given up then leaves the list. One that was set by hand and turned
//! out to be another machine's stays with Linux, and in the list: it is a candidate among others,
//! which fails. On Windows if-addrs leaves both kinds out.

mod cache;
mod notices;
mod read;
#[cfg(all(test, target_os = "linux"))]
mod tests;
mod wanted;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use kvill_core::net::Interface;

pub use cache::{InterfaceCache, InterfaceCounters};
pub use notices::NoticeSocket;
pub use read::read_interfaces;
pub use wanted::Wanted;

/// How long an interface list is trusted by default. Shorter notices a new address sooner where the
/// system gives no notice; longer saves system calls when many viewers join at once.
pub const INTERFACE_TTL: Duration = Duration::from_secs(30);

/// What an [`InterfaceProvider`] is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceSettings {
    /// The interfaces whose addresses are offered.
    pub wanted: Wanted,
    /// How long a list is trusted if nothing ends it. Zero asks the system for every request.
    pub ttl: Duration,
}

impl Default for InterfaceSettings {
    /// All interfaces, and [`INTERFACE_TTL`].
    fn default() -> Self {
        Self {
            wanted: Wanted::All,
            ttl: INTERFACE_TTL,
        }
    }
}

/// Tells a driver the addresses of its machine. One for all sessions.
///
/// A driver calls [`refresh`](Self::refresh) before it hands a request to the core, and gives the
/// core what came of it. It watches [`notices`](Self::notices), where there is one, and calls
/// [`handle_notices`](Self::handle_notices) before the requests of the same turn.
#[derive(Debug)]
pub struct InterfaceProvider {
    wanted: Wanted,
    cache: InterfaceCache,
    notices: Option<NoticeSocket>,
}

impl InterfaceProvider {
    /// Opens the socket for notices, and asks nothing yet. Where it cannot be opened, that is logged
    /// as a WARN, and the TTL alone holds.
    #[must_use]
    pub fn new(settings: InterfaceSettings) -> Self {
        let InterfaceSettings { wanted, ttl } = settings;
        // What is not kept needs no notice.
        let is_kept = !wanted.is_none() && !ttl.is_zero();
        Self {
            notices: is_kept.then(|| NoticeSocket::open(ttl)).flatten(),
            cache: InterfaceCache::new(ttl),
            wanted,
        }
    }

    /// The list, if it changed since the last call; at first, if there is any address. Asks the
    /// system if the list is out of date, and blocks for that (60 µs with three addresses, 1.7 ms
    /// with two hundred, measured on Linux 6.18). If that fails the old list stays, and the system is
    /// asked again after a second.
    pub fn refresh(&mut self, now: Instant) -> Option<&[Interface]> {
        self.cache.refresh(now, &self.wanted, read_interfaces)
    }

    /// The list as of the last [`refresh`](Self::refresh), sorted by name and address.
    #[must_use]
    pub fn list(&self) -> &[Interface] {
        self.cache.list()
    }

    /// What becomes readable when this machine's addresses or links change. `None` where the system
    /// has no such thing, and where nothing is kept that a notice could end.
    #[must_use]
    pub fn notices(&self) -> Option<&NoticeSocket> {
        self.notices.as_ref()
    }

    /// To be called when [`notices`](Self::notices) is readable. Reads it until it is empty, so that
    /// edge-triggered readiness does. Returns whether there was a notice of addresses or links: the
    /// next [`refresh`](Self::refresh) then asks the system.
    ///
    /// Never blocks, and without a notice it is one system call: a driver that has no way to watch a
    /// descriptor calls it before every `refresh` instead.
    ///
    /// Bounded work: at most as many reads as the system holds notices.
    pub fn handle_notices(&mut self) -> bool {
        let noticed = self.notices.as_ref().is_some_and(NoticeSocket::drain);
        if noticed {
            self.cache.on_notice();
        }
        noticed
    }

    /// A datagram could not be sent for want of its source address (see
    /// [`take_lost_address`](crate::udp::UdpSocket::take_lost_address)). If the list still has that
    /// address, the next [`refresh`](Self::refresh) asks the system.
    pub fn on_send_failed(&mut self, source: IpAddr) {
        self.cache.on_send_failed(source);
    }

    /// How often the system was asked, and why.
    #[must_use]
    pub fn counters(&self) -> InterfaceCounters {
        self.cache.counters()
    }
}
