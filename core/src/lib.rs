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
//! [`poll_timeout`](Server::poll_timeout). [`guide`] says all of it: how to write a driver.
//!
//! The program that the driver is part of may publish and watch as well, without WHIP and WHEP. To
//! everybody else it is a publisher or a viewer like any other:
//!
//! | the program publishes | the program watches |
//! |---|---|
//! | [`publish`](Server::publish), [`unpublish`](Server::unpublish) | [`watch`](Server::watch), [`unwatch`](Server::unwatch) |
//! | [`handle_frame`](Server::handle_frame) or [`handle_packet`](Server::handle_packet) and [`handle_sender_report`](Server::handle_sender_report) | [`poll_watcher`](Server::poll_watcher), [`poll_packet`](Server::poll_packet), [`watched_tracks`](Server::watched_tracks), [`request_keyframe`](Server::request_keyframe) |
//! | [`Event::KeyframeWanted`](server::Event::KeyframeWanted), [`Event::PublisherLeft`](server::Event::PublisherLeft) | [`Event::ViewerLeft`](server::Event::ViewerLeft) |
//!
//! After these calls, too, the `poll_*` are to be drained; a driver whose program watches drains
//! `poll_watcher` with them.
//!
//! Who runs the server sees what is going on by [`stats`](Server::stats),
//! [`sessions`](Server::sessions) and [`viewer_stats`](Server::viewer_stats), ends a session by
//! [`close`](Server::close), and all by [`shut_down`](Server::shut_down).

pub mod config;
mod control;
mod dtls;
mod egress;
mod fingerprint;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod guide {
    #![doc = include_str!("driver_guide.md")]
}
mod ice;
pub mod ids;
mod ingest;
pub mod media;
pub mod net;
mod rtcp;
pub mod rtp;
mod seeded;
pub mod server;
pub mod signal;
mod srtp;
pub mod stats;
mod stream;
pub mod time;

pub use config::Config;
pub use server::Server;
