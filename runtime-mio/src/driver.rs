//! A driver, from settings to a running loop.

use std::io;
use std::net::SocketAddr;

use kvill_core::net::Interface;
use kvill_host::engine::{Ended, StartError};
use kvill_host::handle::Handle;
use kvill_host::settings::Settings;
use kvill_host::spawn::{Drive, Running};

use crate::reactor::Reactor;

/// A server with its sockets bound, ready to run on the thread that made it.
#[derive(Debug)]
pub struct Driver {
    reactor: Reactor,
}

impl Driver {
    /// Binds all sockets and makes the core.
    ///
    /// # Errors
    /// An address is in use or a setting cannot work. Nothing stays bound then.
    pub fn bind(settings: Settings) -> Result<Self, StartError> {
        Ok(Self {
            reactor: Reactor::bind(settings)?,
        })
    }

    /// Binds and runs on a new thread.
    ///
    /// # Errors
    /// As [`bind`](Self::bind); or there can be no thread.
    pub fn spawn(settings: Settings) -> Result<Running, StartError> {
        Running::start::<Self>("kvill-mio", settings)
    }

    /// Has SIGINT and SIGTERM stop this driver: the first in an orderly way, the second at once.
    /// Does nothing where there are no such signals.
    ///
    /// They are the process's: all drivers that were told so stop. The system does not get them back, so
    /// that after the driver's end they do nothing.
    ///
    /// # Errors
    /// The signals cannot be taken over.
    pub fn stop_on_signals(&mut self) -> io::Result<()> {
        self.reactor.stop_on_signals()
    }

    /// Where HTTP is served, with the ports that the system chose.
    #[must_use]
    pub fn http_addresses(&self) -> &[SocketAddr] {
        self.reactor.engine().http_addresses()
    }

    /// Where media is served, with the ports that the system chose.
    #[must_use]
    pub fn udp_addresses(&self) -> &[SocketAddr] {
        self.reactor.engine().udp_addresses()
    }

    /// This machine's addresses, as of the start.
    #[must_use]
    pub fn interfaces(&self) -> &[Interface] {
        self.reactor.engine().interfaces()
    }

    /// What other threads ask the driver by: for stats, for events, to stop.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.reactor.engine().handle()
    }

    /// Serves on this thread until a [`Handle`] or a signal ends it.
    ///
    /// # Errors
    /// The system's readiness queue failed; nothing can be served any more.
    pub fn run(self) -> io::Result<Ended> {
        self.reactor.run()
    }
}

impl Drive for Driver {
    fn bind(settings: Settings) -> Result<Self, StartError> {
        Self::bind(settings)
    }

    fn stop_on_signals(&mut self) -> io::Result<()> {
        self.stop_on_signals()
    }

    fn handle(&self) -> Handle {
        self.handle()
    }

    fn http_addresses(&self) -> &[SocketAddr] {
        self.http_addresses()
    }

    fn udp_addresses(&self) -> &[SocketAddr] {
        self.udp_addresses()
    }

    fn interfaces(&self) -> &[Interface] {
        self.interfaces()
    }

    fn run(self) -> io::Result<Ended> {
        self.run()
    }
}
