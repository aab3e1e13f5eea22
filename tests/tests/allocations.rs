//! The fan-out allocates nothing per packet and viewer.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use kvill_core::Config;
use kvill_core::config::HistoryLimits;
use kvill_core::media::{Codec as Media, MediaKind};
use kvill_core::net::TRANSMIT_BUFFER_LEN;
use kvill_core::rtp::RtpPacket;
use kvill_tests::client::Options;
use kvill_tests::client::media::Source;
use kvill_tests::memory::{Broadcast, TRANSPORT, Way, World};
use str0m::format::Codec;

/// Counts how often a thread allocates.
struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn note() {
    // A thread that ends has no counter any more.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise is the one that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `work` allocates.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    work();
    COUNT.get() - before
}

/// What was allocated on the way of some packets through the server.
#[derive(Debug, Default)]
struct Cost {
    /// RTP packets in.
    packets: u64,
    /// Datagrams out, to all viewers.
    sent: u64,
    ingress: u64,
    egress: u64,
    timeouts: u64,
}

/// Publishes frames of video and sound, 20 ms apart, and counts only while the server works. The
/// viewers hear nothing: what the server does for them does not depend on it.
fn pass_through(live: &mut Broadcast, frames: usize, buffer: &mut [u8]) -> Cost {
    let mut cost = Cost::default();
    for n in 0..frames {
        match n % 50 {
            0 => live.keyframe(8, 1100),
            _ => live.delta(4, 1100),
        }
        live.sound(120);
        for (from, contents) in live.world.outgoing(live.publisher) {
            cost.packets += u64::from(is_rtp(&contents));
            cost.ingress += allocations(|| live.world.cross(Way::ToServer, from, &contents));
        }
        let now = live.world.now();
        let server = &mut live.world.server;
        cost.egress += allocations(|| {
            while let Some(transmit) = server.poll_transmit(now, TRANSPORT, buffer) {
                let segment = transmit.segment_size.unwrap_or(transmit.size);
                cost.sent += transmit.size.div_ceil(segment) as u64;
            }
        });
        live.world.skip(Duration::from_millis(20));
        let now = live.world.now();
        let server = &mut live.world.server;
        cost.timeouts += allocations(|| {
            while server.poll_timeout().is_some_and(|d| d.at <= now) {
                server.handle_timeout(now);
            }
        });
        live.video_sent.clear();
        live.audio_sent.clear();
    }
    cost
}

/// RFC 5761 §4.
fn is_rtp(datagram: &[u8]) -> bool {
    matches!(datagram, [128..192, 0..192 | 224.., ..])
}

#[test]
fn nothing_is_allocated_per_packet_and_viewer() {
    let mut buffer = vec![0; TRANSMIT_BUFFER_LEN];
    println!("viewers  packets in  datagrams out  allocations: in  out  timers  in per packet");
    for viewers in [1, 10, 1000] {
        // A short history, so that it is full and goes round before the counting begins.
        let config = Config {
            history: HistoryLimits {
                packets: 128,
                ..HistoryLimits::default()
            },
            ..Config::default()
        };
        let world = World::new(5, config);
        let options = Options::new(&[Codec::Vp8, Codec::Opus]);
        let mut live = Broadcast::new(world, Codec::Vp8, viewers, &options);

        pass_through(&mut live, 100, &mut buffer);
        let cost = pass_through(&mut live, 100, &mut buffer);
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let per_packet = cost.ingress as f64 / cost.packets as f64;
        println!(
            "{viewers:7}  {:10}  {:13}  {:15}  {:3}  {:6}  {per_packet:.2}",
            cost.packets, cost.sent, cost.ingress, cost.egress, cost.timeouts
        );
        assert_eq!(cost.packets, 100 * 5 + 2 * 4);
        assert!(
            cost.sent >= cost.packets * viewers as u64,
            "not everything was sent"
        );
        assert_eq!(
            cost.egress, 0,
            "{viewers} viewers: allocations while sending"
        );
    }
}

#[test]
fn a_program_that_watches_allocates_nothing_per_packet() {
    const WATCHERS: u64 = 100;
    let config = Config {
        history: HistoryLimits {
            packets: 128,
            ..HistoryLimits::default()
        },
        ..Config::default()
    };
    let mut world = World::new(6, config);
    let now = world.now();
    let server = &mut world.server;
    let source = server.publish(now, "a", &[Media::vp8()]).expect("room");
    for _ in 0..WATCHERS {
        server.watch(now, "a").expect("room");
    }
    let mut film = Source::new(Codec::Vp8, 9, 9);
    let (mut fed, mut read) = (0, 0);
    let (mut feeding, mut reading) = (0, 0);
    for n in 0..1000 {
        if n == 500 {
            // The history is full and goes round.
            (fed, read, feeding, reading) = (0, 0, 0, 0);
        }
        let packets = match n % 50 {
            0 => film.keyframe(8, 1100),
            _ => film.delta(4, 1100),
        };
        for packet in &packets {
            let [.., high, low] = packet.seq.to_be_bytes();
            let rtp = RtpPacket {
                sequence: u16::from_be_bytes([high, low]),
                timestamp: packet.timestamp,
                marker: packet.marker,
                payload: &packet.payload,
            };
            let video = MediaKind::Video;
            feeding += allocations(|| {
                let taken = server.handle_packet(now, source, video, &rtp);
                taken.expect("a source that is there");
            });
            fed += 1;
        }
        reading += allocations(|| {
            while let Some(watcher) = server.poll_watcher() {
                while let Ok(Some(_)) = server.poll_packet(now, watcher) {
                    read += 1;
                }
            }
        });
    }
    println!("{fed} packets fed: {feeding} allocations, {read} read: {reading}");
    assert_eq!(read, fed * WATCHERS);
    assert_eq!(feeding, fed, "the payload, once");
    assert_eq!(reading, 0);
}
