//! A driver on a thread of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use kvill_core::net::Interface;

use crate::engine::{Ended, StartError};
use crate::handle::Handle;
use crate::settings::Settings;

/// What all drivers have.
pub trait Drive: Sized {
    /// Binds all sockets and makes the core.
    ///
    /// # Errors
    /// An address is in use or a setting cannot work. Nothing stays bound then.
    fn bind(settings: Settings) -> Result<Self, StartError>;
    /// Has SIGINT and SIGTERM stop it, where there are such signals.
    ///
    /// # Errors
    /// The signals cannot be taken over.
    fn stop_on_signals(&mut self) -> io::Result<()>;
    /// What other threads ask it by.
    fn handle(&self) -> Handle;
    /// Where HTTP is served.
    fn http_addresses(&self) -> &[SocketAddr];
    /// Where media is served.
    fn udp_addresses(&self) -> &[SocketAddr];
    /// This machine's addresses.
    fn interfaces(&self) -> &[Interface];
    /// Serves on this thread until it is stopped.
    ///
    /// # Errors
    /// The system failed; nothing can be served any more.
    fn run(self) -> io::Result<Ended>;
}

/// A driver that runs on a thread of its own. Dropped, it is stopped and waited for, as by
/// [`stop`](Self::stop): that blocks for a third of a second at most.
#[derive(Debug)]
pub struct Running {
    handle: Handle,
    http_addresses: Vec<SocketAddr>,
    udp_addresses: Vec<SocketAddr>,
    thread: Option<JoinHandle<io::Result<Ended>>>,
}

impl Running {
    /// Binds on a new thread and runs there.
    ///
    /// # Errors
    /// As [`Drive::bind`]; or there can be no thread.
    pub fn start<D: Drive>(name: &str, settings: Settings) -> Result<Self, StartError> {
        let (started, starts) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || {
            let driver = match D::bind(settings) {
                Ok(driver) => driver,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return Ok(Ended::Stopped);
                }
            };
            let http_addresses = driver.http_addresses().to_vec();
            let udp_addresses = driver.udp_addresses().to_vec();
            let _ = started.send(Ok((driver.handle(), http_addresses, udp_addresses)));
            driver.run()
        })?;
        let panicked = || StartError::System(io::Error::other("the thread ended at its start"));
        let (handle, http_addresses, udp_addresses) = starts.recv().map_err(|_| panicked())??;
        Ok(Self {
            handle,
            http_addresses,
            udp_addresses,
            thread: Some(thread),
        })
    }

    /// What to ask it by.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
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

    /// Stops it in an orderly way, and waits for its end.
    ///
    /// # Errors
    /// It had ended before, since the system failed it.
    ///
    /// # Panics
    /// With it, if it panicked.
    pub fn stop(mut self) -> io::Result<Ended> {
        self.handle.stop();
        self.join()
    }

    /// Waits for its end: somebody else stops it.
    ///
    /// # Errors
    /// The system failed it.
    ///
    /// # Panics
    /// With it, if it panicked.
    pub fn wait(mut self) -> io::Result<Ended> {
        self.join()
    }

    fn join(&mut self) -> io::Result<Ended> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(Ended::Stopped),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
