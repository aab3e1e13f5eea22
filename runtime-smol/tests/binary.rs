//! The binary as a user meets it.
#![cfg(unix)]

const BINARY: &str = env!("CARGO_BIN_EXE_kvill-smol");
const NAME: &str = "kvill-smol";

#[path = "../../runtime-mio/host/tests/drivers/binary.rs"]
mod shared;
