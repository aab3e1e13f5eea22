//! The driver over real sockets.

use kvill_mio::Driver;

#[path = "../host/tests/drivers/driver.rs"]
mod shared;
