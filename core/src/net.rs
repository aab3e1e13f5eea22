//! Datagrams in, datagrams out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::ids::TransportId;

/// A UDP datagram as the driver received it. One that the kernel coalesced (GRO) is split first.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// The socket it came in by.
    pub transport: TransportId,
    /// The address it was sent to (`IP_PKTINFO`). Answers leave from here. Where the system does
    /// not tell, the address the socket is bound to.
    pub local: SocketAddr,
    /// The address it came from. IPv4-mapped IPv6 addresses are taken for what they map.
    pub remote: SocketAddr,
    /// The UDP payload.
    pub contents: &'a [u8],
}

/// What [`poll_transmit`](crate::Server::poll_transmit) wrote into the driver's buffer: one
/// datagram, or a *train* of equal-sized ones to one destination (UDP GSO).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmit {
    /// The local address to send from. Its IP is unspecified where the system is to choose.
    pub source: SocketAddr,
    /// Where to. IPv4 destinations are plain IPv4 addresses, also on a dual-stack socket.
    pub destination: SocketAddr,
    /// How many bytes of the buffer are to be sent.
    pub size: usize,
    /// `Some(n)`: the bytes are several datagrams of `n` bytes each, of which the last may be
    /// shorter. `None`: one datagram.
    pub segment_size: Option<usize>,
}

/// The buffer size with which [`poll_transmit`](crate::Server::poll_transmit) never has to cut a
/// train: the largest UDP payload.
pub const TRANSMIT_BUFFER_LEN: usize = 65_507;

/// An address of this machine, as the driver's interface provider found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The system's name for it, `eth0` say.
    pub name: String,
    /// One address. An interface with several addresses is listed several times.
    pub address: IpAddr,
}

/// What a datagram is by its first byte (RFC 7983 §7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Stun,
    Dtls,
    /// RTP or RTCP.
    Media,
}

impl Kind {
    pub(crate) fn of(contents: &[u8]) -> Option<Self> {
        match contents.first()? {
            0..=3 => Some(Self::Stun),
            20..=63 => Some(Self::Dtls),
            128..=191 => Some(Self::Media),
            _ => None,
        }
    }
}

/// An address in its one form: IPv4-mapped IPv6 is IPv4, and what only matters on this link
/// (flow information, scope) is gone from global addresses.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => match v6.ip().to_canonical() {
            IpAddr::V4(ip) => SocketAddr::new(IpAddr::V4(ip), v6.port()),
            IpAddr::V6(ip) if ip.is_unicast_link_local() => address,
            IpAddr::V6(ip) => SocketAddr::new(IpAddr::V6(ip), v6.port()),
        },
    }
}

/// A way to a peer: what to send by, from and to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) transport: TransportId,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

impl Route {
    pub(crate) fn of(datagram: &Datagram<'_>) -> Self {
        Self {
            transport: datagram.transport,
            local: canonical(datagram.local),
            remote: canonical(datagram.remote),
        }
    }
}

/// The ways to one peer that have carried something, newest last.
///
/// ICE is told of one synthetic local candidate, whatever address of ours a datagram came to: so
/// it never has to know our interfaces. What it sends is turned back here, into an answer from the
/// address that was asked.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    routes: heapless::Vec<Route, 8>,
    /// How many there ever were.
    heard: u8,
}

/// How many addresses a peer may show up from in its life. ICE remembers each.
const HEARD_MAX: u8 = 64;

impl Routes {
    /// Whether a datagram may have come this way: known, or there is room for another.
    pub(crate) fn admits(&self, remote: SocketAddr) -> bool {
        self.heard < HEARD_MAX || self.to(remote).is_some()
    }

    /// Remembers how a datagram came. Where there are too many ways, the one that carried nothing
    /// for longest is forgotten, and returned.
    pub(crate) fn note(&mut self, route: Route) -> Option<Route> {
        let same = |r: &Route| (r.transport, r.remote) == (route.transport, route.remote);
        let forgotten = match self.routes.iter().position(same) {
            Some(known) => {
                self.routes.remove(known);
                None
            }
            None => {
                self.heard = self.heard.saturating_add(1);
                self.routes.is_full().then(|| self.routes.remove(0))
            }
        };
        let _ = self.routes.push(route);
        forgotten
    }

    /// The way to an address that carried something last.
    pub(crate) fn to(&self, remote: SocketAddr) -> Option<Route> {
        self.routes.iter().rfind(|r| r.remote == remote).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Route> + '_ {
        self.routes.iter().copied()
    }
}

/// The synthetic local address that ICE is told of, in the family of `remote`. From the ranges
/// for documentation (RFC 5737, RFC 3849): it never stands in a packet.
pub(crate) fn synthetic_local(remote: SocketAddr) -> SocketAddr {
    let ip = match remote {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    };
    SocketAddr::new(ip, 9)
}

/// Which of the two synthetic addresses ICE has been told of.
#[derive(Debug, Default)]
pub(crate) struct Introduced {
    v4: bool,
    v6: bool,
}

impl Introduced {
    /// Whether this one has to be told now: it is the first of its family.
    pub(crate) fn is_first(&mut self, local: SocketAddr) -> bool {
        let known = if local.is_ipv4() {
            &mut self.v4
        } else {
            &mut self.v6
        };
        !std::mem::replace(known, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(remote: &str, local: &str) -> Route {
        Route {
            transport: TransportId(0),
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        }
    }

    #[test]
    fn a_mapped_address_is_the_one_it_maps() {
        assert_eq!(
            canonical("[::ffff:10.0.0.1]:5".parse().unwrap()),
            "10.0.0.1:5".parse().unwrap()
        );
        assert_eq!(
            canonical("[2001:db8::2]:5".parse().unwrap()),
            "[2001:db8::2]:5".parse().unwrap()
        );
    }

    #[test]
    fn answers_leave_from_the_address_that_was_asked_last() {
        let mut routes = Routes::default();
        routes.note(route("10.0.0.9:1", "10.0.0.1:2"));
        routes.note(route("10.0.0.9:1", "10.0.0.2:2"));
        let back = routes.to("10.0.0.9:1".parse().unwrap()).unwrap();
        assert_eq!(back.local, "10.0.0.2:2".parse().unwrap());
    }

    #[test]
    fn a_peer_of_many_addresses_takes_bounded_room() {
        let mut routes = Routes::default();
        let mut forgotten = 0;
        for port in 1..1000 {
            let route = route(&format!("10.0.0.9:{port}"), "10.0.0.1:2");
            if routes.admits(route.remote) {
                forgotten += usize::from(routes.note(route).is_some());
            }
        }
        assert_eq!(routes.iter().count(), 8);
        assert_eq!(forgotten, usize::from(HEARD_MAX) - 8);
        assert!(routes.to("10.0.0.9:64".parse().unwrap()).is_some());
        assert!(routes.to("10.0.0.9:1".parse().unwrap()).is_none());
    }

    #[test]
    fn the_first_byte_tells_what_it_is() {
        assert_eq!(Kind::of(&[0, 1]), Some(Kind::Stun));
        assert_eq!(Kind::of(&[22]), Some(Kind::Dtls));
        assert_eq!(Kind::of(&[0x80]), Some(Kind::Media));
        assert_eq!(Kind::of(&[]), None);
        assert_eq!(Kind::of(&[200]), None);
        assert_eq!(Kind::of(&[70]), None);
    }
}
