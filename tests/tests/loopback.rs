//! The real `kvill` over loopback UDP: 200 viewers of 50 packets a second, every packet counted.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use kvill_tests::client::media::{Follower, Packet, Source};
use kvill_tests::client::{Client, Options};
use kvill_tests::peer::report;
use kvill_tests::process::Kvill;
use socket2::{Domain, Socket, Type};
use str0m::format::Codec;
use str0m::media::MediaKind;

const VIEWERS: usize = 200;
/// Between two packets.
const PERIOD: Duration = Duration::from_millis(20);
const PACKETS: usize = 250;
/// How long the last packets may take.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// A second's worth of packets and more, so that a test that is not scheduled for a while loses
/// nothing. The system may grant less.
const RECEIVE_BUFFER_LEN: usize = 2 << 20;

/// A client with a socket of its own.
struct Peer {
    client: Client,
    socket: UdpSocket,
    video: Follower,
    audio: Follower,
}

impl Peer {
    /// Posts the offer of a client that `new` makes, and takes the answer in.
    fn join(url: &str, endpoint: &str, new: fn(Instant, SocketAddr, &Options) -> Client) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        socket.set_recv_buffer_size(RECEIVE_BUFFER_LEN).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .unwrap();
        let socket = UdpSocket::from(socket);
        let options = Options::new(&[Codec::Vp8, Codec::Opus]);
        let now = Instant::now();
        let mut client = new(now, socket.local_addr().unwrap(), &options);
        let answer = post(url, endpoint, client.offer());
        client.accept_answer(now, &answer).unwrap();
        Self {
            client,
            socket,
            video: Follower::default(),
            audio: Follower::default(),
        }
    }

    /// Receives and sends what there is.
    fn turn(&mut self, buffer: &mut [u8]) {
        let now = Instant::now();
        loop {
            match self.socket.recv_from(buffer) {
                Ok((len, from)) => self.client.handle_datagram(now, from, &buffer[..len]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        if self.client.poll_timeout() <= now {
            self.client.handle_timeout(now);
        }
        while let Some(out) = self.client.poll_transmit() {
            self.socket.send_to(&out.contents, out.destination).unwrap();
        }
    }

    fn check(&mut self, video: &[Packet], audio: &[Packet]) {
        for packet in self.client.video.drain(..) {
            self.video.follow(video, &packet).unwrap();
        }
        for packet in self.client.audio.drain(..) {
            self.audio.follow(audio, &packet).unwrap();
        }
    }
}

/// POSTs an offer and gives the answer.
fn post(url: &str, endpoint: &str, offer: &str) -> String {
    let host = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "POST {endpoint} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{offer}",
        offer.len()
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response
        .split_once("\r\n\r\n")
        .expect("a response has a head");
    assert!(head.starts_with("HTTP/1.1 201 "), "{endpoint}: {response}");
    body.to_owned()
}

/// Everybody in turn, until `done`, for so long at most.
fn run(peers: &mut [Peer], within: Duration, mut done: impl FnMut(&mut [Peer]) -> bool) {
    let mut buffer = vec![0; 65_536];
    let end = Instant::now() + within;
    while !done(peers) && Instant::now() < end {
        for peer in &mut *peers {
            peer.turn(&mut buffer);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn two_hundred_viewers_over_loopback_lose_nothing() {
    fastrand::seed(44);
    let kvill = Kvill::start(&[]);
    let mut peers = vec![Peer::join(kvill.url(), "/live/whip", Client::publisher)];
    run(&mut peers, Duration::from_secs(10), |p| {
        p[0].client.is_connected()
    });
    let started = Instant::now();
    for _ in 0..VIEWERS {
        peers.push(Peer::join(kvill.url(), "/live/whep", Client::viewer));
        run(&mut peers, Duration::from_millis(1), |_| false);
    }
    let everybody = |p: &mut [Peer]| p.iter().all(|p| p.client.is_connected());
    run(&mut peers, Duration::from_secs(10), everybody);
    assert!(everybody(&mut peers), "somebody is not connected");
    let joined = started.elapsed();

    let (mut video, mut audio) = (Vec::new(), Vec::new());
    let mut pictures = Source::new(Codec::Vp8, 65_500, 7);
    let mut sounds = Source::new(Codec::Opus, 100, 8);
    let started = Instant::now();
    for n in 0..PACKETS {
        let (kind, packets, sent) = match n {
            0 => (MediaKind::Video, pictures.keyframe(1, 1100), &mut video),
            _ if n % 2 == 0 => (MediaKind::Video, pictures.delta(1, 1100), &mut video),
            _ => (MediaKind::Audio, sounds.delta(1, 120), &mut audio),
        };
        peers[0].client.write(Instant::now(), kind, &packets);
        sent.extend(packets);
        let next = started + PERIOD * u32::try_from(n + 1).unwrap();
        run(&mut peers, PERIOD * 10, |_| Instant::now() >= next);
        peers.iter_mut().for_each(|p| p.check(&video, &audio));
    }
    let all = (video.len(), audio.len());
    let has_all = |p: &Peer| (p.video.count, p.audio.count) == all;
    run(&mut peers, DRAIN_TIME, |peers| {
        peers.iter_mut().for_each(|p| p.check(&video, &audio));
        peers[1..].iter().all(has_all)
    });

    let complete = peers[1..].iter().filter(|p| has_all(p)).count();
    let received: usize = peers[1..]
        .iter()
        .map(|p| p.video.count + p.audio.count)
        .sum();
    let table = format!(
        "loopback, {VIEWERS} viewers, {PACKETS} packets at {} per second\n\
         packets received      {received} of {}\n\
         viewers with all      {complete}\n\
         joining took          {joined:.1?}\n\
         publishing took       {:.1?}\n",
        1000 / PERIOD.as_millis(),
        VIEWERS * PACKETS,
        started.elapsed(),
    );
    report("loopback", &table);
    assert_eq!(complete, VIEWERS, "{table}");

    kvill.stop();
    run(&mut peers, Duration::from_secs(2), |p| {
        p.iter().all(|p| p.client.is_closed())
    });
    assert!(
        peers.iter().all(|p| p.client.is_closed()),
        "DTLS is closed when kvill stops"
    );
}
