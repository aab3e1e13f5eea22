//! Clients with UDP sockets of their own, against a server that runs.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::client::{Client, Options};
use crate::web::{self, Reply};

/// Between two looks at the sockets.
const PAUSE: Duration = Duration::from_millis(1);

/// A second's worth of packets and more, so that a test that is not scheduled for a while loses
/// nothing. The system may grant less.
const RECEIVE_BUFFER_LEN: usize = 2 << 20;

/// A client and its socket.
#[derive(Debug)]
pub struct Peer {
    /// The client.
    pub client: Client,
    /// Its datagrams of DTLS (RFC 7983) are lost on their way to the server.
    pub without_dtls: bool,
    /// Whence datagrams came.
    pub sources: BTreeSet<SocketAddr>,
    /// The session's URL, without the server's part: what DELETE goes to.
    pub location: String,
    socket: UdpSocket,
}

impl Peer {
    /// A client that `new` makes, at a free port of the address `local`.
    ///
    /// # Panics
    ///
    /// If there is no such address here.
    #[must_use]
    pub fn new(
        local: impl Into<IpAddr>,
        new: fn(Instant, SocketAddr, &Options) -> Client,
        options: &Options,
    ) -> Self {
        let socket = UdpSocket::bind((local.into(), 0)).expect("an address of this machine");
        let buffer = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER_LEN);
        buffer.expect("a size that the system cuts to its liking");
        socket.set_nonblocking(true).expect("a socket that is open");
        let local = socket.local_addr().expect("a socket that is bound");
        Self {
            client: new(Instant::now(), local, options),
            without_dtls: false,
            sources: BTreeSet::new(),
            location: String::new(),
            socket,
        }
    }

    /// Takes datagrams from one address only: the system drops all others.
    ///
    /// # Panics
    ///
    /// If there is no way to that address.
    pub fn listen_only_to(&mut self, server: SocketAddr) {
        self.socket.connect(server).expect("a way to the server");
    }

    /// Posts the offer, and takes the answer in.
    ///
    /// # Panics
    ///
    /// If the answer is not 201, or does not work.
    pub fn join(&mut self, url: &str, endpoint: &str) {
        let offer = self.client.offer().to_owned();
        let reply = web::offer(url, endpoint, &offer);
        let answer = reply.body.clone();
        self.take(&reply, &answer);
    }

    /// Takes an answer in, with the SDP changed by the test.
    ///
    /// # Panics
    ///
    /// If the response is not 201, or the SDP does not work.
    pub fn take(&mut self, reply: &Reply, answer: &str) {
        assert_eq!(reply.status, 201, "{reply:?}");
        let location = reply.header("location").expect("201 has a Location");
        location.clone_into(&mut self.location);
        self.client
            .accept_answer(Instant::now(), answer)
            .unwrap_or_else(|error| panic!("the answer does not work: {error}\n{answer}"));
    }

    fn turn(&mut self, buffer: &mut [u8]) {
        let now = Instant::now();
        loop {
            match self.socket.recv_from(buffer) {
                Ok((len, from)) => {
                    self.sources.insert(from);
                    self.client.handle_datagram(now, from, &buffer[..len]);
                }
                // Nobody listens there any more: the peer that asked will find out.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        if self.client.poll_timeout() <= now {
            self.client.handle_timeout(now);
        }
        while let Some(out) = self.client.poll_transmit() {
            let is_dtls = matches!(out.contents.first(), Some(20..64));
            if is_dtls && self.without_dtls {
                continue;
            }
            match self.socket.send_to(&out.contents, out.destination) {
                Err(error) if error.kind() != ErrorKind::ConnectionRefused => panic!("{error}"),
                _ => {}
            }
        }
    }
}

/// Lets everybody send and receive in turn, until `done`, for so long at most. Returns whether it
/// is done.
pub fn run(
    peers: &mut [Peer],
    within: Duration,
    mut done: impl FnMut(&mut [Peer]) -> bool,
) -> bool {
    let mut buffer = vec![0; 65_536];
    let end = Instant::now() + within;
    loop {
        if done(peers) {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        for peer in &mut *peers {
            peer.turn(&mut buffer);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Lets them send and receive until all of them are connected.
///
/// # Panics
///
/// If that takes longer than ten seconds.
pub fn connect(peers: &mut [Peer]) {
    let all = |peers: &mut [Peer]| peers.iter().all(|peer| peer.client.is_connected());
    if !run(peers, Duration::from_secs(10), all) {
        let waiting = peers.iter().filter(|peer| !peer.client.is_connected());
        let waiting: Vec<_> = waiting
            .map(|peer| (peer.client.local(), peer.client.error(), &peer.sources))
            .collect();
        panic!("not connected after 10 s (address, error, heard of): {waiting:?}");
    }
}

/// What a client is told of by an answer: the addresses of all candidates.
///
/// # Panics
///
/// If a candidate has none.
#[must_use]
pub fn candidates(answer: &str) -> Vec<SocketAddr> {
    answer
        .lines()
        .filter_map(|line| line.strip_prefix("a=candidate:"))
        .map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            SocketAddr::new(
                words[4].parse().expect("an address"),
                words[5].parse().expect("a port"),
            )
        })
        .collect()
}

/// The answer with the candidates of one address only.
#[must_use]
pub fn with_only(answer: &str, address: IpAddr) -> String {
    let is_other = |line: &&str| {
        line.starts_with("a=candidate:") && line.split(' ').nth(4) != Some(&address.to_string())
    };
    let kept = answer.split_inclusive('\n').filter(|line| !is_other(line));
    kept.collect()
}
