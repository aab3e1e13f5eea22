//! Viewers that a server thinks are watching: connected, heard of, and deaf.
//!
//! Nobody reads what comes to them, so it costs the machine as little as can be: their sockets have
//! hardly any room, and the system drops the rest. One is not deaf: the witness, which tells
//! whether all of it was sent.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::light::{BUFFER_LEN, Viewer};
use crate::load::raise_file_limit;

/// Between two looks at the sockets.
const PAUSE: Duration = Duration::from_micros(500);

const PATIENCE: Duration = Duration::from_secs(30);

/// Joining in such numbers, none of them waits for long.
const WAVE: usize = 50;

/// Files that a process opens beside, to start servers say.
const OTHER_FILES: usize = 50;

/// Room for what the witness is sent while nobody reads it. The system may grant less.
const WITNESS_ROOM: usize = 4 << 20;

/// See the module.
#[derive(Debug)]
pub struct Seats {
    seats: Vec<Seat>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Seat {
    viewer: Viewer,
    socket: UdpSocket,
}

/// What the witness has got of RTP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// Datagrams.
    pub packets: u64,
    /// Their UDP payloads, together.
    pub bytes: u64,
}

impl Seats {
    /// Joins by `ask`, which gives the answer to an offer, and connects. Sockets are made on this
    /// thread, so in its network namespace, at `local`. The first is the witness.
    ///
    /// # Panics
    ///
    /// If anyone of them does not get connected, or this process may not have so many sockets.
    #[must_use]
    pub fn join(local: IpAddr, count: usize, mut ask: impl FnMut(&str) -> String) -> Self {
        make_room(count);
        let mut seats = Self {
            seats: Vec::new(),
            buffer: vec![0; BUFFER_LEN],
        };
        while seats.seats.len() < count {
            for _ in 0..WAVE.min(count - seats.seats.len()) {
                let mut seat = Seat::new(local);
                let answer = ask(&seat.viewer.offer());
                let accepted = seat.viewer.accept_answer(Instant::now(), &answer);
                accepted.unwrap_or_else(|error| panic!("{error} in {answer}"));
                seats.seats.push(seat);
            }
            seats.connect();
        }
        seats.deafen();
        seats.keep();
        seats
    }

    /// As many sockets of which no server knows yet.
    ///
    /// # Panics
    ///
    /// If there is no such address, or this process may not have so many sockets.
    #[must_use]
    pub fn strangers(local: IpAddr, count: usize) -> Self {
        make_room(count);
        let seats = Self {
            seats: std::iter::repeat_with(|| Seat::new(local))
                .take(count)
                .collect(),
            buffer: vec![0; BUFFER_LEN],
        };
        seats.deafen();
        seats
    }

    fn deafen(&self) {
        for (n, seat) in self.seats.iter().enumerate() {
            let room = if n == 0 { WITNESS_ROOM } else { 0 };
            let set = SockRef::from(&seat.socket).set_recv_buffer_size(room);
            set.expect("a size that the system changes to its liking");
        }
    }

    fn connect(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let waiting = self.seats.iter_mut().filter(|s| !s.viewer.is_connected());
            let mut waits = false;
            for seat in waiting {
                let why = seat.viewer.ended();
                assert!(why.is_none(), "a viewer's session ended: {why:?}");
                seat.turn(&mut self.buffer);
                waits = true;
            }
            if !waits {
                return;
            }
            assert!(Instant::now() < deadline, "not connected in {PATIENCE:?}");
            thread::sleep(PAUSE);
        }
    }

    /// Where the server sends to.
    ///
    /// # Panics
    ///
    /// If the system does not know.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let address = |seat: &Seat| seat.socket.local_addr();
        let addresses: Result<_, _> = self.seats.iter().map(address).collect();
        addresses.expect("sockets that are bound")
    }

    /// Has all of them show that they are there, as far as that is due: to be called once a second
    /// or so, while no media flows.
    ///
    /// # Panics
    ///
    /// If the server has ended a session.
    pub fn keep(&mut self) {
        for seat in &mut self.seats {
            seat.turn(&mut self.buffer);
            let why = seat.viewer.ended();
            assert!(why.is_none(), "a viewer's session ended: {why:?}");
        }
    }

    /// How long the keys are that the witness and the server have agreed on, in bytes. `None` for
    /// strangers.
    #[must_use]
    pub fn key_len(&self) -> Option<usize> {
        self.seats.first()?.viewer.key_len()
    }

    /// What the witness has got since the last time that this, or [`keep`](Self::keep), was called.
    pub fn heard(&mut self) -> Heard {
        let witness = self.seats.first_mut();
        witness.map_or_else(Heard::default, |seat| seat.turn(&mut self.buffer))
    }
}

/// Makes sure that this process may have so many sockets more.
fn make_room(count: usize) {
    let limit = raise_file_limit().expect("a limit that may be raised as far as the system says");
    let open = fs::read_dir("/proc/self/fd").expect("the system tells of files");
    let wanted = (open.count() + count + OTHER_FILES) as u64;
    assert!(
        limit.is_none_or(|limit| wanted <= limit),
        "this process needs {wanted} open files and may have {limit:?}: raise the limit by ulimit -n"
    );
}

impl Seat {
    fn new(local: IpAddr) -> Self {
        let socket = UdpSocket::bind((local, 0)).expect("an address of this machine");
        socket.set_nonblocking(true).expect("a socket that is open");
        Self {
            viewer: Viewer::default(),
            socket,
        }
    }

    /// Sends what is due. Media is counted, and nothing else is done about it: it would be missed.
    fn turn(&mut self, buffer: &mut [u8]) -> Heard {
        let now = Instant::now();
        let mut heard = Heard::default();
        // Whatever is wrong with the socket shows by a viewer that is not connected.
        while let Ok(len) = self.socket.recv(buffer) {
            match buffer[..len] {
                // RTCP and RTP (RFC 5761 §4).
                [128..=191, 192..=223, ..] => {}
                [128..=191, ..] => {
                    heard.packets += 1;
                    heard.bytes += len as u64;
                }
                _ => self.viewer.handle_datagram(now, &buffer[..len]),
            }
        }
        while let Some(len) = self.viewer.poll_transmit(now, buffer) {
            if let Some(server) = self.viewer.server() {
                let _ = self.socket.send_to(&buffer[..len], server);
            }
        }
        heard
    }
}
