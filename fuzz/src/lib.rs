//! Fuzz targets: what comes from outside, taken further than tests by hand would.
//!
//! Each module is a target: `run` takes any bytes, and panics if what has to hold does not. The
//! programs in `fuzz_targets/` hand these functions to libFuzzer (`fuzz/run` starts them), and
//! `cargo test` replays the files of `corpus/`, which are seeds from real peers, what libFuzzer
//! found that reaches code nothing else reaches, and what once went wrong.
//!
//! Targets with a live server keep it from one input to the next while nothing has come of them,
//! since handshakes cost more than anything else here.

pub mod client;
pub mod datagrams;
pub mod fragments;
pub mod input;
pub mod message;
pub mod offers;
pub mod operations;
pub mod requests;
pub mod rtcp;
pub mod stun;

/// One target.
pub type Run = fn(&[u8]);

/// All targets, by the names of their programs and corpora.
pub const TARGETS: [(&str, Run); 7] = [
    ("datagrams", datagrams::run),
    ("fragments", fragments::run),
    ("offers", offers::run),
    ("operations", operations::run),
    ("requests", requests::run),
    ("rtcp", rtcp::run),
    ("stun", stun::run),
];
