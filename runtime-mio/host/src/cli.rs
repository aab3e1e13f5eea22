//! The command line.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

use clap::Parser;
use clap::builder::styling::{AnsiColor, Styles};
use kvill_core::Config;
use kvill_core::config::IceServer;

use crate::address::{canonical, parse_listen_address};
use crate::http::Limits;
use crate::logging::LogLevel;
use crate::settings::Settings;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Addresses are written `:8889` (all of this machine's), `127.0.0.1:8889` or `[::1]:8889`.

Examples:
  kvill
      Listens on port 8889 for HTTP and 8189 for UDP, and prints the URLs to open.

  kvill --additional-hosts media.example.com
      Runs behind NAT: both ports are forwarded to it from media.example.com.

  kvill --http-address 127.0.0.1:8889 --allow-origins https://example.com
      Leaves HTTPS to a proxy on the same machine, and serves pages of one site only.

  kvill --ice-servers stun:stun.example.com:3478 --ice-servers turn:turn.example.com:3478,user,secret
      Tells clients of a STUN and a TURN server.";

/// Kvill: one publisher in by WHIP, any number of viewers out by WHEP.
///
/// Serves pages to publish and to watch by browser, and WHIP and WHEP endpoints for everything
/// else. Without options any path may be published and watched.
#[derive(Debug, Clone, Parser)]
#[command(name = "kvill", version, styles = STYLES, after_help = EXAMPLES, max_term_width = 100)]
pub struct Arguments {
    /// Listens for HTTP (pages, WHIP, WHEP) on this address; may be given several times.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = ":8889",
        value_parser = parse_listen_address,
        visible_alias = "webrtc-address"
    )]
    pub http_address: Vec<SocketAddr>,

    /// Listens for media over UDP on this address; may be given several times.
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = ":8189",
        value_parser = parse_listen_address,
        visible_alias = "webrtc-local-udp-address"
    )]
    pub udp_address: Vec<SocketAddr>,

    /// Offers clients this IP address or DNS name too, a public one in front of NAT say; may be
    /// given several times, and names are resolved once, at the start.
    #[arg(long, value_name = "HOST", visible_alias = "webrtc-additional-hosts")]
    pub additional_hosts: Vec<String>,

    /// Tells clients of this STUN or TURN server, a TURN one as URL,USER,PASSWORD; may be given
    /// several times.
    #[arg(long, value_name = "URL", value_parser = parse_ice_server)]
    pub ice_servers: Vec<IceServer>,

    /// Lets pages of this web origin, `https://example.com` say, use the HTTP interface, where `*` is
    /// any; may be given several times.
    #[arg(long, value_name = "ORIGIN", default_value = "*", value_parser = parse_origin)]
    pub allow_origins: Vec<String>,

    /// Logs this much to standard error.
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,
}

/// A host of `--additional-hosts` that is of no use.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
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
    /// The resolver knows the name, and no address.
    #[error(
        "`--additional-hosts {host}` has no IP address. Check the name, or give its IP address"
    )]
    NoAddress {
        /// As it was given.
        host: String,
    },
}

impl Arguments {
    /// Turns what was written into what is to be done. Resolves names, and waits for the resolver.
    ///
    /// # Errors
    /// A host has no address.
    pub fn into_settings(self) -> Result<Settings, HostError> {
        let mut additional_hosts = Vec::new();
        for host in &self.additional_hosts {
            for ip in resolve(host)? {
                if !additional_hosts.contains(&ip) {
                    additional_hosts.push(ip);
                }
            }
        }
        let config = Config {
            additional_hosts,
            ice_servers: self.ice_servers,
            allow_origins: self.allow_origins,
            ..Config::default()
        };
        Ok(Settings {
            http_addresses: self.http_address,
            udp_addresses: self.udp_address,
            config,
            http_limits: Limits::default(),
        })
    }
}

fn resolve(host: &str) -> Result<Vec<IpAddr>, HostError> {
    if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
        return Ok(vec![ip]);
    }
    let addresses = (host, 0)
        .to_socket_addrs()
        .map_err(|source| HostError::Unresolvable {
            host: host.to_owned(),
            source,
        })?;
    let ips: Vec<_> = addresses.map(|address| canonical(address).ip()).collect();
    if ips.is_empty() {
        return Err(HostError::NoAddress {
            host: host.to_owned(),
        });
    }
    Ok(ips)
}

fn parse_ice_server(text: &str) -> Result<IceServer, String> {
    let (url, credentials) = match text.split_once(',') {
        Some((url, credentials)) => (url, Some(credentials)),
        None => (text, None),
    };
    let Some((scheme @ ("stun" | "stuns" | "turn" | "turns"), host)) = url.split_once(':') else {
        return Err(
            "it has to begin with stun:, stuns:, turn: or turns:, `stun:stun.example.com:3478` say"
                .into(),
        );
    };
    if host.is_empty() || host.starts_with("//") || host.contains(['"', '<', '>', ' ']) {
        return Err(format!(
            "a host follows the colon at once, `{scheme}:{scheme}.example.com:3478` say"
        ));
    }
    let is_turn = scheme.starts_with("turn");
    let (username, credential) = match credentials.map(|credentials| credentials.split_once(',')) {
        Some(Some((user, password))) if is_turn && !user.is_empty() => {
            (Some(user.to_owned()), Some(password.to_owned()))
        }
        None if !is_turn => (None, None),
        _ if is_turn => {
            return Err(format!(
                "a TURN server needs a user and a password: `{url},USER,PASSWORD`"
            ));
        }
        _ => return Err(format!("a STUN server takes no user: `{url}`")),
    };
    Ok(IceServer {
        url: url.to_owned(),
        username,
        credential,
    })
}

fn parse_origin(text: &str) -> Result<String, String> {
    if text == "*" {
        return Ok(text.to_owned());
    }
    let good = "`https://example.com` say, or `*` for any";
    match text.split_once("://") {
        Some(("http" | "https", host)) if host.contains('/') => Err(format!(
            "an origin has no path, and no slash at its end: {good}"
        )),
        Some(("http" | "https", host)) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("an origin is a scheme and a host: {good}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &[&str]) -> Result<Arguments, String> {
        let arguments = std::iter::once("kvill").chain(arguments.iter().copied());
        Arguments::try_parse_from(arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn no_argument_listens_on_the_usual_ports() {
        let settings = parse(&[]).unwrap().into_settings().unwrap();
        assert_eq!(settings.http_addresses, ["[::]:8889".parse().unwrap()]);
        assert_eq!(settings.udp_addresses, ["[::]:8189".parse().unwrap()]);
        assert_eq!(settings.config.allow_origins, ["*"]);
    }

    #[test]
    fn addresses_may_be_given_several_times_and_by_other_names() {
        let arguments = parse(&[
            "--webrtc-address=:1",
            "--http-address=[::1]:2",
            "--webrtc-local-udp-address=127.0.0.1:3",
            "--webrtc-additional-hosts=192.0.2.1",
            "--additional-hosts=[2001:db8::1]",
        ])
        .unwrap();
        assert_eq!(
            arguments.http_address,
            ["[::]:1".parse().unwrap(), "[::1]:2".parse().unwrap()]
        );
        assert_eq!(arguments.udp_address, ["127.0.0.1:3".parse().unwrap()]);
        let hosts = arguments.into_settings().unwrap().config.additional_hosts;
        assert_eq!(
            hosts,
            [
                "192.0.2.1".parse::<IpAddr>().unwrap(),
                "2001:db8::1".parse().unwrap()
            ]
        );
    }

    #[test]
    fn a_bad_address_shows_a_good_one() {
        let error = parse(&["--http-address", "8889"]).unwrap_err();
        assert!(error.contains("`:8889`"), "{error}");
    }

    #[test]
    fn ice_servers_are_checked() {
        let server = parse_ice_server("turn:turn.example.com:3478?transport=tcp,me,a,b").unwrap();
        assert_eq!(server.url, "turn:turn.example.com:3478?transport=tcp");
        assert_eq!(
            (server.username.as_deref(), server.credential.as_deref()),
            (Some("me"), Some("a,b"))
        );
        assert!(parse_ice_server("stun:stun.example.com:3478").is_ok());
        for bad in [
            "example.com",
            "http://x",
            "stun://x",
            "stun:",
            "turn:x",
            "turn:x,me",
            "stun:x,me,pw",
        ] {
            assert!(parse_ice_server(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_are_checked() {
        assert!(parse_origin("https://example.com:8443").is_ok());
        assert!(parse_origin("http://*.example.com").is_ok());
        for bad in [
            "example.com",
            "https://example.com/",
            "https://",
            "ftp://x",
            "",
        ] {
            assert!(parse_origin(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_that_does_not_resolve_is_named() {
        let error = parse(&["--additional-hosts", "kvill.invalid"])
            .unwrap()
            .into_settings()
            .unwrap_err();
        assert!(error.to_string().contains("kvill.invalid"), "{error}");
    }

    #[test]
    fn every_flag_is_described_by_a_sentence() {
        for argument in Arguments::command().get_arguments() {
            let help = argument
                .get_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(help.len() > 10, "{}", argument.get_id());
        }
    }
}
