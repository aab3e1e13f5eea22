//! One suite for every binary: over HTTP they say the same, and in the end they have counted the
//! same.
//!
//! Each scenario runs against all binaries at once, each with clients of its own over loopback
//! sockets, and leaves a transcript: what was asked, what was answered to the last header, what
//! became of media, and the final counters. What is random, an address or a time has a placeholder
//! in it. The transcripts have to be the same, and that which lies beside this file. When they
//! change for a good reason, write them anew and read the difference:
//!
//! ```text
//! KVILL_RENEW=1 cargo test --workspace --test conformance
//! ```

mod asking;
mod comings;
mod counters;
mod film;
mod lossy;
mod placeholders;
mod restarts;
mod scenario;
mod scene;
mod sessions;
mod stopping;
mod transcript;
mod waiting;
