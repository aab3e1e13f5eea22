//! What the server says on standard output once it runs.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use kvill_core::net::Interface;

/// The path that the printed URLs take for an example.
const EXAMPLE_PATH: &str = "live";

/// The addresses that were bound, and the URLs to open. Its first `http://` URL is the list of
/// streams, by an address that works on this machine.
#[derive(Debug)]
pub struct Banner<'a> {
    /// Name and version of the program.
    pub program: &'a str,
    /// Where HTTP is served.
    pub http: &'a [SocketAddr],
    /// Where media is served.
    pub udp: &'a [SocketAddr],
    /// This machine's addresses.
    pub interfaces: &'a [Interface],
}

impl Display for Banner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.program)?;
        writeln!(
            f,
            "listens for HTTP on {} and for media on UDP {}",
            List(self.http),
            List(self.udp)
        )?;
        let Some(&first) = self.http.first() else {
            return Ok(());
        };
        let here = base_url(here(first), first.port());
        write_urls(f, &here)?;
        if let Some(lan) = lan_address(first, self.interfaces) {
            writeln!(
                f,
                "\nFrom other machines (browsers give a page the camera only over https or from 127.0.0.1):"
            )?;
            write_urls(f, &base_url(lan, first.port()))?;
        }
        writeln!(f, "\nCtrl-C stops the server.")
    }
}

fn write_urls(f: &mut fmt::Formatter<'_>, base: &str) -> fmt::Result {
    writeln!(f, "  streams  {base}/")?;
    writeln!(f, "  publish  {base}/{EXAMPLE_PATH}/publish")?;
    writeln!(f, "  watch    {base}/{EXAMPLE_PATH}/")?;
    writeln!(f, "  WHIP     {base}/{EXAMPLE_PATH}/whip")?;
    writeln!(f, "  WHEP     {base}/{EXAMPLE_PATH}/whep")
}

/// The address by which this machine reaches its own socket.
fn here(bound: SocketAddr) -> IpAddr {
    if bound.ip().is_unspecified() {
        Ipv4Addr::LOCALHOST.into()
    } else {
        bound.ip()
    }
}

/// An address for other machines, IPv4 first. None if only this machine is served, or if it is the
/// address that is printed anyway. Bridges of containers come last: nobody is behind them.
fn lan_address(bound: SocketAddr, interfaces: &[Interface]) -> Option<IpAddr> {
    if !bound.ip().is_unspecified() {
        return None;
    }
    let is_bridge = |name: &str| {
        ["docker", "br-", "veth", "virbr"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    interfaces
        .iter()
        .filter(|interface| bound.is_ipv6() || interface.address.is_ipv4())
        .filter(|interface| match interface.address {
            IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
            IpAddr::V6(v6) => !v6.is_loopback(),
        })
        .min_by_key(|interface| (is_bridge(&interface.name), interface.address.is_ipv6()))
        .map(|interface| interface.address)
}

fn base_url(ip: IpAddr, port: u16) -> String {
    format!("http://{}", SocketAddr::new(ip, port))
}

struct List<'a>(&'a [SocketAddr]);

impl Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{address}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, address: &str) -> Interface {
        Interface {
            name: name.to_owned(),
            address: address.parse().unwrap(),
        }
    }

    fn banner(http: &str, interfaces: &[Interface]) -> String {
        let (http, udp) = ([http.parse().unwrap()], ["[::]:8189".parse().unwrap()]);
        Banner {
            program: "kvill 1.2.3",
            http: &http,
            udp: &udp,
            interfaces,
        }
        .to_string()
    }

    fn first_url(text: &str) -> &str {
        text.split_whitespace()
            .find(|word| word.starts_with("http://"))
            .unwrap()
    }

    #[test]
    fn the_first_url_opens_on_this_machine() {
        let lan = [interface("eth0", "192.0.2.2")];
        assert_eq!(
            first_url(&banner("[::]:8889", &lan)),
            "http://127.0.0.1:8889/"
        );
        assert_eq!(
            first_url(&banner("192.0.2.2:80", &lan)),
            "http://192.0.2.2:80/"
        );
        assert_eq!(first_url(&banner("[::1]:8889", &lan)), "http://[::1]:8889/");
    }

    #[test]
    fn other_machines_are_told_a_lan_address_and_not_a_bridge() {
        let interfaces = [
            interface("docker0", "172.17.0.1"),
            interface("eth0", "2001:db8::2"),
            interface("eth0", "192.0.2.2"),
            interface("lo", "127.0.0.1"),
        ];
        let text = banner("[::]:8889", &interfaces);
        assert!(text.contains("http://192.0.2.2:8889/live/whep"), "{text}");
        assert!(!text.contains("172.17"), "{text}");
    }

    #[test]
    fn a_server_for_this_machine_only_names_no_other_address() {
        let text = banner("127.0.0.1:8889", &[interface("eth0", "192.0.2.2")]);
        assert!(!text.contains("192.0.2.2"), "{text}");
    }
}
