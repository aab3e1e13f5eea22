//! What Kvill's drivers need of an operating system, once.
//!
//! Knows sockets, interfaces, HTTP, the command line and logs, and no runtime: a driver brings the
//! loop. [`udp`] moves batches and trains, [`interfaces`] tells this machine's addresses, [`http`]
//! turns hyper's requests into the core's, [`cli`] and [`settings`] read what the user wants,
//! [`banner`] tells what came of it, [`reach`] who will be able to connect.
//!
//! Portable by intent: what only Linux has sits behind `cfg` with a plain path beside it. Only
//! Linux was compiled and tried.

pub mod address;
pub mod banner;
pub mod cli;
pub mod http;
pub mod interfaces;
pub mod logging;
pub mod reach;
pub mod settings;
pub mod tcp;
pub mod udp;
