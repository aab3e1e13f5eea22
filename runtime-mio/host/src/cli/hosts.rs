//! Values of `--additional-hosts`: addresses and names that clients can send to.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs};

/// A host of `--additional-hosts` that is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// Nothing was given.
    #[error(
        "`--additional-hosts` is empty. Give an IP address or a DNS name, `media.example.com` say, or leave it out"
    )]
    Empty,
    /// A host has no port here: the UDP ports are the ones listened on.
    #[error(
        "`--additional-hosts {given}` has a port. Give the host alone, `{host}`: its port is the one of `--udp-address`"
    )]
    WithPort {
        /// As it was given.
        given: String,
        /// Without the port.
        host: String,
    },
    /// Nobody else can send to that address.
    #[error(
        "`--additional-hosts {host}` is {kind}: clients cannot send there. Give an address that they reach this machine by"
    )]
    Unreachable {
        /// As it was given.
        host: String,
        /// What it is instead, as `an unspecified address`.
        kind: &'static str,
    },
    /// The resolver failed.
    #[error(
        "`--additional-hosts {host}` cannot be resolved: {source}. Check the name, or give its IP address"
    )]
    Unresolvable {
        /// As it was given.
        host: String,
        /// What the resolver said.
        source: std::io::Error,
    },
    /// The resolver knows the name, and no address that clients can send to.
    #[error(
        "`--additional-hosts {host}` has no IP address that clients can send to. Check the name, or give its IP address"
    )]
    NoAddress {
        /// As it was given.
        host: String,
    },
}

/// The addresses of a host, in canonical form. Waits for the resolver.
pub(super) fn resolve(host: &str) -> Result<Vec<IpAddr>, HostError> {
    if host.trim().is_empty() {
        return Err(HostError::Empty);
    }
    if let Some(ip) = parse_literal(host) {
        let ip = ip.to_canonical();
        return match unreachable_kind(ip) {
            None => Ok(vec![ip]),
            Some(kind) => Err(HostError::Unreachable {
                host: host.to_owned(),
                kind,
            }),
        };
    }
    if let Some(alone) = without_port(host) {
        return Err(HostError::WithPort {
            given: host.to_owned(),
            host: alone.to_owned(),
        });
    }
    let addresses = (host, 0)
        .to_socket_addrs()
        .map_err(|source| HostError::Unresolvable {
            host: host.to_owned(),
            source,
        })?;
    let ips: Vec<_> = addresses
        .map(|address| address.ip().to_canonical())
        .filter(|&ip| unreachable_kind(ip).is_none())
        .collect();
    if ips.is_empty() {
        return Err(HostError::NoAddress {
            host: host.to_owned(),
        });
    }
    Ok(ips)
}

/// An IP address, in brackets or not. A zone (`%eth0`) says nothing to clients and is dropped.
fn parse_literal(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    let ip = bare.split_once('%').map_or(bare, |(ip, _zone)| ip);
    ip.parse().ok()
}

/// What an address is that clients cannot send to.
fn unreachable_kind(ip: IpAddr) -> Option<&'static str> {
    let is_link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if ip.is_unspecified() {
        Some("an unspecified address")
    } else if ip.is_multicast() {
        Some("a multicast address")
    } else if is_link_local {
        Some("a link-local address")
    } else if ip == Ipv4Addr::BROADCAST {
        Some("the broadcast address")
    } else {
        None
    }
}

/// The host of `HOST:PORT`, if it is one.
fn without_port(text: &str) -> Option<&str> {
    let (host, port) = text.rsplit_once(':')?;
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let is_host = !host.is_empty() && (!host.contains(':') || host.ends_with(']'));
    (is_port && is_host).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_canonical() {
        for (text, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("[::ffff:192.0.2.1]", "192.0.2.1"),
            ("[2001:db8:0:0::1]", "2001:db8::1"),
            ("127.0.0.1", "127.0.0.1"),
        ] {
            let expected: IpAddr = expected.parse().unwrap();
            assert_eq!(resolve(text).unwrap(), [expected], "{text}");
        }
    }

    #[test]
    fn a_host_of_no_use_is_told_why() {
        for (bad, expected) in [
            ("", "is empty"),
            ("  ", "is empty"),
            ("media.example.com:8189", "`media.example.com`"),
            ("192.0.2.1:8189", "`192.0.2.1`"),
            ("[2001:db8::1]:8189", "`[2001:db8::1]`"),
            ("0.0.0.0", "unspecified"),
            ("::", "unspecified"),
            ("::ffff:0.0.0.0", "unspecified"),
            ("224.0.0.1", "multicast"),
            ("ff02::1", "multicast"),
            ("169.254.1.2", "link-local"),
            ("fe80::1", "link-local"),
            ("fe80::1%eth0", "link-local"),
            ("255.255.255.255", "broadcast"),
        ] {
            let error = resolve(bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }
}
