//! What a driver is told to do, whichever way the user said it.

use std::net::{Ipv6Addr, SocketAddr};

use kvill_core::Config;

use crate::http::Limits;
use crate::interfaces::InterfaceSettings;

/// A driver's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen for HTTP. Port 0 lets the system choose.
    pub http_addresses: Vec<SocketAddr>,
    /// Where to listen for UDP: one socket each.
    pub udp_addresses: Vec<SocketAddr>,
    /// The core's settings. Its `transports` are filled in by the driver, with the addresses that
    /// were really bound.
    pub config: Config,
    /// Which of this machine's addresses are offered, and how long they are trusted.
    pub interfaces: InterfaceSettings,
    /// What HTTP clients may do.
    pub http_limits: Limits,
}

/// Where HTTP is served if nothing else is said.
pub const HTTP_PORT: u16 = 8889;

/// Where media is served if nothing else is said.
pub const UDP_PORT: u16 = 8189;

impl Default for Settings {
    /// Listens on all addresses, at the ports that MediaMTX has.
    fn default() -> Self {
        let all = |port| vec![SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)];
        Self {
            http_addresses: all(HTTP_PORT),
            udp_addresses: all(UDP_PORT),
            config: Config::default(),
            interfaces: InterfaceSettings::default(),
            http_limits: Limits::default(),
        }
    }
}
