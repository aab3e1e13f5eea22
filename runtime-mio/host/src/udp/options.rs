//! Socket options, and what quinn-udp's have to be changed to.
//!
//! quinn-udp is made for QUIC, which finds its path MTU by probing, so it forbids fragmentation:
//! on Linux by `IP_PMTUDISC_PROBE` and `IPV6_PMTUDISC_PROBE` (every IPv4 packet carries DF, and a
//! datagram larger than the *interface's* MTU is refused with `EMSGSIZE`), and by `IPV6_DONTFRAG`.
//! A publisher's packet of 1,450 bytes grows by up to 28 bytes (tag, RTX, header) and a 1,478-byte
//! payload needs 1,506 bytes on an Ethernet of 1,500: with quinn-udp's options it is refused with
//! `EMSGSIZE`, over IPv4 and IPv6 (tried on Linux 6.18). On a path narrower than the interface, DF
//! would lose it without a word.
//!
//! The media socket therefore gets `IP_PMTUDISC_DONT` and `IPV6_PMTUDISC_DONT`, and DONTFRAG off:
//! no DF, routers may fragment IPv4, and the system itself fragments both to what it knows of the
//! path. Segments of a GSO train cannot be fragmented: such a train is refused as a whole (by
//! `EMSGSIZE`, by `EINVAL` on older kernels), and `send` then sends it segment by segment. With
//! these options an Ethernet of 1,500 takes 1,478 bytes, alone and out of a train (tried with IPv4).
//!
//! On macOS and FreeBSD quinn-udp sets `IP_DONTFRAG` and `IPV6_DONTFRAG`; both are taken back
//! here, which was not tried. On Windows its settings stay: an oversized packet is dropped there,
//! and counted.

use std::io;
use std::net::UdpSocket;

use quinn_udp::{UdpSockRef, UdpSocketState};

/// Sets all options of a bound socket: non-blocking, destination addresses, GRO, fragmentation.
pub(super) fn configure(socket: &UdpSocket, is_ipv4: bool) -> io::Result<UdpSocketState> {
    let state = UdpSocketState::new(UdpSockRef::from(socket))?;
    allow_fragmentation(socket, is_ipv4)?;
    stop_timestamps(socket);
    Ok(state)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn allow_fragmentation(socket: &UdpSocket, is_ipv4: bool) -> io::Result<()> {
    // IPv4's option is set on an IPv6 socket too, for the mapped addresses of a dual-stack one.
    set_option(
        socket,
        libc::IPPROTO_IP,
        libc::IP_MTU_DISCOVER,
        libc::IP_PMTUDISC_DONT,
    )?;
    if !is_ipv4 {
        set_option(
            socket,
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_DONT,
        )?;
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 0)?;
    }
    Ok(())
}

#[cfg(any(target_os = "macos", target_os = "ios", target_os = "freebsd"))]
fn allow_fragmentation(socket: &UdpSocket, is_ipv4: bool) -> io::Result<()> {
    if is_ipv4 {
        set_option(socket, libc::IPPROTO_IP, libc::IP_DONTFRAG, 0)
    } else {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 0)
    }
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "ios",
    target_os = "freebsd"
)))]
#[expect(clippy::unnecessary_wraps, reason = "it fails on other systems")]
fn allow_fragmentation(_socket: &UdpSocket, _is_ipv4: bool) -> io::Result<()> {
    Ok(())
}

/// quinn-udp asks for a kernel timestamp with every datagram. Nobody reads it, and making it costs
/// the kernel a clock read per packet. Failing is harmless.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn stop_timestamps(socket: &UdpSocket) {
    let _ = set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 0);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn stop_timestamps(_socket: &UdpSocket) {}

#[cfg(unix)]
fn set_option(
    socket: &UdpSocket,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    // SAFETY: the descriptor is open as long as `socket` is borrowed, and the pointer and length
    // describe `value`, which the call only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
