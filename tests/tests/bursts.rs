//! Much video at once goes to a viewer in parts, so that what has a short queue on the way takes it.

use std::time::Duration;

use kvill_core::Config;
use kvill_tests::client::Options;
use kvill_tests::client::media::Follower;
use kvill_tests::memory::{Broadcast, ClientId, PATH, Viewer, World};
use kvill_tests::network::{Network, Profile, Rate};
use str0m::format::Codec;

const LEN: usize = 1100;

/// What lies before the viewer takes 30 packets, and carries one in 80 µs.
const SHALLOW: Rate = Rate {
    bits_per_second: 120_000_000,
    queue: 30 * 1200,
};

fn lay(live: &mut Broadcast<Network>, viewer: ClientId) {
    let viewer = live.world.client(viewer).local();
    let up = Profile::delay(Duration::from_millis(10));
    let down = Profile {
        rate: Some(SHALLOW),
        ..up.clone()
    };
    live.world.link.lay(viewer, 1, &up, &down);
}

fn broadcast(seed: u64, viewers: usize) -> (Broadcast<Network>, Options) {
    let world = World::with_link(seed, Config::default(), Network::new(seed));
    let options = Options::new(&[Codec::Vp8, Codec::Opus]);
    (
        Broadcast::new(world, Codec::Vp8, viewers, &options),
        options,
    )
}

/// All that was published came, in order, and nothing had to be asked for again.
fn check(live: &mut Broadcast<Network>) {
    live.world.run(Duration::from_millis(100));
    live.check_complete();
    assert_eq!(live.world.server.stats().counters.nacked, 0);
}

#[test]
fn a_large_keyframe_does_not_overflow_a_short_queue() {
    let (mut live, _) = broadcast(21, 1);
    let viewer = live.viewers[0].id;
    lay(&mut live, viewer);
    for _ in 0..5 {
        live.keyframe(90, LEN);
        live.sound(100);
        live.world.run(Duration::from_millis(33));
    }
    check(&mut live);
}

#[test]
fn who_joins_after_a_keyframe_gets_it_and_what_came_since_in_parts() {
    let (mut live, options) = broadcast(22, 0);
    live.keyframe(40, LEN);
    for _ in 0..4 {
        live.world.run(Duration::from_millis(33));
        live.delta(8, LEN);
    }
    let id = live.world.view(PATH, &options);
    lay(&mut live, id);
    live.world.connect(&[id]);
    live.viewers.push(Viewer {
        id,
        video: Follower::default(),
        audio: Follower::default(),
    });
    check(&mut live);
}
