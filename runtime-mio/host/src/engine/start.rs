//! From settings to an engine.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Instant, SystemTime};

use hyper::rt::{Read, Write};
use kvill_core::config::ConfigError;
use kvill_core::ids::TransportId;
use kvill_core::{Config, Server};

use super::own::Own;
use super::{Engine, LoopCounters};
use crate::address::BindError;
use crate::http::{Http, Watch};
use crate::interfaces::InterfaceProvider;
use crate::mailbox::Mailbox;
use crate::settings::Settings;
use crate::subscribers::Subscribers;
use crate::timers::Timers;
use crate::transport::Transport;
use crate::udp::ReceiveBuffers;
use crate::wake::LoopWaker;

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

impl<S: Read + Write + Unpin + 'static, W: Watch> Engine<S, W> {
    /// Binds all sockets and makes the core. `waker` ends the loop's sleep, from any thread.
    ///
    /// # Errors
    /// An address is in use or a setting cannot work. Nothing stays bound then.
    pub fn bind(settings: Settings, waker: Waker) -> Result<Self, StartError> {
        let now = Instant::now();
        let timers = Timers::new(now);
        let waker = LoopWaker::new(waker);
        let http = Http::bind(
            &settings.http_addresses,
            settings.http_limits,
            &timers,
            Arc::clone(&waker),
        )?;
        let transports = bind_transports(&settings.udp_addresses)?;
        let udp_addresses: Vec<_> = transports.iter().map(Transport::local_address).collect();
        let config = Config {
            transports: udp_addresses.clone(),
            ..settings.config
        };
        let server = Server::new(config, random_seed()?, now, SystemTime::now())?;
        let mut engine = Self {
            server,
            transports,
            buffers: ReceiveBuffers::new(),
            http_addresses: http.addresses()?,
            udp_addresses,
            http,
            timers,
            interfaces: InterfaceProvider::new(settings.interfaces),
            looked_for_notices: None,
            mailbox: Mailbox::new(Arc::clone(&waker)),
            waker,
            subscribers: Subscribers::default(),
            own: Own::default(),
            stop_by: None,
            interrupted_by: None,
            rested: false,
            counters: LoopCounters::default(),
        };
        engine.refresh_interfaces(now);
        Ok(engine)
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
