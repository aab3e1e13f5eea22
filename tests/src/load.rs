//! Load on a WHIP and WHEP server: publishers with realistic media, and as many viewers as it takes.
//!
//! The program around it is `kvill-load`; benchmarks call [`run`](run::run) by a [`Plan`](run::Plan).
//! Viewers are [light](crate::light) and real: each has its own address, ICE, DTLS and SRTP.

pub mod film;
mod hall;
mod keyframe;
mod own;
pub mod plot;
mod publisher;
pub mod recording;
pub mod report;
pub mod run;
pub mod signalling;
mod socket;
mod stamp;
mod table;

pub use hall::{Milestones, Totals};
#[cfg(target_os = "linux")]
pub(crate) use own::raise_file_limit;
