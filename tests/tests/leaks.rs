//! Sessions that end leave nothing behind on the heap.
//!
//! The file has one test: the count is of the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kvill_core::Config;
use kvill_tests::client::Options;
use kvill_tests::memory::{PATH, Way, World};
use str0m::format::Codec;

/// Counts the bytes that are handed out and have not come back.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is the one that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the later rounds may leave. Lists of bounded length fill up in the long run (the
/// last 1,024 answers that may still turn out undelivered), 16 bytes for a session.
const LEFT_MAX: usize = 24 << 10;
const ROUNDS: usize = 16;
/// The last 256 sessions that ended are remembered with their reasons: so many have to end first.
const WARM_ROUNDS: usize = 9;

/// Thirty-one clients of all fates: one publishes, some leave, some fall silent, some never finish;
/// and noise of strangers.
fn round(world: &mut World) {
    let options = Options::new(&[Codec::Vp8, Codec::Opus]);
    let publisher = world.publish("round", &options);
    world.connect(&[publisher]);
    let mut ids: Vec<_> = (0..30).map(|_| world.view("round", &options)).collect();
    let unfinished = ids.split_off(20);
    for id in unfinished {
        world.vanish(id);
    }
    world.connect(&ids);
    let silent = ids.split_off(10);
    for id in silent {
        world.vanish(id);
    }
    for id in ids {
        world.leave(id);
    }
    for n in 0..1000_u16 {
        let [high, low] = n.to_be_bytes();
        let from = SocketAddr::from(([203, 0, high, low], 7));
        world.cross(
            Way::ToServer,
            from,
            &[fastrand::u8(..), 1, high, low, 5, 6, 7],
        );
    }
    world.leave(publisher);
    // Longer than any time-out, and than the path's grace.
    world.run(Duration::from_secs(60));
    while world.server.poll_event().is_some() {}
}

#[test]
fn sessions_that_ended_leave_nothing_on_the_heap() {
    let mut world = World::new(77, Config::default());
    // Something lives on all the while.
    let options = Options::new(&[Codec::Vp8]);
    let publisher = world.publish(PATH, &options);
    world.connect(&[publisher]);
    let viewer = world.view(PATH, &options);
    world.connect(&[viewer]);

    for _ in 0..WARM_ROUNDS {
        round(&mut world);
    }
    world.client(publisher).keyframe_requests = Vec::with_capacity(10_000);
    let before = LIVE.load(Ordering::Relaxed);
    for _ in 0..ROUNDS {
        round(&mut world);
    }
    let after = LIVE.load(Ordering::Relaxed);
    let left = after.saturating_sub(before);
    println!("{before} bytes live, {left} more after {ROUNDS} rounds of 31 sessions");
    assert_eq!(world.server.stats().sessions, 2);
    assert!(left <= LEFT_MAX, "{left} bytes are left");
}
