//! The heart of Kvill: one publisher in by WHIP, any number of viewers out by WHEP.
//!
//! This crate is *sans-IO*. It has no sockets, clocks, threads, locks or files: a [`Server`] is a
//! pure state machine that is fed with time, datagrams and HTTP requests, and is asked for what to
//! send. A *driver* (`kvill-mio`, say, or a loop of your own) brings the rest.
//!
//! The calls of a driver, all on [`Server`]:
//!
//! | from the world in | from the core out |
//! |---|---|
//! | [`handle_datagram`](Server::handle_datagram) | [`poll_transmit`](Server::poll_transmit) |
//! | [`handle_request`](Server::handle_request), [`handle_cancelled`](Server::handle_cancelled) | [`poll_response`](Server::poll_response) |
//! | [`handle_interfaces`](Server::handle_interfaces) | [`poll_event`](Server::poll_event) |
//! | [`handle_timeout`](Server::handle_timeout) | [`poll_timeout`](Server::poll_timeout) |
//!
//! Calls may be made in any order. None blocks, and each does a bounded amount of work. After
//! a batch of `handle_*` calls a driver drains the four `poll_*` and sleeps until
//! [`poll_timeout`](Server::poll_timeout).

pub mod config;
mod control;
mod dtls;
mod egress;
mod fingerprint;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod ice;
pub mod ids;
mod ingest;
mod media;
pub mod net;
mod rtcp;
mod seeded;
pub mod server;
pub mod signal;
mod srtp;
pub mod stats;
mod stream;
pub mod time;

pub use config::Config;
pub use server::Server;
