//! Addresses come and go while somebody watches.

use std::fmt::Write as _;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kvill_tests::client::media::{Follower, Packet, Source};
use kvill_tests::namespace::{CABLE, Pair};
use kvill_tests::peer::report;
use kvill_tests::process::BINARIES;
use kvill_tests::wire::{self, Peer};
use str0m::format::Codec;
use str0m::media::MediaKind;

use crate::scene::{CLIENT, SERVER, Scene, WAY, addresses};

/// Come and go, with the bits of their networks. The IPv6 one is not said to be nobody else's: the
/// system looks for that first, as it does of every new one.
const CHANGING: [(&str, u8); 2] = [("10.99.0.2", 16), ("fd99::2", 64)];

/// How often each of them does.
const ROUNDS: usize = 3;

/// Between two changes.
const PAUSE: Duration = Duration::from_millis(100);

/// Between two frames.
const FRAME: Duration = Duration::from_millis(20);

/// How long the last frames may be under way.
const SOON: Duration = Duration::from_secs(5);

/// Ends what is played, whatever becomes of the test.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a viewer had of a publisher.
struct Played {
    packets: usize,
    longest_gap: Duration,
}

/// The first publishes and the second watches, until they are told to end.
///
/// # Panics
///
/// If the viewer does not get every packet, in order.
fn play(peers: &mut [Peer], is_over: &AtomicBool) -> Played {
    let mut pictures = Source::new(Codec::Vp8, 65_500, 7);
    let mut sent: Vec<Packet> = Vec::new();
    let (mut last, mut longest_gap, mut count) = (None, Duration::ZERO, 0);
    let mut next = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        let picture = match sent.is_empty() {
            true => pictures.keyframe(2, 1_100),
            false => pictures.delta(2, 1_100),
        };
        let now = Instant::now();
        peers[0].client.write(now, MediaKind::Video, &picture);
        sent.extend(picture);
        next += FRAME;
        wire::run(peers, SOON, |peers| {
            let (now, came) = (Instant::now(), peers[1].client.video.len());
            if came > count {
                count = came;
                let gap = last.map_or(Duration::ZERO, |last| now - last);
                longest_gap = longest_gap.max(gap);
                last = Some(now);
            }
            now >= next
        });
    }
    let has_all = |peers: &mut [Peer]| peers[1].client.video.len() == sent.len();
    assert!(wire::run(peers, SOON, has_all), "packets are missing");
    let mut follower = Follower::default();
    for packet in &peers[1].client.video {
        let followed = follower.follow(&sent, packet);
        followed.unwrap_or_else(|wrong| panic!("{wrong}"));
    }
    Played {
        packets: follower.count,
        longest_gap,
    }
}

/// Changes addresses, and makes an offer as soon as `ip` is done. Gives the longest time from there
/// to the answer, by change.
fn change(net: &Pair, scene: &Scene<'_>) -> Vec<(String, Duration)> {
    let mut expected = scene.offered();
    assert_eq!(expected, [SERVER].into());
    let mut longest: Vec<(String, Duration)> = Vec::new();
    for round in 0..ROUNDS {
        let changes = ["add", "del"].into_iter();
        let changes = changes.flat_map(|verb| CHANGING.map(|what| (verb, what)));
        for (place, (verb, (address, prefix_len))) in changes.enumerate() {
            thread::sleep(PAUSE);
            let words = format!("addr {verb} {address}/{prefix_len} dev {CABLE}");
            net.server.ip(&words).expect("a right to change addresses");
            let changed = Instant::now();
            let replies = scene.offer(1);
            let took = changed.elapsed();

            let address = address.parse().expect("an address");
            match verb {
                "add" => expected.insert(address),
                _ => expected.remove(&address),
            };
            assert_eq!(addresses(&replies[0]), expected, "after {words}");
            scene.delete(&replies);
            match round {
                0 => longest.push((format!("{verb} {address}"), took)),
                _ => longest[place].1 = longest[place].1.max(took),
            }
        }
    }
    longest
}

#[test]
fn the_next_offer_has_the_addresses_that_there_are_and_viewers_watch_on() {
    let mut table = format!(
        "addresses come and go while somebody watches, {ROUNDS} times each: ms from the end of `ip \
         addr` to the answer that has it, at worst\n\
         | server |"
    );
    for (verb, (address, _)) in ["add", "del"].iter().flat_map(|v| CHANGING.map(|c| (v, c))) {
        let _ = write!(table, " {verb} {address} |");
    }
    table += " packets to the viewer, none lost | longest gap |\n|---|---|---|---|---|---|---|\n";
    for binary in BINARIES {
        let Some(net) = Pair::if_possible(&[SERVER], &[CLIENT]) else {
            return;
        };
        // Nothing but a notice ends the list within the test.
        let server = Scene::new(&net, binary, &["--interface-ttl", "3600"]);
        let mut peers = server.publisher(WAY);
        peers.push(server.join("/live/whep", WAY));
        wire::connect(&mut peers);

        let is_over = AtomicBool::new(false);
        let (longest, played) = thread::scope(|scope| {
            let player = scope.spawn(|| play(&mut peers, &is_over));
            let end = End(&is_over);
            let longest = change(&net, &server);
            drop(end);
            let played = player.join();
            (longest, played.unwrap_or_else(|panic| resume_unwind(panic)))
        });
        let _ = write!(table, "| {binary} |");
        for (_, took) in &longest {
            let _ = write!(table, " {:.1} |", took.as_secs_f64() * 1e3);
        }
        let _ = writeln!(
            table,
            " {} | {} ms |",
            played.packets,
            played.longest_gap.as_millis()
        );
        let totals = server.stop();
        let changes = 2 * CHANGING.len() * ROUNDS;
        assert!(totals.ended_by_notice >= changes, "{totals:?}");
    }
    report("interface-changes", &table);
}
