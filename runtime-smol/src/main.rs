//! The server `kvill-smol`.

use std::process::ExitCode;

use kvill_host::program;
use kvill_smol::Driver;

fn main() -> ExitCode {
    program::main::<Driver>("kvill-smol")
}
