//! What clients are offered of a machine's addresses, by every binary: looked up once for many
//! offers, and right again in the moment in which they change.
//!
//! Two network namespaces and a cable between them, see [`Pair`](kvill_tests::namespace::Pair).

#![cfg(target_os = "linux")]

mod changes;
mod offers;
mod scene;
mod wanted;
