//! Notices of the system that addresses or links changed.

#[cfg(not(target_os = "linux"))]
#[path = "notices/elsewhere.rs"]
mod system;
#[cfg(target_os = "linux")]
#[path = "notices/linux.rs"]
mod system;

pub use system::NoticeSocket;
