//! Several trains by one system call: `sendmmsg` of GSO trains, which quinn-udp has not. Linux's.
//!
//! A message has what it needs and nothing else: where from (`IP_PKTINFO`), and the length of its
//! segments (`UDP_SEGMENT`).

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use socket2::SockAddr;

use super::TOGETHER_MAX;

/// Room for both control messages: 40 bytes of `IPV6_PKTINFO`, which is the longer, and 24 of
/// `UDP_SEGMENT`, with their headers.
const CONTROL_LEN: usize = 64;

/// A train, or one datagram.
#[derive(Debug)]
pub(super) struct Message<'a> {
    /// Of the socket's family.
    pub(super) destination: SocketAddr,
    /// Of the same family. None: the system chooses.
    pub(super) source: Option<IpAddr>,
    pub(super) contents: &'a [u8],
    /// There are several segments, of this length but for the last. Less than 65,536.
    pub(super) segment_len: Option<usize>,
}

/// Control messages are read by the kernel as structures.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_LEN]);

/// Sends the first of these messages, at most [`TOGETHER_MAX`]: returns how many went out whole.
///
/// # Errors
/// What the system says of the first one.
pub(super) fn send(socket: BorrowedFd<'_>, messages: &[Message<'_>]) -> io::Result<usize> {
    let count = messages.len().min(TOGETHER_MAX);
    let mut addresses: [Option<SockAddr>; TOGETHER_MAX] = [const { None }; TOGETHER_MAX];
    let mut controls = [Control([0; CONTROL_LEN]); TOGETHER_MAX];
    // SAFETY: all of these are numbers and pointers, for which zeros are a value.
    let mut parts: [libc::iovec; TOGETHER_MAX] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut headers: [libc::mmsghdr; TOGETHER_MAX] = unsafe { mem::zeroed() };
    for (n, message) in messages.iter().take(count).enumerate() {
        let address = addresses[n].insert(SockAddr::from(message.destination));
        parts[n].iov_base = message.contents.as_ptr().cast_mut().cast();
        parts[n].iov_len = message.contents.len();
        let header = &mut headers[n].msg_hdr;
        header.msg_name = address.as_ptr().cast_mut().cast();
        header.msg_namelen = address.len();
        header.msg_iov = &raw mut parts[n];
        header.msg_iovlen = 1;
        write_control(header, &mut controls[n], message);
    }
    let count = libc::c_uint::try_from(count).unwrap_or_default();
    // SAFETY: the headers point to what lives until the call is over: addresses, parts and controls
    // above, and the contents that are borrowed. The kernel only reads what they point to.
    let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, 0) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

fn write_control(header: &mut libc::msghdr, control: &mut Control, message: &Message<'_>) {
    if message.source.is_none() && message.segment_len.is_none() {
        return;
    }
    header.msg_control = control.0.as_mut_ptr().cast();
    // All there is, until it is known how much of it is used.
    header.msg_controllen = CONTROL_LEN as _;
    let mut used = 0;
    // SAFETY: the header has a control buffer of that length.
    let mut place = unsafe { libc::CMSG_FIRSTHDR(header) };
    match message.source {
        Some(IpAddr::V4(source)) => {
            let value = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: address_of(source),
                ipi_addr: address_of(Ipv4Addr::UNSPECIFIED),
            };
            used += put(
                header,
                &mut place,
                libc::IPPROTO_IP,
                libc::IP_PKTINFO,
                value,
            );
        }
        Some(IpAddr::V6(source)) => {
            let value = libc::in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: source.octets(),
                },
                ipi6_ifindex: 0,
            };
            used += put(
                header,
                &mut place,
                libc::IPPROTO_IPV6,
                libc::IPV6_PKTINFO,
                value,
            );
        }
        None => {}
    }
    if let Some(len) = message.segment_len.and_then(|len| u16::try_from(len).ok()) {
        used += put(header, &mut place, libc::SOL_UDP, libc::UDP_SEGMENT, len);
    }
    header.msg_controllen = used as _;
}

fn address_of(address: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from_ne_bytes(address.octets()),
    }
}

/// Writes a control message at `place`, moves that behind it, and returns how much room it took.
fn put<T: Copy>(
    header: &libc::msghdr,
    place: &mut *mut libc::cmsghdr,
    level: libc::c_int,
    kind: libc::c_int,
    value: T,
) -> usize {
    let len = libc::c_uint::try_from(size_of::<T>()).expect("a few bytes");
    assert!(!place.is_null(), "there is room for both");
    // SAFETY: `place` is what CMSG_FIRSTHDR or CMSG_NXTHDR gave for this header and is not null, so a
    // header of a control message lies within the buffer; that the value fits behind it is what
    // CONTROL_LEN is for, and asserted below. The buffer is aligned for the header; the value is
    // written as bytes. CMSG_NXTHDR gives null where there is no room for another one.
    unsafe {
        let end = header.msg_control.cast::<u8>().add(CONTROL_LEN);
        let data = libc::CMSG_DATA(*place);
        assert!(data.add(size_of::<T>()) <= end, "there is room");
        (**place).cmsg_level = level;
        (**place).cmsg_type = kind;
        (**place).cmsg_len = libc::CMSG_LEN(len) as _;
        ptr::write_unaligned(data.cast(), value);
        *place = libc::CMSG_NXTHDR(header, *place);
        libc::CMSG_SPACE(len) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    fn pair(host: &str) -> (UdpSocket, UdpSocket) {
        let bind = || UdpSocket::bind((host, 0)).unwrap();
        (bind(), bind())
    }

    fn received(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
        let mut buffer = [0; 2048];
        let mut take = || {
            let len = socket.recv(&mut buffer).unwrap();
            buffer[..len].to_vec()
        };
        std::iter::repeat_with(&mut take).take(count).collect()
    }

    #[test]
    fn trains_and_datagrams_leave_together_to_where_each_is_to_go() {
        for host in ["127.0.0.1", "::1"] {
            let (from, to) = pair(host);
            let other = UdpSocket::bind((host, 0)).unwrap();
            let source = Some(from.local_addr().unwrap().ip());
            let message = |to: &UdpSocket, source, contents, segment_len| Message {
                destination: to.local_addr().unwrap(),
                source,
                contents,
                segment_len,
            };
            let messages = [
                message(&to, source, b"aaabbbc", Some(3)),
                message(&other, None, b"ddee", Some(2)),
                message(&to, source, b"f", None),
                message(&other, None, b"g", None),
            ];
            assert_eq!(send(from.as_fd(), &messages).unwrap(), 4);
            assert_eq!(received(&to, 4), [&b"aaa"[..], b"bbb", b"c", b"f"]);
            assert_eq!(received(&other, 3), [&b"dd"[..], b"ee", b"g"]);
        }
    }

    #[test]
    fn no_more_are_sent_than_one_call_takes() {
        let (from, to) = pair("127.0.0.1");
        let messages: Vec<_> = std::iter::repeat_with(|| Message {
            destination: to.local_addr().unwrap(),
            source: None,
            contents: b"x",
            segment_len: None,
        })
        .take(TOGETHER_MAX + 1)
        .collect();
        assert_eq!(send(from.as_fd(), &messages).unwrap(), TOGETHER_MAX);
    }

    #[test]
    fn a_message_that_cannot_be_sent_lets_those_before_it_go() {
        let (from, to) = pair("127.0.0.1");
        let message = |len: usize| Message {
            destination: to.local_addr().unwrap(),
            source: None,
            contents: &[7; 70_000][..len],
            segment_len: None,
        };
        let messages = [message(1), message(70_000), message(2)];
        assert_eq!(send(from.as_fd(), &messages).unwrap(), 1);
        let error = send(from.as_fd(), &messages[1..]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EMSGSIZE));
    }
}
