//! The candidate lines of answers (RFC 8839 §5.1), made once for each change of addresses.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::Config;
use crate::net::Interface;

/// See the module.
#[derive(Debug)]
pub(super) struct Candidates {
    /// For peers elsewhere.
    remote: List,
    /// For peers on this machine: loopback comes first.
    local: List,
}

/// What an answer offers.
#[derive(Debug)]
pub(super) struct List {
    pub(super) addresses: Arc<[SocketAddr]>,
    /// The same as `a=candidate:` lines.
    pub(super) lines: String,
}

impl List {
    fn new(addresses: &[SocketAddr]) -> Self {
        Self {
            addresses: addresses.into(),
            lines: lines(addresses),
        }
    }
}

impl Candidates {
    pub(super) fn new(config: &Config, interfaces: &[Interface]) -> Self {
        let mut loopback = Vec::new();
        let mut others = Vec::new();
        for transport in &config.transports {
            let mut add = |ip: IpAddr| {
                let of = if ip.is_loopback() {
                    &mut loopback
                } else {
                    &mut others
                };
                let address = SocketAddr::new(ip, transport.port());
                if !of.contains(&address) {
                    of.push(address);
                }
            };
            for host in &config.additional_hosts {
                add(*host);
            }
            if !transport.ip().is_unspecified() {
                add(transport.ip());
                continue;
            }
            // [::] takes IPv4 as well; 0.0.0.0 takes nothing else.
            let fits = |ip: &IpAddr| transport.is_ipv6() || ip.is_ipv4();
            interfaces
                .iter()
                .map(|i| i.address)
                .filter(fits)
                .for_each(add);
        }
        let remote = if others.is_empty() {
            &loopback
        } else {
            &others
        };
        let local: Vec<_> = loopback.iter().chain(&others).copied().collect();
        Self {
            remote: List::new(remote),
            local: List::new(&local),
        }
    }

    /// The list for a peer whose request came from this address.
    pub(super) fn for_peer(&self, peer: IpAddr) -> &List {
        if peer.to_canonical().is_loopback() {
            &self.local
        } else {
            &self.remote
        }
    }
}

/// Host candidates, the first with the highest priority (RFC 8445 §5.1.2.1).
fn lines(addresses: &[SocketAddr]) -> String {
    let mut text = String::new();
    for (i, address) in (0_u32..).zip(addresses) {
        let priority = 126 << 24 | 0xffff_u32.saturating_sub(i) << 8 | 255;
        let (ip, port) = (address.ip(), address.port());
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "a=candidate:{} 1 udp {priority} {ip} {port} typ host\r\n",
            i + 1
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(transport: &str, hosts: &[&str]) -> Config {
        Config {
            transports: vec![transport.parse().unwrap()],
            additional_hosts: hosts.iter().map(|h| h.parse().unwrap()).collect(),
            ..Config::default()
        }
    }

    fn interfaces(addresses: &[&str]) -> Vec<Interface> {
        let interface = |a: &&str| Interface {
            name: "eth0".to_owned(),
            address: a.parse().unwrap(),
        };
        addresses.iter().map(interface).collect()
    }

    fn hosts(text: &str) -> Vec<&str> {
        text.lines().map(|l| l.split(' ').nth(4).unwrap()).collect()
    }

    #[test]
    fn loopback_is_for_peers_on_this_machine() {
        let candidates = Candidates::new(
            &config("[::]:8189", &[]),
            &interfaces(&["127.0.0.1", "10.0.0.2", "2001:db8::2"]),
        );
        assert_eq!(
            hosts(&candidates.for_peer("10.0.0.9".parse().unwrap()).lines),
            ["10.0.0.2", "2001:db8::2"]
        );
        assert_eq!(
            hosts(
                &candidates
                    .for_peer("::ffff:127.0.0.1".parse().unwrap())
                    .lines
            ),
            ["127.0.0.1", "10.0.0.2", "2001:db8::2"]
        );
    }

    #[test]
    fn loopback_is_for_everybody_where_there_is_nothing_else() {
        let candidates = Candidates::new(
            &config("0.0.0.0:8189", &[]),
            &interfaces(&["127.0.0.1", "::1"]),
        );
        assert_eq!(
            hosts(&candidates.for_peer("10.0.0.9".parse().unwrap()).lines),
            ["127.0.0.1"]
        );
    }

    #[test]
    fn a_bound_address_stands_for_itself_and_public_hosts_come_first() {
        let candidates = Candidates::new(
            &config("10.0.0.2:5", &["203.0.113.7"]),
            &interfaces(&["10.0.0.3"]),
        );
        assert_eq!(
            candidates.for_peer("10.0.0.9".parse().unwrap()).lines,
            "a=candidate:1 1 udp 2130706431 203.0.113.7 5 typ host\r\na=candidate:2 1 udp 2130706175 10.0.0.2 5 typ host\r\n"
        );
    }
}
