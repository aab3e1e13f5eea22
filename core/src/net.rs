//! Datagrams in, datagrams out.

use std::net::{IpAddr, SocketAddr};

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

impl Transmit {
    /// The datagrams one by one, for a socket without UDP GSO. `buffer` is that which
    /// [`poll_transmit`](crate::Server::poll_transmit) wrote into.
    pub fn datagrams<'a>(&self, buffer: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let train = buffer.get(..self.size).unwrap_or_default();
        train.chunks(self.segment_size.unwrap_or(self.size).max(1))
    }
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

    /// Whether it is the same way to the peer, whichever address of ours it asked.
    pub(crate) fn is_way_of(self, other: Self) -> bool {
        (self.transport, self.remote) == (other.transport, other.remote)
    }
}

/// The ways to one peer that have carried something, newest last.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    routes: heapless::Vec<Route, 8>,
}

impl Routes {
    /// Remembers how a datagram came. Where there are too many ways, the one that carried nothing
    /// for longest is forgotten, and returned; never the one that is `selected`.
    pub(crate) fn note(&mut self, route: Route, selected: Option<Route>) -> Option<Route> {
        let known = self.routes.iter().position(|r| r.is_way_of(route));
        let forgotten = match known {
            Some(known) => {
                self.routes.remove(known);
                None
            }
            None if self.routes.is_full() => {
                let is_selected = |r: &Route| selected.is_some_and(|s| r.is_way_of(s));
                let oldest = self.routes.iter().position(|r| !is_selected(r));
                Some(self.routes.remove(oldest.unwrap_or(0)))
            }
            None => None,
        };
        let _ = self.routes.push(route);
        forgotten
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Route> + '_ {
        self.routes.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(port: u16) -> Route {
        Route {
            transport: TransportId(0),
            local: ([10, 0, 0, 1], 2).into(),
            remote: ([10, 0, 0, 9], port).into(),
        }
    }

    #[test]
    fn a_train_is_its_datagrams_of_which_the_last_may_be_shorter() {
        let train = |size, segment_size| Transmit {
            source: ([10, 0, 0, 1], 2).into(),
            destination: ([10, 0, 0, 9], 2).into(),
            size,
            segment_size,
        };
        let lens =
            |train: Transmit| -> Vec<_> { train.datagrams(&[7; 20]).map(<[u8]>::len).collect() };
        assert_eq!(lens(train(20, None)), [20]);
        assert_eq!(lens(train(19, Some(8))), [8, 8, 3]);
        assert_eq!(lens(train(16, Some(8))), [8, 8]);
        assert_eq!(lens(train(0, None)), [0; 0]);
    }

    #[test]
    fn a_mapped_address_is_the_one_it_maps() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (given, one) in [
            ("[::ffff:10.0.0.1]:5", "10.0.0.1:5"),
            ("[2001:db8::2]:5", "[2001:db8::2]:5"),
        ] {
            assert_eq!(canonical(address(given)), address(one));
        }
    }

    #[test]
    fn a_peer_of_many_addresses_takes_bounded_room() {
        let mut routes = Routes::default();
        let forgotten = (1..1000)
            .filter_map(|port| routes.note(route(port), None))
            .count();
        assert_eq!((routes.iter().count(), forgotten), (8, 991));
        for port in 2000..3000 {
            routes.note(route(port), Some(route(999)));
        }
        assert!(routes.iter().any(|r| r == route(999)));
        assert!(!routes.iter().any(|r| r == route(2000)));
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

    fn any_address() -> impl Strategy<Value = SocketAddr> {
        let v6 = (any::<[u16; 8]>(), any::<u16>(), any::<u32>(), any::<u32>());
        let v6 = v6.prop_map(|(ip, port, flow, scope)| {
            std::net::SocketAddrV6::new(ip.into(), port, flow, scope).into()
        });
        let mapped = (any::<[u8; 4]>(), any::<u16>()).prop_map(|([a, b, c, d], port)| {
            let ip = std::net::Ipv4Addr::new(a, b, c, d).to_ipv6_mapped();
            SocketAddr::from((ip, port))
        });
        let local = any::<[u16; 4]>().prop_map(|[a, b, port, scope]| {
            let ip = [0xfe80, 0, 0, 0, 0, 0, a, b].into();
            std::net::SocketAddrV6::new(ip, port, 7, u32::from(scope)).into()
        });
        let v4 = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
        prop_oneof![v4, v6, mapped, local]
    }

    proptest! {
        #[test]
        fn every_first_byte_is_one_of_rfc_7983(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let kind = match bytes.first() {
                Some(first) if *first < 4 => Some(Kind::Stun),
                Some(first) if *first > 19 && *first < 64 => Some(Kind::Dtls),
                Some(first) if *first > 127 && *first < 192 => Some(Kind::Media),
                _ => None,
            };
            prop_assert_eq!(Kind::of(&bytes), kind);
        }

        #[test]
        fn an_address_has_one_form(address in any_address()) {
            let one = canonical(address);
            prop_assert_eq!(canonical(one), one);
            prop_assert_eq!(one.port(), address.port());
            prop_assert_eq!(one.ip(), address.ip().to_canonical());
            if let SocketAddr::V6(v6) = one
                && !v6.ip().is_unicast_link_local()
            {
                prop_assert_eq!((v6.flowinfo(), v6.scope_id()), (0, 0));
            }
        }

        #[test]
        fn the_newest_ways_are_kept_and_the_selected_one(
            ports in prop::collection::vec((1_u16..20, any::<bool>()), 1..200),
        ) {
            let mut routes = Routes::default();
            // Newest last, without a bound.
            let mut model: Vec<Route> = Vec::new();
            let mut selected = None;
            for (port, selects) in ports {
                model.retain(|known| *known != route(port));
                let forgotten = if model.len() == 8 {
                    let oldest = model.iter().position(|known| Some(*known) != selected);
                    oldest.map(|oldest| model.remove(oldest))
                } else {
                    None
                };
                model.push(route(port));
                prop_assert_eq!(routes.note(route(port), selected), forgotten);
                prop_assert!(routes.iter().eq(model.iter().copied()));
                if selects {
                    selected = Some(route(port));
                }
            }
        }
    }
}
