//! The real `kvill` over loopback UDP: 200 viewers of 50 packets a second, every packet counted.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use kvill_tests::client::media::{Follower, Packet, Source};
use kvill_tests::client::{Client, Options};
use kvill_tests::peer::report;
use kvill_tests::process::Kvill;
use kvill_tests::wire::{Peer, connect, run};
use str0m::format::Codec;
use str0m::media::MediaKind;

const VIEWERS: usize = 200;
/// Between two packets.
const PERIOD: Duration = Duration::from_millis(20);
const PACKETS: usize = 250;
/// How long the last packets may take.
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// A client, and how far what it got was right.
#[derive(Default)]
struct Viewer {
    video: Follower,
    audio: Follower,
}

impl Viewer {
    fn follow(&mut self, client: &mut Client, video: &[Packet], audio: &[Packet]) {
        for packet in client.video.drain(..) {
            self.video.follow(video, &packet).unwrap();
        }
        for packet in client.audio.drain(..) {
            self.audio.follow(audio, &packet).unwrap();
        }
    }
}

/// Compares what everybody but the publisher has got since the last time.
fn check(viewers: &mut [Viewer], peers: &mut [Peer], video: &[Packet], audio: &[Packet]) {
    for (viewer, peer) in viewers.iter_mut().zip(&mut peers[1..]) {
        viewer.follow(&mut peer.client, video, audio);
    }
}

/// Posts the offer of a client that `new` makes, and takes the answer in.
fn join(url: &str, endpoint: &str, new: fn(Instant, SocketAddr, &Options) -> Client) -> Peer {
    let options = Options::new(&[Codec::Vp8, Codec::Opus]);
    let mut peer = Peer::new(Ipv4Addr::LOCALHOST, new, &options);
    peer.join(url, endpoint);
    peer
}

#[test]
fn two_hundred_viewers_over_loopback_lose_nothing() {
    fastrand::seed(44);
    let kvill = Kvill::start(&[]);
    let mut peers = vec![join(kvill.url(), "/live/whip", Client::publisher)];
    connect(&mut peers);
    let started = Instant::now();
    for _ in 0..VIEWERS {
        peers.push(join(kvill.url(), "/live/whep", Client::viewer));
        run(&mut peers, Duration::from_millis(1), |_| false);
    }
    connect(&mut peers);
    let joined = started.elapsed();
    let mut viewers: Vec<_> = (0..VIEWERS).map(|_| Viewer::default()).collect();

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
        check(&mut viewers, &mut peers, &video, &audio);
    }
    let all = (video.len(), audio.len());
    let has_all = |v: &Viewer| (v.video.count, v.audio.count) == all;
    run(&mut peers, DRAIN_TIME, |peers| {
        check(&mut viewers, peers, &video, &audio);
        viewers.iter().all(has_all)
    });

    let complete = viewers.iter().filter(|v| has_all(v)).count();
    let counts = viewers.iter().map(|v| v.video.count + v.audio.count);
    let received: usize = counts.sum();
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
    let all_closed = |p: &mut [Peer]| p.iter().all(|p| p.client.is_closed());
    let closed = run(&mut peers, Duration::from_secs(2), all_closed);
    assert!(closed, "DTLS is closed when kvill stops");
}
