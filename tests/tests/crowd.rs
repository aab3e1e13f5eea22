//! What a thousand viewers cost that lose packets, in memory and in repairs.
//!
//! What the server allocates is told apart from what the clients do: each allocation is marked with
//! whose it is, and counts as that until it is freed, by whomever. The same broadcast is run with
//! one viewer and with a thousand; what does not depend on the viewers is the difference's rest.
//!
//! The file has one test: the count is of the whole process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kvill_core::Config;
use kvill_core::stats::Counters;
use kvill_tests::light::crowd::{Call, Crowd, Meter, Traffic};
use kvill_tests::light::{IN_TIME, Reception};
use kvill_tests::peer;
use str0m::media::MediaKind;

/// Marks what the server allocates.
struct Marking;

/// Bytes that the server was handed out and has not given back.
static LIVE: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// A call of the server is under way.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// How often the server has allocated.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// In front of every allocation, as far as its alignment asks for.
const MARK_LEN: usize = 16;

/// The layout with its mark, and how far in the allocation itself begins.
fn marked(layout: Layout) -> Option<(Layout, usize)> {
    let front = layout.align().max(MARK_LEN);
    let size = layout.size().checked_add(front)?;
    let layout = Layout::from_size_align(size, front).ok()?;
    Some((layout, front))
}

/// Notes that the server allocates, if it is the server that does.
fn note() -> bool {
    // A thread that ends has neither any more.
    let is_servers = INSIDE.try_with(Cell::get).unwrap_or(false);
    if is_servers {
        let _ = COUNT.try_with(|count| count.set(count.get() + 1));
    }
    is_servers
}

// SAFETY: everything is passed on to the system's allocator with a layout that is larger by `front`
// and aligned to it, which is a multiple of the caller's alignment: what begins `front` behind it is
// as large and aligned as the caller asks. The mark lies in the last bytes of these `front`.
unsafe impl GlobalAlloc for Marking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((whole, front)) = marked(layout) else {
            return std::ptr::null_mut();
        };
        // SAFETY: the layout is not empty.
        let pointer = unsafe { System.alloc(whole) };
        if pointer.is_null() {
            return pointer;
        }
        let is_servers = note();
        if is_servers {
            LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        }
        // SAFETY: `front` bytes and more were handed out, of which the last is the mark.
        unsafe {
            let pointer = pointer.add(front);
            pointer.sub(1).write(u8::from(is_servers));
            pointer
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let wanted = Layout::from_size_align(size, layout.align());
        let wanted = wanted.ok().and_then(marked);
        let (Some((whole, front)), Some((wanted, _))) = (marked(layout), wanted) else {
            return std::ptr::null_mut();
        };
        // SAFETY: `pointer` comes from here, so that the mark and what is in front of it does too.
        // The mark moves along with what is behind it: it stays whose it was.
        unsafe {
            let is_servers = pointer.sub(1).read() != 0;
            let moved = System.realloc(pointer.sub(front), whole, wanted.size());
            if moved.is_null() {
                return moved;
            }
            note();
            if is_servers {
                LIVE.fetch_add(size, Ordering::Relaxed);
                LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
            }
            moved.add(front)
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let Some((whole, front)) = marked(layout) else {
            return;
        };
        // SAFETY: as above.
        unsafe {
            if pointer.sub(1).read() != 0 {
                LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
            }
            System.dealloc(pointer.sub(front), whole);
        }
    }
}

#[global_allocator]
static ALLOCATOR: Marking = Marking;

/// Counts by call how often the server allocates.
#[derive(Debug, Default, Clone, Copy)]
struct Allocations {
    transmits: u64,
    feedback: u64,
    media: u64,
    other: u64,
}

impl Allocations {
    fn since(self, before: Self) -> Self {
        Self {
            transmits: self.transmits - before.transmits,
            feedback: self.feedback - before.feedback,
            media: self.media - before.media,
            other: self.other - before.other,
        }
    }
}

impl Meter for Allocations {
    fn around<R>(&mut self, call: Call, work: impl FnOnce() -> R) -> R {
        let before = COUNT.get();
        INSIDE.set(true);
        let result = work();
        INSIDE.set(false);
        let count = match call {
            Call::Transmit => &mut self.transmits,
            Call::Feedback => &mut self.feedback,
            Call::Media => &mut self.media,
            Call::Other => &mut self.other,
        };
        *count += COUNT.get() - before;
        result
    }
}

const VIEWERS: usize = 1000;
const DELAY: Duration = Duration::from_millis(20);
const LOSS: f64 = 0.02;

/// Until nothing of a viewer grows: a session remembers its last 16 binding requests that nominated
/// a route, which come 2.5 s apart.
const SETTLED: Duration = Duration::from_secs(50);

/// How long media flows.
const PLAYED: Duration = Duration::from_secs(60);

/// Until histories are full, and the queues for a turn are as long as they get. As the whole, a
/// multiple of the time from keyframe to keyframe: histories are as full at both moments.
const WARM: Duration = Duration::from_secs(12);

/// What one run came to.
struct Run {
    viewers: usize,
    /// The server's live heap when all are connected and nothing was ever published.
    before: usize,
    /// While media flows and is lost.
    warm: usize,
    /// At the end, still while media flows.
    after: usize,
    /// Of the time between the last two.
    allocations: Allocations,
    /// The payload of the time that a history keeps.
    payload: usize,
    traffic: Traffic,
    counters: Counters,
    /// Of all viewers together.
    video: Reception,
    audio: Reception,
    /// The mean share of video lost, and the span of round-trip times, by viewers' own reports.
    reported_loss: f32,
    reported_rtt: (Duration, Duration),
}

fn run(viewers: usize) -> Run {
    let config = Config::default();
    let age = config.history.age;
    let mut crowd = Crowd::new(3, config, DELAY, Allocations::default());
    crowd.join(viewers);
    crowd.run(SETTLED);
    let live = || LIVE.load(Ordering::Relaxed);
    let before = live();

    crowd.loss = LOSS;
    crowd.play(WARM);
    let (warm, begun) = (live(), crowd.meter);
    crowd.play(PLAYED - WARM);
    let (after, meter) = (live(), crowd.meter);
    let payload = crowd.published_since(crowd.now() - age);
    let reports = crowd.server.viewer_stats();
    // What is missing is asked for and comes.
    crowd.run(2 * IN_TIME);

    let ended = crowd.viewers.iter().find_map(|viewer| viewer.ended());
    assert_eq!(ended, None);
    let all = |kind| {
        let receptions = crowd.viewers.iter().map(|viewer| viewer.reception(kind));
        receptions.fold(Reception::default(), Reception::plus)
    };
    let losses = reports.iter().filter_map(|r| Some(r.video?.fraction_lost));
    let rtts = || reports.iter().filter_map(|r| r.rtt);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    Run {
        viewers,
        before,
        warm,
        after,
        allocations: meter.since(begun),
        payload,
        traffic: crowd.traffic,
        counters: crowd.server.stats().counters,
        video: all(MediaKind::Video),
        audio: all(MediaKind::Audio),
        reported_loss: losses.sum::<f32>() / viewers as f32,
        reported_rtt: rtts().min().zip(rtts().max()).expect("reports"),
    }
}

impl Run {
    /// Packets of the tracks that did not arrive the first time, whether that was noticed or not:
    /// what was sent less what came. Opus is repaired by its own source: these do not count.
    fn lost(&self) -> u64 {
        let came = self.video.packets + self.audio.packets - self.audio.in_time - self.audio.late;
        self.counters.packets_out - came
    }

    fn arrival(&self) -> Reception {
        self.video.plus(self.audio)
    }
}

/// What a viewer more costs.
fn per_viewer(one: usize, many: usize) -> usize {
    (many - one) / (VIEWERS - 1)
}

#[expect(clippy::cast_precision_loss, reason = "for the reader")]
fn percent(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole as f64
}

fn table(one: &Run, many: &Run) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{} s of VP8 at 30 frames/s and Opus, {:.0} % lost each way, round trip {} ms\n",
        PLAYED.as_secs(),
        100.0 * LOSS,
        2 * DELAY.as_millis(),
    );
    let mut row = |what: &str, value: &dyn Fn(&Run) -> String| {
        let _ = writeln!(out, "{what:48} {:>12} {:>14}", value(one), value(many));
    };
    row("viewers", &|r| r.viewers.to_string());
    row("server's live heap before media, bytes", &|r| {
        r.before.to_string()
    });
    row("  after 12 s of it", &|r| r.warm.to_string());
    row("  at the end", &|r| r.after.to_string());
    row("  more than before media", &|r| {
        (r.after - r.before).to_string()
    });
    row("  of that payload in the two histories", &|r| {
        r.payload.to_string()
    });
    row("packets of the tracks sent", &|r| {
        r.counters.packets_out.to_string()
    });
    row("  lost under way", &|r| r.lost().to_string());
    row("  missed by viewers", &|r| r.arrival().missed.to_string());
    row("  repaired within 300 ms of being missed", &|r| {
        r.arrival().in_time.to_string()
    });
    row("  share of all that were lost", &|r| {
        format!("{:.2} %", percent(r.arrival().in_time, r.lost()))
    });
    row("  repaired later, never", &|r| {
        format!("{}, {}", r.arrival().late, r.arrival().lost)
    });
    row("RTCP packets that viewers sent", &|r| {
        r.traffic.feedback.sent.to_string()
    });
    row("  packets asked for again (nacked)", &|r| {
        r.counters.nacked.to_string()
    });
    row("  repairs sent", &|r| r.counters.repairs.to_string());
    row("  their bytes, of those of media", &|r| {
        let media = r.traffic.media.bytes + r.traffic.repairs.bytes - r.counters.repair_bytes;
        format!("{:.2} %", percent(r.counters.repair_bytes, media))
    });
    row("  refused: unknown, repeated", &|r| {
        format!(
            "{}, {}",
            r.counters.nacked_unknown, r.counters.nacked_repeated
        )
    });
    row("  refused: over budget, overflowed", &|r| {
        format!(
            "{}, {}",
            r.counters.nacked_over_budget, r.counters.nacked_overflowed
        )
    });
    row("video lost, by viewers' reports", &|r| {
        format!("{:.2} %", 100.0 * r.reported_loss)
    });
    row("round trip, by the same", &|r| {
        let ms = |rtt: Duration| rtt.as_secs_f64() * 1000.0;
        format!("{:.1}-{:.1} ms", ms(r.reported_rtt.0), ms(r.reported_rtt.1))
    });
    row("allocations in poll_transmit, from 12 s on", &|r| {
        r.allocations.transmits.to_string()
    });
    row("  in handle_datagram for viewers' RTCP", &|r| {
        r.allocations.feedback.to_string()
    });
    row("  for the publisher's packets", &|r| {
        r.allocations.media.to_string()
    });
    let _ = writeln!(
        out,
        "\nlive heap for each viewer more: {} bytes before media, {} after 12 s, {} at the end",
        per_viewer(one.before, many.before),
        per_viewer(one.warm, many.warm),
        per_viewer(one.after, many.after),
    );
    out
}

#[test]
fn a_thousand_viewers_that_lose_packets_share_one_history() {
    let (one, many) = (run(1), run(VIEWERS));
    peer::report("crowd", &table(&one, &many));

    // Nothing grows with time, and what media takes up does not grow with viewers but for a note
    // of whose turn it is.
    assert!(many.after.abs_diff(many.warm) < 4 << 10);
    let (of_one, of_many) = (one.after - one.before, many.after - many.before);
    assert!(of_one > one.payload, "a history holds payload");
    assert!(of_many < of_one + VIEWERS * 32, "{of_one}, {of_many} bytes");

    assert_eq!(many.allocations.transmits, 0);
    assert_eq!(many.allocations.feedback, 0);
    assert!(many.allocations.media > 0, "nothing is counted");

    let (lost, counters) = (many.lost(), many.counters);
    assert!((1.9..2.1).contains(&percent(lost, counters.packets_out)));
    assert!(percent(many.arrival().in_time, lost) >= 99.0);
    assert_eq!(counters.fell_off, 0);
    let refused = counters.nacked_unknown
        + counters.nacked_repeated
        + counters.nacked_over_budget
        + counters.nacked_overflowed;
    assert_eq!(counters.repairs + refused, counters.nacked);
    assert!(refused < counters.nacked / 100, "{refused} refused");
}
