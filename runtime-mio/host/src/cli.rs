//! The command line.

mod error;
mod hosts;
mod interfaces;
mod lists;

use std::net::SocketAddr;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, ValueEnum};
use kvill_core::Config;
use kvill_core::config::{HISTORY_MBPS_MAX, HistoryLimits, IceServer, SrtpPolicy};

use crate::address::parse_listen_address;
use crate::http::Limits;
use crate::interfaces::{INTERFACE_TTL, InterfaceSettings, Wanted};
use crate::logging::LogLevel;
use crate::settings::Settings;
pub use error::ArgumentsError;
pub use hosts::HostError;
use hosts::resolve;
use interfaces::{parse_interface_name, wanted};
use lists::{parse_ice_server, parse_origin};

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

    /// Says whether clients are offered the addresses of this machine's interfaces. If not, they are
    /// offered --additional-hosts alone, and whatever --udp-address names.
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        action = ArgAction::Set,
        visible_alias = "webrtc-ips-from-interfaces"
    )]
    pub ips_from_interfaces: bool,

    /// Offers the addresses of this interface, `eth0` say, and of none that is not given as well; may
    /// be given several times. It serves clients on this machine too: loopback (`lo`) is one more
    /// interface, and is offered only if it is given.
    #[arg(
        long,
        value_name = "NAME",
        value_parser = parse_interface_name,
        visible_alias = "webrtc-ips-from-interfaces-list"
    )]
    pub ips_from_interfaces_list: Vec<String>,

    /// Trusts the list of this machine's addresses so long; 0 asks the system for every request. On
    /// Linux a change of network ends it at once, elsewhere this is how late a new address can be.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = INTERFACE_TTL.as_secs(),
        value_parser = clap::value_parser!(u64).range(..=86_400)
    )]
    pub interface_ttl: u64,

    /// Tells clients of this STUN or TURN server, a TURN one as URL,USER,PASSWORD; may be given
    /// several times.
    #[arg(long, value_name = "URL", value_parser = parse_ice_server)]
    pub ice_servers: Vec<IceServer>,

    /// Lets pages of this web origin, `https://example.com` say, use the HTTP interface, where `*` is
    /// any; may be given several times.
    #[arg(long, value_name = "ORIGIN", default_value = "*", value_parser = parse_origin)]
    pub allow_origins: Vec<String>,

    /// Says whether a second publisher of a path takes the place of the first, who is then
    /// disconnected, or is refused.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    pub override_publisher: bool,

    /// Keeps the viewers of a path so long after its publisher left: they go on with the next one,
    /// and need not reconnect.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(..=86_400)
    )]
    pub publisher_grace: u64,

    /// Lets a packet of video wait so long for the rest of its frame, so that a viewer gets both by one
    /// send; for large audiences only, 5 µs for each viewer from 100 on. 0: nothing waits.
    #[arg(
        long,
        value_name = "MILLISECONDS",
        default_value_t = 2,
        value_parser = clap::value_parser!(u64).range(..=100)
    )]
    pub hold_max: u64,

    /// Remembers a second of a track of this bitrate, to send again what a viewer lost. Takes some
    /// 200 KiB per Mbit/s and track, however many viewers there are.
    #[arg(
        long,
        value_name = "MBPS",
        default_value_t = 20,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(HISTORY_MBPS_MAX))
    )]
    pub history_mbps: u32,

    /// Chooses the SRTP ciphers: AES-GCM where the peer has it, or AES-GCM and nothing else.
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = Srtp::PreferAead)]
    pub srtp: Srtp,

    /// Logs this much to standard error.
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Info)]
    pub log_level: LogLevel,
}

/// What `--srtp` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Srtp {
    /// AES-GCM, and AES-CM with HMAC-SHA1 for peers that have nothing better (ffmpeg, GStreamer).
    PreferAead,
    /// AES-GCM only: sessions of other peers are ended.
    AeadOnly,
}

impl From<Srtp> for SrtpPolicy {
    fn from(srtp: Srtp) -> Self {
        match srtp {
            Srtp::PreferAead => Self::PreferAead,
            Srtp::AeadOnly => Self::AeadOnly,
        }
    }
}

impl Arguments {
    /// Reads the command line of a program of that name. Exits the process after help, version and
    /// errors.
    #[must_use]
    pub fn parse_as(name: &'static str) -> Self {
        let examples = EXAMPLES.replace("  kvill", &format!("  {name}"));
        let command = Self::command().name(name).after_help(examples);
        match Self::from_arg_matches(&command.get_matches()) {
            Ok(arguments) => arguments,
            Err(error) => error.exit(),
        }
    }

    /// Turns what was written into what is to be done. Resolves names, and waits for the resolver.
    ///
    /// # Errors
    /// A host has no address, or there is nothing to offer to clients.
    pub fn into_settings(self) -> Result<Settings, ArgumentsError> {
        let mut additional_hosts = Vec::new();
        for host in &self.additional_hosts {
            for ip in resolve(host)? {
                if !additional_hosts.contains(&ip) {
                    additional_hosts.push(ip);
                }
            }
        }
        let wanted = wanted(self.ips_from_interfaces, self.ips_from_interfaces_list);
        let is_bound = self
            .udp_address
            .iter()
            .any(|udp| !udp.ip().is_unspecified());
        if wanted == Wanted::None && additional_hosts.is_empty() && !is_bound {
            return Err(ArgumentsError::NothingToOffer);
        }
        let config = Config {
            additional_hosts,
            ice_servers: self.ice_servers,
            allow_origins: self.allow_origins,
            override_publisher: self.override_publisher,
            publisher_grace: Duration::from_secs(self.publisher_grace),
            hold_max: Duration::from_millis(self.hold_max),
            history: HistoryLimits::for_mbps(self.history_mbps),
            srtp: self.srtp.into(),
            ..Config::default()
        };
        Ok(Settings {
            http_addresses: self.http_address,
            udp_addresses: self.udp_address,
            config,
            interfaces: InterfaceSettings {
                wanted,
                ttl: Duration::from_secs(self.interface_ttl),
            },
            http_limits: Limits::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

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
        assert_eq!(
            settings.http_addresses,
            ["[::]:8889".parse::<SocketAddr>().unwrap()]
        );
        assert_eq!(
            settings.udp_addresses,
            ["[::]:8189".parse::<SocketAddr>().unwrap()]
        );
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
            [
                "[::]:1".parse::<SocketAddr>().unwrap(),
                "[::1]:2".parse::<SocketAddr>().unwrap()
            ]
        );
        assert_eq!(
            arguments.udp_address,
            ["127.0.0.1:3".parse::<SocketAddr>().unwrap()]
        );
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
    fn interfaces_are_chosen_and_trusted_as_is_said() {
        let interfaces = |arguments: &[&str]| {
            let settings = parse(arguments).unwrap().into_settings().unwrap();
            settings.interfaces
        };
        assert_eq!(interfaces(&[]), InterfaceSettings::default());
        let chosen = interfaces(&[
            "--ips-from-interfaces-list=eth0",
            "--webrtc-ips-from-interfaces-list=Local Area Connection",
            "--interface-ttl=0",
        ]);
        let names = ["eth0", "Local Area Connection"].map(str::to_owned);
        assert_eq!(chosen.wanted, Wanted::Named(names.to_vec()));
        assert_eq!(chosen.ttl, Duration::ZERO);
        assert!(parse(&["--ips-from-interfaces-list="]).is_err());
        let error = parse(&["--interface-ttl=86401"]).unwrap_err();
        assert!(error.contains(".."), "{error}");
    }

    #[test]
    fn a_server_that_would_offer_nothing_is_told_what_to_add() {
        let off = "--webrtc-ips-from-interfaces=false";
        let settings = |more: &[&str]| {
            let arguments: Vec<_> = std::iter::once(off).chain(more.iter().copied()).collect();
            parse(&arguments).unwrap().into_settings()
        };
        for nothing in [&[][..], &["--ips-from-interfaces-list=eth0"]] {
            let error = settings(nothing).unwrap_err().to_string();
            assert!(error.contains("--additional-hosts"), "{error}");
        }
        for something in [
            "--additional-hosts=192.0.2.1",
            "--udp-address=192.0.2.1:8189",
        ] {
            let wanted = settings(&[something]).unwrap().interfaces.wanted;
            assert_eq!(wanted, Wanted::None, "{something}");
        }
    }

    #[test]
    fn publishers_are_replaced_unless_it_is_forbidden() {
        let overrides = |arguments: &[&str]| {
            let settings = parse(arguments).unwrap().into_settings().unwrap();
            settings.config.override_publisher
        };
        assert!(overrides(&[]));
        assert!(overrides(&["--override-publisher=true"]));
        assert!(!overrides(&["--override-publisher", "false"]));
        assert!(parse(&["--override-publisher"]).is_err());
    }

    #[test]
    fn viewers_wait_and_histories_hold_as_long_as_is_said() {
        let config = |arguments: &[&str]| {
            let settings = parse(arguments).unwrap().into_settings().unwrap();
            settings.config
        };
        let usual = config(&[]);
        assert_eq!(usual.publisher_grace, Config::default().publisher_grace);
        assert_eq!(usual.hold_max, Config::default().hold_max);
        assert_eq!(usual.history, HistoryLimits::default());
        let other = config(&["--publisher-grace=0", "--history-mbps=160"]);
        assert_eq!(other.publisher_grace, Duration::ZERO);
        assert_eq!(other.history.bytes, 8 * usual.history.bytes);
        for bad in [
            "--publisher-grace=86401",
            "--history-mbps=0",
            "--history-mbps=161",
        ] {
            let error = parse(&[bad]).unwrap_err();
            assert!(error.contains(".."), "{error}");
        }
    }

    #[test]
    fn a_bad_address_shows_a_good_one() {
        let error = parse(&["--http-address", "8889"]).unwrap_err();
        assert!(error.contains("`:8889`"), "{error}");
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
    fn every_flag_stands_in_the_readme_with_its_default() {
        let readme = include_str!("../../../README.md");
        for argument in Arguments::command().get_arguments() {
            let long = argument.get_long().expect("there are only long flags");
            let row = format!("| `--{long} ");
            let row = readme.lines().find(|line| line.starts_with(&row));
            let row = row.unwrap_or_else(|| panic!("--{long} is missing"));
            for default in argument.get_default_values() {
                let default = default.to_string_lossy();
                assert!(row.contains(&format!("| `{default}` |")), "{row}");
            }
        }
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
