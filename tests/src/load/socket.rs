//! The socket of one viewer: trains come in as they were put together, with the time of their arrival.
//!
//! On Linux the system tells three things beside a datagram, and all are needed to judge a server and
//! not this program: how it was put together (GRO), when it came, before this program had time for it,
//! and how many were dropped because this program had none. Elsewhere datagrams come one by one, and
//! their time is when they are read.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Instant, SystemTime};

use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

/// Kernel buffer asked for, in bytes: more rides out longer pauses of this program. The system may
/// grant less.
const KERNEL_BUFFER_LEN: usize = 1 << 20;

/// More of them find a moment without an interruption on a busier machine.
const CLOCK_LOOKS: usize = 5;

/// The largest train.
const TRAIN_LEN_MAX: usize = 64 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct Socket {
    socket: UdpSocket,
    /// What this socket has dropped so far, by the system's count.
    dropped: u32,
}

/// What a receive needs, for all sockets of a thread.
#[derive(Debug)]
pub(super) struct Room {
    train: Vec<u8>,
    #[cfg(target_os = "linux")]
    told: Vec<u8>,
    /// By which times of the system become the program's.
    clock: (SystemTime, Instant),
}

/// What came by one receive: datagrams of the same length, the last one may be shorter.
#[derive(Debug)]
pub(super) struct Train<'a> {
    pub(super) from: SocketAddr,
    /// When it came to this machine.
    pub(super) arrived: Instant,
    /// Datagrams that were dropped since the last receive, for there was no room.
    pub(super) dropped: u32,
    contents: &'a [u8],
    segment: usize,
}

impl Train<'_> {
    pub(super) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.contents.chunks(self.segment.max(1))
    }
}

impl Default for Room {
    fn default() -> Self {
        Self {
            train: vec![0; TRAIN_LEN_MAX],
            #[cfg(target_os = "linux")]
            told: linux::told(),
            clock: clocks(),
        }
    }
}

impl Room {
    /// Looks at both clocks again: that of the system may be set while the program runs.
    pub(super) fn set_clock(&mut self) {
        self.clock = clocks();
    }
}

/// Both clocks at once, as nearly as can be: of several looks the one that took the shortest time, for
/// a program may lose its core between two of them.
fn clocks() -> (SystemTime, Instant) {
    let look = || {
        let (before, system) = (Instant::now(), SystemTime::now());
        let took = before.elapsed();
        (took, (system, before + took / 2))
    };
    let first = look();
    let looks = std::iter::repeat_with(look).take(CLOCK_LOOKS - 1);
    let closest = looks.fold(
        first,
        |best, look| if look.0 < best.0 { look } else { best },
    );
    closest.1
}

impl Socket {
    /// At a free port, for servers that have an address like this one. It is watched.
    pub(super) fn bind(like: IpAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let any: SocketAddr = match like {
            IpAddr::V4(_) => ([0; 4], 0).into(),
            IpAddr::V6(_) => ([0; 16], 0).into(),
        };
        let mut socket = UdpSocket::bind(any)?;
        registry.register(&mut socket, token, Interest::READABLE)?;
        SockRef::from(&socket).set_recv_buffer_size(KERNEL_BUFFER_LEN)?;
        #[cfg(target_os = "linux")]
        linux::configure(&socket);
        Ok(Self { socket, dropped: 0 })
    }

    pub(super) fn port(&self) -> io::Result<u16> {
        self.socket.local_addr().map(|address| address.port())
    }

    pub(super) fn send(&self, contents: &[u8], server: SocketAddr) -> io::Result<usize> {
        self.socket.send_to(contents, server)
    }

    /// What is there. `None`: nothing.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn receive<'a>(&mut self, room: &'a mut Room) -> Option<Train<'a>> {
        let (len, from) = self.socket.recv_from(&mut room.train).ok()?;
        Some(Train {
            from,
            arrived: Instant::now(),
            dropped: 0,
            contents: &room.train[..len],
            segment: len,
        })
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::IoSliceMut;
    use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
    use std::os::fd::AsRawFd;
    use std::time::{Duration, Instant, SystemTime};

    use mio::net::UdpSocket;
    use nix::sys::socket::sockopt::{ReceiveTimestampns, RxqOvfl, UdpGroSegment};
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt};
    use nix::sys::time::TimeSpec;

    use super::{Room, Socket, Train};

    /// Room for what the system tells beside a train.
    pub(super) fn told() -> Vec<u8> {
        nix::cmsg_space!(TimeSpec, i32, u32)
    }

    /// What a system does not have is done without.
    pub(super) fn configure(socket: &UdpSocket) {
        let _ = setsockopt(socket, UdpGroSegment, &true);
        let _ = setsockopt(socket, ReceiveTimestampns, &true);
        let _ = setsockopt(socket, RxqOvfl, &1);
    }

    impl Socket {
        /// What is there. `None`: nothing.
        pub(in crate::load) fn receive<'a>(&mut self, room: &'a mut Room) -> Option<Train<'a>> {
            let mut slices = [IoSliceMut::new(&mut room.train)];
            let (fd, flags) = (self.socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
            let told = Some(&mut room.told[..]);
            let message = recvmsg::<SockaddrStorage>(fd, &mut slices, told, flags).ok()?;
            let (len, from) = (message.bytes, address(message.address.as_ref()?)?);
            let (mut segment, mut arrived, mut dropped) = (len, None, self.dropped);
            for told in message.cmsgs().ok()? {
                match told {
                    ControlMessageOwned::UdpGroSegments(size) => {
                        segment = usize::try_from(size).ok()?;
                    }
                    ControlMessageOwned::ScmTimestampns(at) => arrived = Some(at),
                    ControlMessageOwned::RxqOvfl(count) => dropped = count,
                    _ => {}
                }
            }
            let dropped_now = dropped.wrapping_sub(self.dropped);
            self.dropped = dropped;
            Some(Train {
                from,
                arrived: arrived.map_or_else(Instant::now, |at| instant(room.clock, at)),
                dropped: dropped_now,
                contents: &room.train[..len],
                segment,
            })
        }
    }

    fn address(from: &SockaddrStorage) -> Option<SocketAddr> {
        let v4 = from.as_sockaddr_in();
        let v4 = v4.map(|from| SocketAddrV4::new(from.ip(), from.port()).into());
        let v6 = || {
            let from = from.as_sockaddr_in6()?;
            let ip = from.ip().to_canonical();
            Some(match ip.is_ipv4() {
                true => SocketAddr::new(ip, from.port()),
                false => SocketAddrV6::new(from.ip(), from.port(), 0, from.scope_id()).into(),
            })
        };
        v4.or_else(v6)
    }

    /// A time of the system's clock by that of the program.
    fn instant((system, program): (SystemTime, Instant), at: TimeSpec) -> Instant {
        let at = SystemTime::UNIX_EPOCH + Duration::from(at);
        match at.duration_since(system) {
            Ok(since) => program + since,
            Err(before) => program.checked_sub(before.duration()).unwrap_or(program),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mio::{Events, Poll};

    use super::*;

    #[test]
    fn a_datagram_comes_with_the_time_of_its_arrival() {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(1);
        let mut socket = Socket::bind(address.ip(), poll.registry(), Token(0)).unwrap();
        let mut room = Room::default();
        assert!(socket.receive(&mut room).is_none());
        // Two clocks are compared.
        let slack = Duration::from_millis(1);
        // The system begins to note times a moment after it was asked to.
        let is_exact = (0..200).any(|_| {
            let before = Instant::now();
            let to = ("127.0.0.1", socket.port().unwrap());
            server.send_to(b"datagram", to).unwrap();
            let after = Instant::now();
            // The program is to be later than the datagram.
            std::thread::sleep(Duration::from_millis(5));
            while events.is_empty() {
                poll.poll(&mut events, None).unwrap();
            }
            events.clear();
            let train = socket.receive(&mut room).expect("it is readable");
            assert_eq!(train.from, address);
            assert_eq!(train.datagrams().collect::<Vec<_>>(), [b"datagram"]);
            train.arrived + slack >= before && train.arrived <= after + slack
        });
        assert!(is_exact || cfg!(not(target_os = "linux")));
    }
}
