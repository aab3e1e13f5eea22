//! What Kvill's drivers need of an operating system, once.
//!
//! Knows sockets, interfaces, HTTP, the command line and logs, and no runtime. An [`engine`] is
//! a whole server but for its sleep, which a driver brings, and a [`handle`] what other threads ask
//! it by; a [`publisher`] and a [`watcher`] are the program's own. Its parts: [`transport`] and [`udp`]
//! move batches and trains, [`interfaces`] tells this machine's addresses, [`http`] turns hyper's
//! requests into the core's, [`timers`] and [`wake`] are the loop's. [`spawn`] has a driver run on
//! a thread of its own. A [`program`] around a driver reads what the user wants by [`cli`] and
//! [`settings`]; [`banner`] tells what came of it, [`reach`] who will be able to connect.
//!
//! Portable by intent: what only Linux has sits behind `cfg` with a plain path beside it. Only
//! Linux was tried; for Windows, types were checked.

pub mod address;
pub mod banner;
pub mod cli;
pub mod engine;
pub mod handle;
pub mod http;
pub mod interfaces;
pub mod logging;
mod mailbox;
mod outbox;
pub mod program;
pub mod publisher;
pub mod reach;
pub mod settings;
pub mod spawn;
pub mod subscribers;
pub mod tcp;
pub mod timers;
pub mod transport;
pub mod udp;
pub mod wake;
pub mod watcher;
