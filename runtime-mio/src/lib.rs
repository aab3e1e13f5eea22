//! Kvill on mio: the core, its sockets and its HTTP in one loop on one thread.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use kvill_host::settings::Settings;
//!
//! let settings = Settings {
//!     http_addresses: vec!["127.0.0.1:0".parse()?],
//!     udp_addresses: vec!["127.0.0.1:0".parse()?],
//!     config: kvill_core::Config::default(),
//!     http_limits: kvill_host::http::Limits::default(),
//! };
//! let driver = kvill_mio::Driver::bind(settings)?;
//! println!("http://{}/", driver.http_addresses()[0]);
//! let stopper = driver.stopper(); // Clone it, send it to another thread, call `stop()`.
//! driver.run()?;
//! # Ok(())
//! # }
//! ```
//!
//! There is no async runtime: a connection is a future that the loop polls when its socket is
//! ready or its waker was woken. An idle loop sleeps until the core's next deadline.

mod connections;
mod driver;
mod http;
mod listeners;
mod outbox;
mod reactor;
mod signals;
mod stopper;
mod stream;
mod timers;
mod token;
mod transport;
mod wake;

pub use driver::{Driver, StartError};
pub use reactor::Ended;
pub use stopper::Stopper;
