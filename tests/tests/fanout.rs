//! One path, 200 viewers: everything reaches everybody, in memory.

use std::time::Duration;

use kvill_core::Config;
use kvill_tests::client::Options;
use kvill_tests::memory::{Broadcast, World};
use str0m::format::Codec;

const VIEWERS: usize = 200;

/// Two seconds of video and sound as they come from a camera: a keyframe of ten packets every
/// second, else three or so, 30 times a second; an Opus packet every 20 ms.
fn two_seconds_of(codec: Codec) -> Broadcast {
    let world = World::new(4, Config::default());
    let mut live = Broadcast::new(world, codec, VIEWERS, &Options::new(&[codec, Codec::Opus]));
    for ms in 0..2000_usize {
        match ms {
            0 | 1000 => live.keyframe(10, 1100),
            _ if ms % 33 == 0 => live.delta(1 + ms % 5, 300 + ms % 800),
            _ => {}
        }
        if ms % 20 == 10 {
            live.sound(80 + ms % 100);
        }
        live.world.run(Duration::from_millis(1));
        live.check();
    }
    live
}

#[test]
fn every_viewer_gets_every_packet_of_vp8_as_it_was_published() {
    two_seconds_of(Codec::Vp8).check_complete();
}

#[test]
fn every_viewer_gets_every_packet_of_h264_as_it_was_published() {
    let mut live = two_seconds_of(Codec::H264);
    live.check_complete();
    let packets = live.video_sent.len() + live.audio_sent.len();
    let stats = live.world.server.stats();
    assert_eq!(stats.counters.packets_in, packets as u64);
    assert_eq!(stats.counters.packets_out, (packets * VIEWERS) as u64);
    assert_eq!(stats.paths[0].viewers, VIEWERS);
}
