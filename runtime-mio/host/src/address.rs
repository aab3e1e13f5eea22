//! Addresses as people write them, and what to say when one cannot be used.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Reads `:8889` (all addresses, IPv6 and IPv4), `127.0.0.1:8889` or `[::1]:8889`. Port 0 lets the
/// system choose a free one. An IPv4-mapped address is taken for the IPv4 address it maps.
///
/// # Errors
/// A sentence that says what is wrong and shows an address that works.
pub fn parse_listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(canonical(address));
    }
    if let Some(port) = text.strip_prefix(':') {
        return match port.parse() {
            Ok(port) => Ok(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)),
            Err(_) => Err(format!(
                "`{port}` is no port: a number from 0 to 65535 is needed, `:8889` say"
            )),
        };
    }
    Err(explain_bad_address(text))
}

fn explain_bad_address(text: &str) -> String {
    if text.parse::<u16>().is_ok() {
        return format!("a port needs a colon in front: `:{text}`");
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return format!("the port is missing: `{}`", SocketAddr::new(ip, 8889));
    }
    if let Some((ip, port)) = text.rsplit_once(':') {
        if ip.parse::<Ipv6Addr>().is_ok() && port.parse::<u16>().is_ok() {
            return format!("an IPv6 address goes in brackets: `[{ip}]:{port}`");
        }
        let ip_is_good = ip.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        if ip_is_good && port.parse::<u16>().is_err() {
            return format!(
                "`{port}` is no port: a number from 0 to 65535 is needed, `{ip}:8889` say"
            );
        }
        if port.parse::<u16>().is_ok() {
            return format!(
                "`{ip}` is no IP address: write one of this machine's, `127.0.0.1:{port}` say, or `:{port}` for all"
            );
        }
    }
    "an address and a port are needed: `:8889`, `127.0.0.1:8889` or `[::1]:8889`".to_owned()
}

/// An address as the core wants it: an IPv4-mapped IPv6 address becomes the IPv4 address it maps.
#[must_use]
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => SocketAddr::new(v4.into(), address.port()),
        // Keeps its scope.
        IpAddr::V6(_) => address,
    }
}

/// The same IP address for a system call on an IPv6 dual-stack socket: IPv4 is mapped.
pub(crate) fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// Whether an error of `socket` or `bind` says that there is no IPv6 here.
pub(crate) fn is_without_ipv6(error: &io::Error) -> bool {
    #[cfg(unix)]
    let unsupported = error.raw_os_error() == Some(libc::EAFNOSUPPORT);
    #[cfg(not(unix))]
    let unsupported = false;
    unsupported
        || matches!(
            error.kind(),
            io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
        )
}

/// All IPv4 addresses, with the port of a dual-stack wildcard that could not be had.
pub(crate) fn ipv4_wildcard(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)
}

/// A socket could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for {protocol} on {address}: {}", self.advice())]
pub struct BindError {
    /// `HTTP` or `UDP`.
    pub protocol: &'static str,
    /// The flag that chooses another address.
    pub flag: &'static str,
    /// The address that was asked for.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

impl BindError {
    fn advice(&self) -> String {
        let (flag, port) = (self.flag, self.address.port());
        match self.source.kind() {
            io::ErrorKind::AddrInUse => format!(
                "port {port} is in use. Stop the other program (is a server running already?) or choose \
                 another port with `{flag} :PORT`; with port 0 the system chooses a free one"
            ),
            io::ErrorKind::PermissionDenied => format!(
                "not permitted. Ports below 1024 need privileges: choose a higher one with `{flag} :PORT`"
            ),
            io::ErrorKind::AddrNotAvailable => format!(
                "this machine has no address {}. Choose one it has, or all with `{flag} :{port}`",
                self.address.ip()
            ),
            _ => format!("{}. Choose another address with `{flag}`", self.source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_are_read() {
        assert_eq!(
            parse_listen_address(":8889").unwrap(),
            "[::]:8889".parse::<SocketAddr>().unwrap()
        );
        assert_eq!(
            parse_listen_address("127.0.0.1:0").unwrap(),
            "127.0.0.1:0".parse::<SocketAddr>().unwrap()
        );
        assert_eq!(
            parse_listen_address("[::1]:8889").unwrap(),
            "[::1]:8889".parse::<SocketAddr>().unwrap()
        );
    }

    #[test]
    fn a_mapped_listen_address_is_an_ipv4_address() {
        // A socket of IPv6 only cannot be bound to it.
        assert_eq!(
            parse_listen_address("[::ffff:127.0.0.1]:8889").unwrap(),
            "127.0.0.1:8889".parse::<SocketAddr>().unwrap()
        );
    }

    #[test]
    fn a_bad_address_is_told_what_is_wrong_and_shown_a_good_one() {
        for (bad, expected) in [
            ("8889", "`:8889`"),
            (":99999", "`99999` is no port"),
            (":", "is no port"),
            ("127.0.0.1", "`127.0.0.1:8889`"),
            ("[::1]", "`[::1]:8889`"),
            ("fd00::2", "`[fd00::2]:8889`"),
            ("example.com:80", "`example.com` is no IP address"),
            ("127.0.0.1:http", "`http` is no port"),
            ("nonsense", "`:8889`"),
            ("", "`:8889`"),
        ] {
            let error = parse_listen_address(bad).unwrap_err();
            assert!(error.contains(expected), "{bad}: {error}");
        }
    }

    #[test]
    fn mapped_addresses_are_taken_for_what_they_map() {
        assert_eq!(
            canonical("[::ffff:192.0.2.1]:5".parse::<SocketAddr>().unwrap()),
            "192.0.2.1:5".parse::<SocketAddr>().unwrap()
        );
        assert_eq!(
            canonical("[fe80::1%3]:5".parse::<SocketAddr>().unwrap()),
            "[fe80::1%3]:5".parse::<SocketAddr>().unwrap()
        );
        assert_eq!(
            canonical("192.0.2.1:5".parse::<SocketAddr>().unwrap()),
            "192.0.2.1:5".parse::<SocketAddr>().unwrap()
        );
    }
}
