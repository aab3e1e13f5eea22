//! Garbage, forgeries and replays by the ten thousand, while people watch.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use kvill_core::Config;
use kvill_core::stats::Counters;
use kvill_tests::client::Options;
use kvill_tests::memory::{Broadcast, ClientId, Crossing, Link, PATH, Way, World};
use str0m::format::Codec;

/// Keeps genuine datagrams to the server for forgers, and cuts some clients' DTLS off.
#[derive(Debug, Default)]
struct Wire {
    kept: HashMap<SocketAddr, Vec<Vec<u8>>>,
    /// From these clients only STUN passes, either way.
    only_stun: Vec<SocketAddr>,
    /// To these clients only STUN passes: their ClientHello goes unanswered, as they see it.
    deaf: Vec<SocketAddr>,
}

/// How many genuine datagrams are kept of each client, the first ones: its handshake and the
/// beginning of its media.
const KEPT: usize = 60;

impl Link for Wire {
    fn carries(&mut self, crossing: &Crossing<'_>) -> bool {
        let stun = is_stun(crossing.contents);
        let cut = self.only_stun.contains(&crossing.client)
            || (crossing.way == Way::ToClient && self.deaf.contains(&crossing.client));
        if crossing.way == Way::ToServer {
            let kept = self.kept.entry(crossing.client).or_default();
            if kept.len() < KEPT {
                kept.push(crossing.contents.to_vec());
            }
        }
        stun || !cut
    }
}

fn is_stun(datagram: &[u8]) -> bool {
    matches!(datagram, [0..4, ..])
}

fn dropped(counters: &Counters) -> u64 {
    counters.dropped_unknown
        + counters.dropped_stun
        + counters.dropped_no_session
        + counters.dropped_media
}

/// A path in full swing: the publisher, two viewers whose names forgers use, three whom they let
/// alone.
struct Siege {
    live: Broadcast<Wire>,
    victims: Vec<SocketAddr>,
    publisher: SocketAddr,
    rng: fastrand::Rng,
}

impl Siege {
    fn new(seed: u64) -> Self {
        println!("seed {seed}");
        let world = World::with_link(seed, Config::default(), Wire::default());
        let options = Options::new(&[Codec::Vp8, Codec::Opus]);
        let mut live = Broadcast::new(world, Codec::Vp8, 5, &options);
        live.keyframe(3, 900);
        live.sound(100);
        live.world.run(Duration::from_millis(20));
        let publisher = live.world.client(live.publisher).local();
        let victims = live.viewers[..2].iter().map(|v| v.id).collect::<Vec<_>>();
        let victims = victims
            .iter()
            .map(|id| live.world.client(*id).local())
            .collect();
        Self {
            live,
            victims,
            publisher,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Media goes on: a frame and a packet of sound, between two waves of forgeries.
    fn play_on(&mut self) {
        self.live.delta(2, 800);
        self.live.sound(80);
        self.live.world.run(Duration::from_millis(10));
        self.live.check();
    }

    fn send(&mut self, from: SocketAddr, contents: &[u8]) {
        self.live.world.cross(Way::ToServer, from, contents);
    }

    fn stranger(&mut self) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, self.rng.u8(..)], self.rng.u16(1..)))
    }

    /// Somebody whose address a session has.
    fn known(&mut self) -> SocketAddr {
        match self.rng.usize(..4) {
            0 => self.publisher,
            n => self.victims[n % 2],
        }
    }

    fn noise(&mut self, len: usize) -> Vec<u8> {
        let mut noise = vec![0; len];
        self.rng.fill(&mut noise);
        noise
    }

    fn counters(&self) -> Counters {
        self.live.world.server.stats().counters
    }

    /// Everything was counted, everybody is still there and has every packet.
    fn end(&mut self) {
        for _ in 0..20 {
            self.play_on();
        }
        self.live.check_complete();
        let stats = self.live.world.server.stats();
        assert_eq!(stats.sessions, 6, "a session was lost, or made");
        assert_eq!(stats.paths[0].viewers, 5);
        assert!(stats.paths[0].live);
    }
}

/// A datagram whose first byte says that it is this, and whose rest is noise: of a length that a
/// header may or may not fit into.
fn noise_that_begins(siege: &mut Siege, first: u8) -> Vec<u8> {
    let len = match siege.rng.usize(..3) {
        0 => siege.rng.usize(1..40),
        1 => siege.rng.usize(1..400),
        _ => siege.rng.usize(1..1500),
    };
    let mut noise = siege.noise(len);
    noise[0] = first;
    noise
}

#[test]
fn noise_from_strangers_is_counted_one_by_one() {
    let mut siege = Siege::new(901);
    for wave in 0..200 {
        let before = siege.counters();
        let sent = 100;
        for _ in 0..sent {
            let first = siege.rng.u8(..);
            let from = siege.stranger();
            let noise = noise_that_begins(&mut siege, first);
            siege.send(from, if wave % 10 == 0 { &[] } else { &noise });
        }
        let after = siege.counters();
        assert_eq!(after.datagrams - before.datagrams, sent);
        assert_eq!(dropped(&after) - dropped(&before), sent, "{after:?}");
        assert!(
            siege.live.world.transmits().is_empty(),
            "noise was answered"
        );
        siege.play_on();
    }
    siege.end();
}

#[test]
fn noise_from_known_addresses_hurts_nobody() {
    let mut siege = Siege::new(902);
    // STUN, DTLS (alert, handshake, data), RTP, RTCP, and none of these.
    let kinds = [0, 1, 20, 21, 22, 23, 63, 0x80, 0x90, 0xb0, 0x81, 70, 255];
    for _ in 0..200 {
        let before = siege.counters();
        for _ in 0..100 {
            let first = kinds[siege.rng.usize(..kinds.len())];
            let from = siege.known();
            let mut noise = noise_that_begins(&mut siege, first);
            if first == 0x81 && noise.len() > 1 {
                noise[1] = siege.rng.u8(200..208);
            }
            if (20..24).contains(&first) && noise.len() > 13 {
                // A record header that fits: DTLS 1.2, a low epoch, the right length.
                let epoch = siege.rng.u8(..2);
                noise[1..5].copy_from_slice(&[254, 253, 0, epoch]);
                let len = u16::try_from(noise.len() - 13).unwrap();
                noise[11..13].copy_from_slice(&len.to_be_bytes());
            }
            siege.send(from, &noise);
        }
        assert_eq!(siege.counters().datagrams - before.datagrams, 100);
        siege.play_on();
    }
    siege.end();
}

#[test]
fn genuine_datagrams_cut_flipped_and_replayed_hurt_nobody() {
    let mut siege = Siege::new(903);
    for _ in 0..20 {
        siege.play_on();
    }
    let mut sources: Vec<_> = siege.victims.clone();
    sources.push(siege.publisher);
    let kept = std::mem::take(&mut siege.live.world.link.kept);
    for _ in 0..200 {
        for _ in 0..100 {
            let source = sources[siege.rng.usize(..sources.len())];
            let pool = &kept[&source];
            let mut datagram = pool[siege.rng.usize(..pool.len())].clone();
            let changed = siege.rng.usize(..4);
            match changed {
                0 => {}
                1 => datagram.truncate(siege.rng.usize(..datagram.len())),
                2 => {
                    for _ in 0..siege.rng.usize(1..4) {
                        let bit = siege.rng.usize(..datagram.len() * 8);
                        datagram[bit / 8] ^= 1 << (bit % 8);
                    }
                }
                _ => {
                    let tail = siege.rng.usize(1..50);
                    datagram.extend(siege.noise(tail));
                }
            }
            // A valid binding request proves whatever address it comes from: that is ICE, and
            // whoever can copy one off the wire can move the victim's media. So whole ones only
            // come from where they came from.
            let from = match siege.rng.usize(..3) {
                _ if is_stun(&datagram) => source,
                0 => siege.stranger(),
                1 => siege.known(),
                _ => source,
            };
            siege.send(from, &datagram);
        }
        siege.play_on();
    }
    siege.end();
}

#[test]
fn forged_binding_requests_are_refused_one_by_one() {
    let mut siege = Siege::new(904);
    let victim = siege.victims[0];
    let pool = siege.live.world.link.kept[&victim].clone();
    let genuine = pool.into_iter().find(|d| is_stun(d)).unwrap();
    for _ in 0..100 {
        let before = siege.counters();
        for _ in 0..100 {
            // The user name is right; something behind it is not. FINGERPRINT comes last and is
            // not under the integrity check.
            let mut forged = genuine.clone();
            let bit = siege.rng.usize(forged.len() * 4..(forged.len() - 8) * 8);
            forged[bit / 8] ^= 1 << (bit % 8);
            let from = siege.stranger();
            siege.send(from, &forged);
        }
        let after = siege.counters();
        assert_eq!(after.dropped_stun - before.dropped_stun, 100, "{after:?}");
        siege.play_on();
    }
    siege.end();
}

#[test]
fn forged_media_of_viewers_is_refused_one_by_one() {
    let mut siege = Siege::new(905);
    for _ in 0..100 {
        let before = siege.counters();
        for _ in 0..100 {
            let from = siege.victims[siege.rng.usize(..2)];
            let mut forged = noise_that_begins(&mut siege, 0x81);
            if forged.len() > 1 && siege.rng.bool() {
                forged[1] = 201;
            }
            siege.send(from, &forged);
        }
        let after = siege.counters();
        assert_eq!(after.dropped_media - before.dropped_media, 100, "{after:?}");
        siege.play_on();
    }
    siege.end();
}

/// The clients that never finish: each goes as far as it can, and then for ever on.
fn unfinished(siege: &mut Siege) -> Vec<ClientId> {
    let options = Options::new(&[Codec::Vp8, Codec::Opus]);
    let world = &mut siege.live.world;
    let mut ids = Vec::new();
    for n in 0..12 {
        let id = match n % 2 {
            0 => world.view(PATH, &options),
            _ => world.publish(&format!("other{n}"), &options),
        };
        let address = world.client(id).local();
        match n / 2 % 3 {
            0 => world.link.only_stun.push(address),
            1 => world.link.deaf.push(address),
            // Posts an offer, and that is all.
            _ => drop(world.vanish(id)),
        }
        ids.push(id);
    }
    ids
}

#[test]
fn clients_that_never_finish_are_gone_after_ten_seconds() {
    let mut siege = Siege::new(906);
    unfinished(&mut siege);
    assert_eq!(siege.live.world.server.stats().sessions, 18);
    for _ in 0..980 {
        siege.play_on();
    }
    assert_eq!(
        siege.live.world.server.stats().sessions,
        18,
        "10 s are not over"
    );
    for _ in 0..40 {
        siege.play_on();
    }
    let stats = siege.live.world.server.stats();
    assert_eq!(stats.sessions, 6);
    assert_eq!(stats.counters.handshake_timeouts, 12);
    assert_eq!(stats.paths.len(), 1, "{:?}", stats.paths);
    siege.end();
}

#[test]
fn a_client_hello_for_ever_makes_no_session_live_longer() {
    let mut siege = Siege::new(907);
    let options = Options::new(&[Codec::Vp8]);
    let world = &mut siege.live.world;
    let id = world.view(PATH, &options);
    let address = world.client(id).local();
    world.link.deaf.push(address);
    siege.live.world.run(Duration::from_millis(300));
    let pool = siege.live.world.link.kept[&address].clone();
    let hello = pool
        .iter()
        .find(|d| d[0] == 22)
        .expect("it has sent a ClientHello")
        .clone();
    for n in 0..1000_u64 {
        // The same again, under new record numbers.
        let mut again = hello.clone();
        again[5..11].copy_from_slice(&n.to_be_bytes()[2..]);
        siege.send(address, &again);
        siege.play_on();
    }
    assert_eq!(siege.live.world.server.stats().sessions, 6);
    siege.end();
}

#[test]
fn alerts_that_nobody_signed_end_no_session() {
    let mut siege = Siege::new(908);
    let everybody = [siege.publisher, siege.victims[0], siege.victims[1]];
    // close_notify, and what is fatal; as in the handshake's epoch, and as if encrypted.
    for (n, alert) in [[1, 0], [2, 0], [2, 10], [2, 40], [2, 80]]
        .iter()
        .enumerate()
    {
        for epoch in [0, 1] {
            for from in everybody {
                let number = u8::try_from(n).unwrap() + 100;
                let mut record = vec![21, 254, 253, 0, epoch, 0, 0, 0, 0, 0, number, 0, 2];
                record.extend(alert);
                siege.send(from, &record);
            }
            siege.play_on();
        }
    }
    siege.end();
}

#[test]
fn a_new_handshake_from_a_known_address_ends_no_session() {
    let mut siege = Siege::new(909);
    // A handshake of somebody else, from where our people are.
    let options = Options::new(&[Codec::Vp8]);
    let other = siege.live.world.view(PATH, &options);
    siege.live.world.connect(&[other]);
    let address = siege.live.world.client(other).local();
    siege.live.world.leave(other);
    let handshake = siege.live.world.link.kept[&address].clone();
    let records = handshake.iter().filter(|d| matches!(d[..], [20..64, ..]));
    for record in records.cloned().collect::<Vec<_>>() {
        for from in [siege.publisher, siege.victims[0], siege.victims[1]] {
            for _ in 0..100 {
                siege.send(from, &record);
            }
        }
        siege.play_on();
    }
    siege.end();
}

#[test]
fn forged_rtp_of_the_publisher_is_refused_one_by_one() {
    let mut siege = Siege::new(910);
    for _ in 0..50 {
        let before = siege.counters();
        for _ in 0..100 {
            let mut forged = noise_that_begins(&mut siege, 0x80);
            if forged.len() > 1 {
                forged[1] &= 0x7f;
            }
            let from = siege.publisher;
            siege.send(from, &forged);
        }
        let after = siege.counters();
        assert_eq!(after.packets_in, before.packets_in);
        assert_eq!(dropped(&after) - dropped(&before), 100, "{after:?}");
        siege.play_on();
    }
    siege.end();
}
