//! Linux's netlink (rtnetlink(7)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use tracing::{debug, warn};

/// What is listened to: links, IPv4 addresses, IPv6 addresses.
const GROUPS: libc::c_int = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;

/// The kinds of messages that count.
const KINDS: [u16; 4] = [
    libc::RTM_NEWLINK,
    libc::RTM_DELLINK,
    libc::RTM_NEWADDR,
    libc::RTM_DELADDR,
];

/// Bytes read at once. A notice may be longer, its header comes first and is all that matters.
const BUFFER_LEN: usize = 4096;

/// Notices read at once: more than the system holds for a socket (212,992 bytes by default, of which
/// the shortest takes 768). If that many come while they are read, those left are older than the
/// lookup that follows, or bring an event of their own.
const READS_MAX: usize = 512;

/// A socket that becomes readable when the addresses or links of this machine's (precisely: of the
/// network namespace it was opened in) change.
///
/// Non-blocking, and closed in programs that this one starts. Watch its descriptor for readability,
/// level-triggered or edge-triggered: with mio by `SourceFd`, with async-io by a duplicate,
/// `as_fd().try_clone_to_owned()`. Reading is the provider's part.
#[derive(Debug)]
pub struct NoticeSocket {
    socket: OwnedFd,
}

impl NoticeSocket {
    /// `None` where the system refuses, which is logged: `ttl` is what holds then.
    pub(in crate::interfaces) fn open(ttl: Duration) -> Option<Self> {
        match Self::try_open() {
            Ok(socket) => Some(socket),
            Err(error) => {
                warn!(
                    %error,
                    "the system gives no notice of changes of its network: a new address is offered \
                     after up to {} s (--interface-ttl)",
                    ttl.as_secs()
                );
                None
            }
        }
    }

    fn try_open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // No protocol: netlink's is 0, which is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS.cast_unsigned()))?;
        Ok(Self { socket })
    }

    /// Reads what is there. Returns whether a notice was of addresses or links, or may have been.
    pub(in crate::interfaces) fn drain(&self) -> bool {
        let mut buffer = [0; BUFFER_LEN];
        let mut noticed = false;
        for _ in 0..READS_MAX {
            match recv(&self.socket, &mut buffer[..], RecvFlags::empty()) {
                Ok((read, _)) => noticed |= has_change(&buffer[..read]),
                Err(Errno::AGAIN) => return noticed,
                Err(Errno::INTR) => {}
                // Notices were lost: any of them may have counted.
                Err(Errno::NOBUFS) => noticed = true,
                Err(error) => {
                    debug!(%error, "a notice of the network could not be read");
                    return true;
                }
            }
        }
        true
    }
}

impl AsFd for NoticeSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for NoticeSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Whether any of these messages is of a kind that counts. The last may be cut off.
fn has_change(mut messages: &[u8]) -> bool {
    // A header (netlink(7)): length, kind, flags, sequence number, port.
    while let Some((len, rest)) = messages.split_first_chunk() {
        let Some(kind) = rest.first_chunk() else {
            return false;
        };
        if KINDS.contains(&u16::from_ne_bytes(*kind)) {
            return true;
        }
        let len = u32::from_ne_bytes(*len) as usize;
        let next = len.checked_next_multiple_of(4);
        match next.and_then(|next| messages.get(next..)) {
            Some(next) if len >= size_of::<libc::nlmsghdr>() => messages = next,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of this kind with so many bytes after its header.
    fn message(kind: u16, body_len: usize) -> Vec<u8> {
        let len = 16 + body_len;
        let mut bytes = u32::try_from(len).unwrap().to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize(len.next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn only_addresses_and_links_count() {
        for kind in KINDS {
            assert!(has_change(&message(kind, 8)), "{kind}");
        }
        for other in [libc::RTM_NEWROUTE, libc::RTM_NEWNEIGH, 2, 3] {
            assert!(!has_change(&message(other, 8)), "{other}");
        }
    }

    #[test]
    fn every_message_of_a_datagram_is_looked_at() {
        let mut several = message(libc::RTM_NEWROUTE, 13);
        several.extend(message(libc::RTM_NEWNEIGH, 0));
        assert!(!has_change(&several));
        several.extend(message(libc::RTM_DELADDR, 1));
        assert!(has_change(&several));
    }

    #[test]
    fn what_is_cut_off_or_nonsense_ends_the_search() {
        let whole = message(libc::RTM_NEWLINK, 100);
        assert!(has_change(&whole[..6]), "the kind is there");
        for len in 0..6 {
            assert!(!has_change(&whole[..len]), "{len} bytes");
        }
        for len in [0_u32, 1, 15, u32::MAX] {
            let mut lies = message(libc::RTM_NEWROUTE, 100);
            lies[..4].copy_from_slice(&len.to_ne_bytes());
            assert!(!has_change(&lies), "a length of {len}");
        }
    }
}
