//! What a driver is told to do, whichever way the user said it.

use std::net::SocketAddr;

use kvill_core::Config;

use crate::http::Limits;

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
    /// What HTTP clients may do.
    pub http_limits: Limits,
}
