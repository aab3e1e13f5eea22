//! Where there are no notices.

use std::time::Duration;

/// The socket of notices, of which there is none on this system.
#[derive(Debug)]
pub enum NoticeSocket {}

impl NoticeSocket {
    pub(in crate::interfaces) fn open(_ttl: Duration) -> Option<Self> {
        None
    }

    pub(in crate::interfaces) fn drain(&self) -> bool {
        match *self {}
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for NoticeSocket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match *self {}
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for NoticeSocket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        match *self {}
    }
}
