//! What arrives together leaves together: trains, and the same ones in every run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use kvill_core::Config;
use kvill_core::net::Transmit;
use kvill_tests::client::Options;
use kvill_tests::client::media::Packet;
use kvill_tests::memory::{Broadcast, Way, World, segments};
use str0m::format::Codec;
use str0m::media::MediaKind;

const VIEWERS: usize = 5;

/// Enough for a frame to wait until it is whole: 0.6 ms.
const MANY: usize = 120;

fn broadcast(seed: u64) -> Broadcast {
    broadcast_to(VIEWERS, seed, Config::default())
}

fn broadcast_to(viewers: usize, seed: u64, config: Config) -> Broadcast {
    let world = World::new(seed, config);
    let options = Options::new(&[Codec::Vp8, Codec::Opus]);
    let mut live = Broadcast::new(world, Codec::Vp8, viewers, &options);
    live.keyframe(3, 1000);
    live.sound(100);
    live.world.run(Duration::from_millis(20));
    live
}

/// Publishes video and then audio, hands all of it to the server before that may send, and gives
/// what it then sends: media only, to viewers only.
fn in_one_batch(
    live: &mut Broadcast,
    video: Vec<Packet>,
    audio: Vec<Packet>,
) -> Vec<(Transmit, Vec<u8>)> {
    live.publish(MediaKind::Video, video);
    live.publish(MediaKind::Audio, audio);
    for (from, contents) in live.world.outgoing(live.publisher) {
        live.world.cross(Way::ToServer, from, &contents);
    }
    let mut transmits = live.world.transmits();
    for (transmit, buffer) in &transmits {
        for datagram in segments(transmit, buffer) {
            live.world
                .cross(Way::ToClient, transmit.destination, datagram);
        }
    }
    let publisher = live.world.client(live.publisher).local();
    transmits.retain(|(t, buffer)| t.destination != publisher && is_rtp(buffer));
    transmits
}

/// RFC 5761 §4.
fn is_rtp(datagram: &[u8]) -> bool {
    let [first, second, ..] = datagram else {
        return false;
    };
    (128..192).contains(first) && !(192..224).contains(second)
}

fn by_viewer(transmits: &[(Transmit, Vec<u8>)]) -> BTreeMap<SocketAddr, Vec<Transmit>> {
    let mut map = BTreeMap::<_, Vec<_>>::new();
    for (transmit, _) in transmits {
        map.entry(transmit.destination).or_default().push(*transmit);
    }
    map
}

#[test]
fn eight_packets_of_a_batch_leave_as_at_most_two_transmits_per_viewer() {
    let mut live = broadcast(8);
    let mut frame = live.video.delta(7, 1100);
    frame.extend(live.video.delta(1, 400));
    let transmits = in_one_batch(&mut live, frame, Vec::new());

    let viewers = by_viewer(&transmits);
    assert_eq!(viewers.len(), VIEWERS);
    for (viewer, transmits) in viewers {
        assert!(transmits.len() <= 2, "{viewer}: {transmits:?}");
        let datagrams: usize = transmits
            .iter()
            .map(|t| t.size.div_ceil(t.segment_size.unwrap_or(t.size)))
            .sum();
        assert_eq!(datagrams, 8, "{viewer}: {transmits:?}");
    }
    live.check_complete();
}

#[test]
fn video_and_sound_of_a_batch_leave_as_at_most_two_transmits_per_viewer() {
    let mut live = broadcast(9);
    let video = live.video.delta(6, 1100);
    let mut audio = live.audio.delta(1, 120);
    audio.extend(live.audio.delta(1, 120));
    let transmits = in_one_batch(&mut live, video, audio);

    let viewers = by_viewer(&transmits);
    assert_eq!(viewers.len(), VIEWERS);
    for (viewer, transmits) in viewers {
        assert!(transmits.len() <= 2, "{viewer}: {transmits:?}");
    }
    live.check_complete();
}

#[test]
fn a_train_is_of_equal_segments_and_only_the_last_is_shorter() {
    let mut live = broadcast(10);
    let mut frame = Vec::new();
    for len in [1100, 1100, 1100, 600, 1000, 1000, 300, 1101] {
        frame.extend(live.video.delta(1, len));
    }
    for (transmit, _) in in_one_batch(&mut live, frame, Vec::new()) {
        match transmit.segment_size {
            Some(segment) => assert!(segment < transmit.size, "a train of one: {transmit:?}"),
            None => assert!(transmit.size <= 1500, "{transmit:?}"),
        }
    }
    // Each datagram is whole: it decrypts, and to the right bytes.
    live.check_complete();
}

/// How many trains left for each of `viewers`, who all got as many.
fn trains_each(transmits: &[(Transmit, Vec<u8>)], viewers: usize) -> usize {
    let by_viewer = by_viewer(transmits);
    assert_eq!(by_viewer.len(), viewers);
    let counts: Vec<_> = by_viewer.values().map(Vec::len).collect();
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
    counts[0]
}

#[test]
fn where_many_watch_a_part_of_a_frame_and_sound_wait_for_the_rest() {
    let mut live = broadcast_to(MANY, 11, Config::default());
    let mut frame = live.video.delta(8, 1100);
    let rest = frame.split_off(5);
    let sound = live.audio.delta(1, 120);
    assert!(in_one_batch(&mut live, frame, sound).is_empty());
    let transmits = in_one_batch(&mut live, rest, Vec::new());
    assert_eq!(trains_each(&transmits, MANY), 1);
    live.check_complete();

    // Sound alone waits for nothing.
    let sound = live.audio.delta(1, 120);
    assert_eq!(
        trains_each(&in_one_batch(&mut live, Vec::new(), sound), MANY),
        1
    );
}

#[test]
fn a_part_of_a_frame_does_not_wait_for_ever() {
    let mut live = broadcast_to(MANY, 12, Config::default());
    let mut frame = live.video.delta(8, 1100);
    let rest = frame.split_off(5);
    assert!(in_one_batch(&mut live, frame, Vec::new()).is_empty());
    live.world.run(Duration::from_millis(1));
    live.check_complete();
    in_one_batch(&mut live, rest, Vec::new());
    live.check_complete();
}

#[test]
fn nothing_waits_where_few_watch_or_where_that_is_forbidden() {
    let never = Config {
        hold_max: Duration::ZERO,
        ..Config::default()
    };
    for (viewers, config) in [(VIEWERS, Config::default()), (MANY, never)] {
        let mut live = broadcast_to(viewers, 13, config);
        let mut frame = live.video.delta(8, 1100);
        frame.truncate(5);
        let transmits = in_one_batch(&mut live, frame, Vec::new());
        assert_eq!(trains_each(&transmits, viewers), 1);
    }
}

/// What left for the viewers of a script of frames, relative to its start.
fn script(seed: u64) -> Vec<(Duration, SocketAddr, usize, Option<usize>)> {
    let mut live = broadcast(seed);
    let start = live.world.now();
    let mut left = Vec::new();
    for n in 0..50 {
        let video = live.video.delta(1 + n % 9, 200 + 37 * (n % 20));
        let audio = live.audio.delta(1, 100);
        let at = live.world.now() - start;
        let transmits = in_one_batch(&mut live, video, audio);
        left.extend(
            transmits
                .iter()
                .map(|(t, _)| (at, t.destination, t.size, t.segment_size)),
        );
        live.world.run(Duration::from_millis(20));
    }
    live.check_complete();
    left
}

#[test]
fn the_same_seed_and_script_give_the_same_transmits_in_the_same_order() {
    let first = script(42);
    assert!(first.len() >= 50 * VIEWERS);
    assert_eq!(first, script(42));
}
