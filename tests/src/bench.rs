//! What the benchmarks share: bare loops to measure against, clocks of CPU time, tables, profiles.
//!
//! Both sides of a ratio take turns in one run, and medians are compared: what the machine does
//! beside hits both.

#[cfg(target_os = "linux")]
pub mod clock;
#[cfg(target_os = "linux")]
pub mod profile;
pub mod sealing;
#[cfg(target_os = "linux")]
pub mod seats;
#[cfg(target_os = "linux")]
pub mod sending;
mod table;

pub use self::table::{Table, median, ratio};

/// Whether this run is only to show that the benchmark works: by `--quick`.
#[must_use]
pub fn is_quick() -> bool {
    std::env::args().any(|argument| argument == "--quick")
}
