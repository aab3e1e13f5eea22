//! The binary as a user meets it.
#![cfg(unix)]

const BINARY: &str = env!("CARGO_BIN_EXE_kvill");
const NAME: &str = "kvill";

#[path = "../host/tests/drivers/binary.rs"]
mod shared;
