//! A loop of which nothing is left but sealing and sending: the floor, by the best system calls
//! (Linux).
//!
//! A frame is one train for each viewer (UDP GSO), and several trains leave by one `sendmmsg`. What is
//! one packet leaves by a socket without GSO.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use rustix::net::addr::SocketAddrArg as _;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use socket2::SockRef;
use str0m::media::MediaKind;

use super::sealing::{Aead, OVERHEAD, Viewer};
use crate::client::media::Packet;

/// As much as the drivers ask for.
const SEND_BUFFER_LEN: usize = 4 << 20;

/// The longest that the system takes at once, the header of UDP included.
const TRAIN_LEN_MAX: usize = 65_507;

/// See the module.
#[derive(Debug)]
pub struct Bare<A> {
    /// Cuts what it sends into packets.
    socket: UdpSocket,
    /// Does not.
    plain: UdpSocket,
    viewers: Vec<(Viewer<A>, SocketAddrAny)>,
    /// Room for the trains of one system call, one behind the other.
    buffer: Vec<u8>,
}

/// A packet and its track.
pub type Item = (MediaKind, Packet);

impl<A: Aead> Bare<A> {
    /// Sends from `local` to these addresses, in segments of packets of so many payload bytes, by keys
    /// of so many bytes. The socket is made on this thread, so in its network namespace.
    ///
    /// # Errors
    ///
    /// There is no such address, or no UDP GSO.
    pub fn new(
        local: IpAddr,
        viewers: &[SocketAddr],
        payload_len: usize,
        key_len: usize,
    ) -> io::Result<Self> {
        let [socket, plain] = [UdpSocket::bind((local, 0))?, UdpSocket::bind((local, 0))?];
        SockRef::from(&socket).set_send_buffer_size(SEND_BUFFER_LEN)?;
        SockRef::from(&plain).set_send_buffer_size(SEND_BUFFER_LEN)?;
        set_segment(&socket, payload_len + OVERHEAD)?;
        let viewers = viewers.iter().map(|to| (Viewer::new(key_len), to.as_any()));
        Ok(Self {
            socket,
            plain,
            viewers: viewers.collect(),
            buffer: Vec::new(),
        })
    }

    /// Sends a frame to everybody, `batch` trains by a system call. Gives how many bytes that were,
    /// and how many system calls.
    ///
    /// # Errors
    ///
    /// The system did not send.
    pub fn send(&mut self, frame: &[Item], batch: usize) -> io::Result<(usize, usize)> {
        let lens = frame
            .iter()
            .map(|(_, packet)| packet.payload.len() + OVERHEAD);
        let train_len = lens.sum();
        if train_len > TRAIN_LEN_MAX || batch == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let room = self.buffer.len().max(batch * train_len);
        self.buffer.resize(room, 0);
        let socket = match frame {
            [_] => &self.plain,
            _ => &self.socket,
        };
        let (mut bytes, mut calls) = (0, 0);
        for viewers in self.viewers.chunks(batch) {
            let rooms = self.buffer.chunks_mut(train_len);
            let trains: Vec<_> = viewers
                .iter()
                .zip(rooms)
                .map(|((viewer, _), room)| {
                    frame.iter().fold(0, |at, (kind, packet)| {
                        at + viewer.seal(*kind, packet, &mut room[at..])
                    });
                    bytes += train_len;
                    [IoSlice::new(room)]
                })
                .collect();
            let mut none: Vec<_> = std::iter::repeat_with(SendAncillaryBuffer::default)
                .take(viewers.len())
                .collect();
            let mut messages: Vec<_> = viewers
                .iter()
                .zip(&trains)
                .zip(&mut none)
                .map(|(((_, to), train), none)| MMsgHdr::new_with_addr(to, train, none))
                .collect();
            let mut left = &mut messages[..];
            while !left.is_empty() {
                let sent = sendmmsg(socket, left, SendFlags::empty())?;
                left = &mut left[sent..];
                calls += 1;
            }
        }
        Ok((bytes, calls))
    }
}

/// Sends datagrams to one address, by as few system calls as the system can do with.
///
/// # Errors
///
/// The system did not send.
pub fn send_together(
    socket: &UdpSocket,
    to: SocketAddr,
    datagrams: &[impl AsRef<[u8]>],
) -> io::Result<()> {
    let to = to.as_any();
    let parts: Vec<_> = datagrams
        .iter()
        .map(|datagram| [IoSlice::new(datagram.as_ref())])
        .collect();
    let mut none: Vec<_> = std::iter::repeat_with(SendAncillaryBuffer::default)
        .take(parts.len())
        .collect();
    let mut messages: Vec<_> = parts
        .iter()
        .zip(&mut none)
        .map(|(part, none)| MMsgHdr::new_with_addr(&to, part, none))
        .collect();
    let mut left = &mut messages[..];
    while !left.is_empty() {
        let sent = sendmmsg(socket, left, SendFlags::empty())?;
        left = &mut left[sent..];
    }
    Ok(())
}

/// Has the system cut what is longer into segments.
fn set_segment(socket: &UdpSocket, len: usize) -> io::Result<()> {
    let value = libc::c_int::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and the pointer and length
    // describe `value`, which the call only reads.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_SEGMENT,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use str0m::format::Codec;

    use super::*;
    use crate::client::media::Source;

    #[test]
    fn everybody_gets_the_packets_of_a_frame_one_by_one() {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let sockets: Vec<_> = std::iter::repeat_with(|| UdpSocket::bind((local, 0)))
            .take(5)
            .collect::<io::Result<_>>()
            .expect("free ports");
        let addresses: io::Result<Vec<_>> = sockets.iter().map(UdpSocket::local_addr).collect();
        let addresses = addresses.expect("sockets that are bound");
        let mut bare = Bare::<ring::aead::LessSafeKey>::new(local, &addresses, 300, 16)
            .expect("a system with GSO");
        let mut frame: Vec<Item> = Vec::new();
        let video = Source::new(Codec::Vp8, 1, 1).delta(3, 300);
        frame.extend(video.into_iter().map(|packet| (MediaKind::Video, packet)));
        let audio = Source::new(Codec::Opus, 1, 1).delta(1, 50);
        frame.extend(audio.into_iter().map(|packet| (MediaKind::Audio, packet)));
        let each = 950 + 4 * OVERHEAD;
        let sent = bare.send(&frame, 2).expect("a system that sends");
        assert_eq!(sent, (5 * each, 3));
        for socket in sockets {
            let mut buffer = [0; 2000];
            let mut lens = [0; 4];
            lens.fill_with(|| socket.recv(&mut buffer).expect("a datagram"));
            assert_eq!(lens, [328, 328, 328, 78]);
        }
    }
}
