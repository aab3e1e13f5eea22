//! Kvill on smol: the core, its sockets and its HTTP in one future.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use kvill_smol::{Driver, Settings};
//!
//! let driver = Driver::bind(Settings::default())?;
//! println!("http://{}/", driver.http_addresses()[0]);
//! let handle = driver.handle(); // Clone it, send it to other threads, call `stop()`.
//! driver.run()?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Driver::spawn`] does the same on a thread of its own, and [`Driver::serve`] is the future itself,
//! for an executor that runs on one thread (`smol::LocalExecutor`, say). Drivers share nothing:
//! a program may have several. A connection is a future within the driver's, polled when its waker
//! was woken. An idle driver sleeps until the core's next deadline.

mod driver;
#[cfg(test)]
mod http_tests;
mod reactor;
mod signals;
mod stream;
mod watched;

pub use driver::Driver;
pub use kvill_core as core;
pub use kvill_host as host;
pub use kvill_host::engine::{Ended, StartError, Stats};
pub use kvill_host::handle::{Handle, HandleError, Reply};
pub use kvill_host::publisher::{Publisher, SendError};
pub use kvill_host::settings::Settings;
pub use kvill_host::spawn::Running;
pub use kvill_host::subscribers::Events;
pub use kvill_host::watcher::Watcher;
