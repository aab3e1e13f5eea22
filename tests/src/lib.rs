//! What the tests share: clients on str0m and light ones, the server in memory, real peers, other servers.

pub mod bench;
pub mod client;
pub mod errors;
pub mod light;
pub mod load;
pub mod memory;
#[cfg(target_os = "linux")]
pub mod namespace;
pub mod network;
pub mod observer;
pub mod peer;
pub mod process;
pub mod relay;
pub mod rival;
pub mod stage;
pub mod web;
pub mod wire;
