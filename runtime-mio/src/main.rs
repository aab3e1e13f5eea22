//! The server `kvill`.

use std::process::ExitCode;

use kvill_host::program;
use kvill_mio::Driver;

fn main() -> ExitCode {
    program::main::<Driver>("kvill")
}
