//! From where a server can be reached, as far as its own addresses tell.
//!
//! A machine behind NAT, in a container or in a cloud does not know the address that clients use.
//! It then offers its private ones: sessions are made, and media never arrives. Nothing fails until
//! somebody watches from elsewhere, so it is said at the start.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use kvill_core::net::Interface;

/// Addresses that a line names. A machine full of containers has dozens.
const NAMED_MAX: usize = 3;

/// Clients elsewhere cannot send media to this server. Its text says what to do about it, in
/// one line, first of all that clients nearby need nothing done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortReach {
    /// Where clients are told to send to, none of it public, in order.
    offered: Vec<IpAddr>,
    /// UDP ports to forward.
    ports: Vec<u16>,
    /// There is nothing but the addresses that single sockets are bound to.
    bound: bool,
}

/// Whether only clients nearby can reach media: every address that clients are offered is private,
/// and the operator added none but of this machine. A socket that is bound to one address is reached by that one only.
#[must_use]
pub fn short_reach(
    udp: &[SocketAddr],
    additional_hosts: &[IpAddr],
    interfaces: &[Interface],
) -> Option<ShortReach> {
    if additional_hosts.iter().any(|host| !host.is_loopback()) {
        return None;
    }
    let mut offered = additional_hosts.to_vec();
    for socket in udp {
        if !socket.ip().is_unspecified() {
            offered.push(socket.ip().to_canonical());
            continue;
        }
        let addresses = interfaces.iter().map(|interface| interface.address);
        offered.extend(addresses.filter(|ip| socket.is_ipv6() || ip.is_ipv4()));
    }
    if offered.iter().any(|ip| !is_private(*ip)) {
        return None;
    }
    // Loopback is not offered to others where there is anything else.
    offered.sort_by_key(|ip| (ip.is_loopback(), ip.is_ipv6(), *ip));
    offered.dedup();
    if offered.iter().any(|ip| !ip.is_loopback()) {
        offered.retain(|ip| !ip.is_loopback());
    }
    let mut ports: Vec<_> = udp.iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    Some(ShortReach {
        offered,
        ports,
        bound: udp.iter().all(|socket| !socket.ip().is_unspecified()),
    })
}

/// Whether an address is nobody's on the internet: loopback, link-local, private (RFC 1918),
/// shared by customers of a provider (RFC 6598), or unique local (RFC 4193).
#[must_use]
pub fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback() || v4.is_link_local() || v4.is_private() || is_shared(v4)
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unique_local(),
    }
}

/// 100.64.0.0/10.
fn is_shared(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    first == 100 && second & 0xc0 == 64
}

impl Display for ShortReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.offered.first() else {
            return f.write_str(
                "this machine has no address that clients could send media to: connect it to a \
                 network (by an interface of --ips-from-interfaces-list, if that is set), or name \
                 the address it is reached by with --additional-hosts ADDRESS",
            );
        };
        let (offered, ports) = (Listed(&self.offered), Listed(&self.ports));
        let nearby = if first.is_loopback() {
            "this machine"
        } else {
            "this network"
        };
        write!(
            f,
            "media is offered at {offered} only: fine for clients on {nearby}. "
        )?;
        if first.is_loopback() && self.bound {
            f.write_str("For others, listen on all addresses with --udp-address :PORT. ")?;
        }
        write!(
            f,
            "For the internet, or if this runs in a container, name the address that clients \
             reach it by with --additional-hosts ADDRESS and forward UDP {ports} to here"
        )
    }
}

/// `a, b, c and 4 more`.
struct Listed<'a, T>(&'a [T]);

impl<T: Display> Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().take(NAMED_MAX).enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{item}")?;
        }
        match self.0.len().saturating_sub(NAMED_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interfaces(addresses: &[&str]) -> Vec<Interface> {
        let interface = |address: &&str| Interface {
            name: "eth0".to_owned(),
            address: address.parse().unwrap(),
        };
        addresses.iter().map(interface).collect()
    }

    /// The line for UDP sockets and interfaces, without additional hosts.
    fn line(udp: &[&str], addresses: &[&str]) -> Option<String> {
        let udp: Vec<_> = udp.iter().map(|socket| socket.parse().unwrap()).collect();
        short_reach(&udp, &[], &interfaces(addresses)).map(|reach| reach.to_string())
    }

    #[test]
    fn every_private_range_is_known_to_its_edges() {
        for private in [
            "10.0.0.0",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.1.1",
            "::1",
            "fc00::1",
            "fdff:ffff::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in [
            "9.255.255.255",
            "11.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "203.0.113.7",
            "2001:db8::1",
            "2a00::1",
            "fbff::1",
            "fe00::1",
            "::ffff:203.0.113.7",
        ] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn a_private_machine_is_told_what_to_set_and_first_that_its_own_network_is_fine() {
        let text = line(
            &["[::]:8189"],
            &["127.0.0.1", "192.168.1.5", "fd00::5", "::1"],
        )
        .unwrap();
        assert_eq!(
            text,
            "media is offered at 192.168.1.5, fd00::5 only: fine for clients on this network. \
             For the internet, or if this runs in a container, name the address that clients \
             reach it by with --additional-hosts ADDRESS and forward UDP 8189 to here"
        );
    }

    #[test]
    fn one_public_address_is_enough() {
        assert_eq!(line(&["[::]:8189"], &["10.0.0.2", "2001:db8::2"]), None);
        assert_eq!(line(&["0.0.0.0:8189"], &["10.0.0.2", "203.0.113.7"]), None);
        assert_eq!(line(&["10.0.0.2:1", "203.0.113.7:1"], &[]), None);
    }

    #[test]
    fn a_public_address_that_no_socket_takes_does_not_count() {
        let addresses = ["10.0.0.2", "2001:db8::2", "203.0.113.7"];
        assert!(line(&["0.0.0.0:8189"], &addresses[..2]).is_some());
        let text = line(&["10.0.0.2:8189"], &addresses).unwrap();
        assert!(text.contains("at 10.0.0.2 only"), "{text}");
    }

    #[test]
    fn what_the_operator_added_settles_it() {
        let hosts = ["203.0.113.7".parse().unwrap()];
        let udp = ["[::]:8189".parse().unwrap()];
        assert_eq!(short_reach(&udp, &hosts, &interfaces(&["10.0.0.2"])), None);
        let nowhere = ["127.0.0.1".parse().unwrap()];
        assert!(short_reach(&udp, &nowhere, &interfaces(&["10.0.0.2"])).is_some());
        // Without addresses of interfaces (`--ips-from-interfaces false`).
        let text = short_reach(&udp, &nowhere, &[]).unwrap().to_string();
        assert!(text.contains("at 127.0.0.1 only"), "{text}");
        assert_eq!(short_reach(&udp, &hosts, &[]), None);
    }

    #[test]
    fn loopback_is_named_as_this_machine() {
        let bound = line(&["127.0.0.1:8189"], &["192.168.1.5"]).unwrap();
        assert!(
            bound.starts_with(
                "media is offered at 127.0.0.1 only: fine for clients on this machine"
            ),
            "{bound}"
        );
        assert!(bound.contains("--udp-address :PORT"), "{bound}");
        let offline = line(&["[::]:8189"], &["127.0.0.1", "::1"]).unwrap();
        assert!(offline.contains("at 127.0.0.1, ::1 only"), "{offline}");
        assert!(!offline.contains("--udp-address"), "{offline}");
        assert!(offline.contains("--additional-hosts"), "{offline}");
    }

    #[test]
    fn a_machine_without_addresses_is_told_so() {
        let text = line(&["[::]:8189"], &[]).unwrap();
        assert!(
            text.contains("no address") && text.contains("--additional-hosts"),
            "{text}"
        );
    }

    #[test]
    fn many_addresses_and_ports_stay_one_short_line() {
        let many: Vec<_> = (1..40).map(|n| format!("172.17.{n}.1")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        let text = line(&["[::]:8190", "[::]:8189"], &many).unwrap();
        assert!(text.contains("172.17.3.1 and 36 more only"), "{text}");
        assert!(text.contains("forward UDP 8189, 8190 to here"), "{text}");
        assert!(!text.contains('\n') && text.len() < 400, "{text}");
    }
}
