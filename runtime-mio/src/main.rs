//! The server `kvill`.

fn main() {}
