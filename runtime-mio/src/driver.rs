//! A driver, from settings to a running loop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use kvill_core::config::ConfigError;
use kvill_core::ids::TransportId;
use kvill_core::net::Interface;
use kvill_core::{Config, Server};
use kvill_host::address::BindError;
use kvill_host::settings::Settings;
use mio::Poll;

use crate::http::Http;
use crate::listeners::Listeners;
use crate::reactor::{Ended, Reactor};
use crate::stopper::Stopper;
use crate::timers::Timers;
use crate::token::Source;
use crate::transport::Transport;

/// A server with its sockets bound, ready to run on the thread that made it.
#[derive(Debug)]
pub struct Driver {
    reactor: Reactor,
    stopper: Stopper,
    http_addresses: Vec<SocketAddr>,
    udp_addresses: Vec<SocketAddr>,
}

/// Why a driver could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A setting cannot work.
    #[error("the settings cannot work: {0}")]
    Config(#[from] ConfigError),
    /// The system refused something else.
    #[error("the operating system refused to start the loop: {0}")]
    System(#[from] io::Error),
    /// The system has no randomness to give.
    #[error("the operating system gave no randomness for keys: {0}")]
    Randomness(getrandom::Error),
}

impl Driver {
    /// Binds all sockets and makes the core.
    ///
    /// # Errors
    /// An address is in use or a setting cannot work. Nothing stays bound then.
    pub fn bind(settings: Settings) -> Result<Self, StartError> {
        let listeners = Listeners::bind(&settings.http_addresses)?;
        let mut transports = bind_transports(&settings.udp_addresses)?;
        let udp_addresses: Vec<_> = transports.iter().map(Transport::local_address).collect();

        let now = Instant::now();
        let config = Config {
            transports: udp_addresses.clone(),
            ..settings.config
        };
        let server = Server::new(config, random_seed()?, now, SystemTime::now())?;

        let poll = Poll::new()?;
        for transport in &mut transports {
            transport.register(poll.registry())?;
        }
        let waker = Arc::new(mio::Waker::new(poll.registry(), Source::Wake.into())?);
        let stopper = Stopper::new(Arc::clone(&waker));
        let timers = Timers::new(now);
        let http = Http::new(
            listeners,
            settings.http_limits,
            poll.registry(),
            &timers,
            waker,
        )?;
        let http_addresses = http.addresses()?;
        let reactor = Reactor::new(poll, timers, stopper.clone(), http, transports, server);
        Ok(Self {
            reactor,
            stopper,
            http_addresses,
            udp_addresses,
        })
    }

    /// Where HTTP is served, with the ports that the system chose.
    #[must_use]
    pub fn http_addresses(&self) -> &[SocketAddr] {
        &self.http_addresses
    }

    /// Where media is served, with the ports that the system chose.
    #[must_use]
    pub fn udp_addresses(&self) -> &[SocketAddr] {
        &self.udp_addresses
    }

    /// This machine's addresses, as of the start.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        self.reactor.interfaces()
    }

    /// A handle that ends [`run`](Self::run) from any thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Has SIGINT and SIGTERM stop this driver: the first in an orderly way, the second at once.
    /// Does nothing where there are no such signals.
    ///
    /// # Errors
    /// The signals cannot be taken over.
    pub fn stop_on_signals(&mut self) -> io::Result<()> {
        self.reactor.stop_on_signals()
    }

    /// Serves on this thread until a [`Stopper`] or a signal ends it.
    ///
    /// # Errors
    /// The system's readiness queue failed; nothing can be served any more.
    pub fn run(self) -> io::Result<Ended> {
        self.reactor.run()
    }
}

fn bind_transports(addresses: &[SocketAddr]) -> Result<Vec<Transport>, StartError> {
    // More than ids can tell apart; the core's own bound is lower.
    if addresses.len() > usize::from(u8::MAX) {
        return Err(ConfigError::TooManyTransports(addresses.len()).into());
    }
    let ids = (0..).map(TransportId);
    Ok(ids
        .zip(addresses)
        .map(|(id, &address)| Transport::bind(id, address))
        .collect::<Result<_, _>>()?)
}

fn random_seed() -> Result<[u8; 32], StartError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(StartError::Randomness)?;
    Ok(seed)
}
