//! What is left of a stream after a network that loses packets: tables of loss and round trip.
//!
//! The links lose media and RTCP alike, on both ways, from the moment the handshakes are done.
//! What is lost follows from the seed, so the table is the same in every run: it is held against
//! `tests/tests/loss.txt`. When it changes for a good reason, write it anew and read the difference:
//!
//! ```text
//! KVILL_RENEW=1 cargo test --workspace --test loss
//! ```
//!
//! `KVILL_FULL=1` measures more than three times as long, and compares with nothing.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kvill_core::Config;
use kvill_core::time::Reason;
use kvill_tests::client::{Options, Repair};
use kvill_tests::memory::Wakes;
use kvill_tests::network::{Faults, Loss, Profile};
use kvill_tests::peer;
use kvill_tests::stage::{Encoding, FRAME, Patience, Stage};
use str0m::format::Codec;
use str0m::media::MediaKind;

/// Watch the same frames, each over a link of its own.
const VIEWERS: usize = 5;

/// Before anything is measured: receivers learn their round trip.
const WARM_UP: Duration = Duration::from_secs(3);

/// After it: what is late may still come.
const AFTER: Duration = Duration::from_secs(2);

/// What a frame has at least to be there in time.
const BUDGET_MIN: Duration = Duration::from_millis(300);

/// One line of the table, to be measured.
#[derive(Debug, Clone, Copy)]
struct Cell {
    link: Leg,
    loss: Loss,
    rtt_ms: u64,
    repair: Repair,
}

/// Which link is a bad one. The other takes no time and loses nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leg {
    Viewer,
    Publisher,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    frames: u64,
    complete: u64,
    sounds: u64,
    sounds_complete: u64,
    media_bytes: u64,
    repair_bytes: u64,
    keyframes: usize,
    freezes: usize,
    frozen: Duration,
    shown: usize,
}

impl Row {
    fn share(&self) -> f64 {
        self.complete as f64 / self.frames as f64
    }
}

impl Cell {
    fn budget(&self) -> Duration {
        BUDGET_MIN.max(Duration::from_millis(2 * self.rtt_ms))
    }

    /// Both ways of the bad link.
    fn profile(&self) -> Profile {
        Profile::delay(Duration::from_micros(self.rtt_ms * 500)).losing(self.loss)
    }

    /// Of the publisher, and of each kind of viewer. str0m names the tracks of which it misses
    /// something in no fixed order, so those who may miss either watch only one.
    fn options(&self) -> (Options, Vec<Options>) {
        let both = Options::new(&[Codec::Vp8, Codec::Opus]).repairing(1000);
        let repairing = both.clone().repaired_by(self.repair);
        let one = |codec| Options::new(&[codec]).repaired_by(self.repair);
        match (self.link, self.repair) {
            (Leg::Publisher, _) => (repairing, vec![both]),
            (Leg::Viewer, Repair::Again) => (both, vec![one(Codec::Vp8), one(Codec::Opus)]),
            (Leg::Viewer, _) => (both, vec![repairing]),
        }
    }

    fn measure(&self, seed: u64, frames: u32) -> (Row, Faults, Wakes) {
        let mut stage = Stage::new(seed, Config::default());
        let (publishing, viewing) = self.options();
        let budget = self.budget();
        let patience = Patience {
            playout: budget,
            give_up: budget * 2,
        };
        let publisher = stage.publish(0, &publishing, Encoding::USUAL);
        for _ in 0..VIEWERS {
            for viewing in &viewing {
                stage.view(0, viewing, patience);
            }
        }
        let bad: Vec<_> = match self.link {
            Leg::Publisher => vec![stage.publishers[publisher].id],
            Leg::Viewer => stage.viewers.iter().map(|v| v.id).collect(),
        };
        for id in bad.into_iter().flatten() {
            stage.lay(id, &self.profile(), &self.profile());
        }
        stage.play(WARM_UP);

        let from = stage.world.now();
        let before = self.bytes(&mut stage, publisher);
        stage.play(FRAME * frames);
        let to = stage.world.now();
        let after = self.bytes(&mut stage, publisher);
        stage.play(AFTER);
        stage.look();

        let within = |at: Instant| (from..to).contains(&at);
        let now = stage.world.now();
        let mut row = Row {
            frames: 0,
            complete: 0,
            sounds: 0,
            sounds_complete: 0,
            media_bytes: after.0 - before.0,
            repair_bytes: after.1 - before.1,
            keyframes: stage.publishers[publisher]
                .requests
                .iter()
                .filter(|at| within(**at))
                .count(),
            freezes: 0,
            frozen: Duration::ZERO,
            shown: 0,
        };
        for viewer in &mut stage.viewers {
            viewer.player.finish(now);
            let freezes = viewer.player.freezes.iter().filter(|f| within(f.0));
            row.freezes += freezes.clone().count();
            row.frozen += freezes.map(|f| f.1).sum::<Duration>();
            let shown = viewer.player.shown.iter().filter(|at| within(**at));
            row.shown += shown.count();
            for (reel, all, complete) in [
                (&viewer.video, &mut row.frames, &mut row.complete),
                (&viewer.audio, &mut row.sounds, &mut row.sounds_complete),
            ] {
                for (source, take) in reel.takes() {
                    for (number, shot) in (0..).zip(&stage.films[&source].shots) {
                        let came = take.complete(number);
                        *all += u64::from(within(shot.at));
                        *complete += u64::from(
                            within(shot.at) && came.is_some_and(|came| came <= shot.at + budget),
                        );
                    }
                }
            }
        }
        let faults = *stage.world.link.network.faults();
        faults.check();
        let counters = stage.world.server.stats().counters;
        if self.link == Leg::Viewer {
            // But for what was sent less than a round trip ago.
            let answered = counters.repairs + counters.nacked_repeated;
            assert_eq!(answered, counters.nacked, "{counters:?}");
        }
        (row, faults, stage.world.wakes.clone())
    }

    /// What went over the bad link so far: bytes of media the first time, and bytes of repairs.
    fn bytes(&self, stage: &mut Stage, publisher: usize) -> (u64, u64) {
        let (mut media, mut repairs) = (0, 0);
        let mut count = |stream: &kvill_tests::observer::Stream, main: bool| {
            let first = if main {
                stream.bytes - stream.repeated_bytes
            } else {
                0
            };
            media += first;
            repairs += stream.bytes - first;
        };
        match self.link {
            Leg::Viewer => {
                let observer = &stage.world.link.observer;
                for viewer in &stage.viewers {
                    for (ssrc, stream) in observer.viewed(viewer.address) {
                        count(stream, viewer.ssrcs.1 != Some(ssrc));
                    }
                }
            }
            Leg::Publisher => {
                let id = stage.publishers[publisher].id.expect("it is there");
                let client = stage.world.client(id);
                let source = client.local();
                let mains = [MediaKind::Video, MediaKind::Audio].map(|kind| *client.ssrc(kind));
                for (ssrc, stream) in stage.world.link.observer.published(source) {
                    count(stream, mains.contains(&ssrc));
                }
            }
        }
        (media, repairs)
    }
}

fn cells() -> Vec<Cell> {
    const RTTS: [u64; 3] = [10, 50, 150];
    let losses = [
        Loss::NONE,
        Loss::random(0.01),
        Loss::random(0.02),
        Loss::random(0.05),
        Loss::random(0.10),
        Loss::bursts(0.02, 5),
        Loss::bursts(0.05, 5),
    ];
    let cell = |link, loss, rtt_ms, repair| Cell {
        link,
        loss,
        rtt_ms,
        repair,
    };
    let mut cells = Vec::new();
    for loss in losses {
        for rtt in RTTS {
            cells.push(cell(Leg::Viewer, loss, rtt, Repair::Rtx));
        }
    }
    for loss in [
        Loss::random(0.02),
        Loss::random(0.05),
        Loss::bursts(0.02, 5),
    ] {
        cells.push(cell(Leg::Viewer, loss, 50, Repair::Again));
        cells.push(cell(Leg::Viewer, loss, 50, Repair::Off));
    }
    for loss in [
        Loss::random(0.02),
        Loss::random(0.05),
        Loss::bursts(0.02, 5),
    ] {
        for rtt in RTTS {
            cells.push(cell(Leg::Publisher, loss, rtt, Repair::Rtx));
        }
    }
    cells.push(cell(Leg::Publisher, Loss::random(0.05), 50, Repair::Off));
    cells
}

/// Measures all of them, on as many threads as there are cores, each in a world of its own.
fn measure(cells: &[Cell], frames: u32) -> (Vec<Row>, Wakes) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let results = Mutex::new((vec![None; cells.len()], Wakes::default()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let at = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(cell) = cells.get(at)
                {
                    let (row, _, wakes) = cell.measure(at as u64 + 1, frames);
                    let mut results = results.lock().unwrap();
                    results.0[at] = Some(row);
                    results.1.add(&wakes);
                }
            });
        }
    });
    let (rows, wakes) = results.into_inner().unwrap();
    (rows.into_iter().map(Option::unwrap).collect(), wakes)
}

fn table(cells: &[Cell], rows: &[Row]) -> String {
    let mut table = String::from(
        "Loss of media and RTCP alike, on both ways of one link, each viewer over a link of its own.\n\
         2.2 Mbit/s of video, 30 frames/s of 8 packets, keyframes of 40 only when asked for.\n\
         complete: frames of which every packet was there 300 ms after it was sent (2 RTT, if that\n\
         is more); opus: the same of sound. shown: by a player that shows each frame at that time,\n\
         or later, but none whose predecessor is missing. freezes, and time frozen: of this player,\n\
         by webrtc-stats of the W3C. repairs: bytes sent again, of the bytes sent first. requests:\n\
         for keyframes, that reached the publisher. repair: by RTX, the same packet again, or off.\n\
         Viewers are str0m's: they ask up to five times, every 33 ms at most, and look back 100\n\
         packets, 400 ms here, for repairs and for what comes late. For Opus they do not use RTX.\n\n",
    );
    let heads = [
        "RTT", "repair", "frames", "complete", "shown", "opus", "repairs", "requests", "freezes",
        "frozen",
    ];
    let line = |table: &mut String, link: &str, loss: &str, rest: &[String]| {
        let _ = write!(table, "{link:<9} {loss:<9}");
        for cell in rest {
            let _ = write!(table, " {cell:>8}");
        }
        table.push('\n');
    };
    line(&mut table, "link", "loss", &heads.map(str::to_owned));
    for (cell, row) in cells.iter().zip(rows) {
        let share = cell.loss.share * 100.0;
        let loss = match cell.loss.burst {
            1 => format!("{share} %"),
            burst => format!("{share} % by {burst}"),
        };
        let percent = |part: f64, whole: f64| format!("{:.2} %", 100.0 * part / whole);
        let (frames, sounds) = (row.frames as f64, row.sounds as f64);
        let time = FRAME.as_secs_f64() * frames;
        let rest = [
            format!("{} ms", cell.rtt_ms),
            format!("{:?}", cell.repair).to_lowercase(),
            row.frames.to_string(),
            percent(row.complete as f64, frames),
            percent(row.shown as f64, frames),
            percent(row.sounds_complete as f64, sounds),
            percent(row.repair_bytes as f64, row.media_bytes as f64),
            row.keyframes.to_string(),
            row.freezes.to_string(),
            percent(row.frozen.as_secs_f64(), time),
        ];
        let link = format!("{:?}", cell.link).to_lowercase();
        line(&mut table, &link, &loss, &rest);
    }
    table
}

#[test]
fn loss_is_repaired_and_the_table_is_as_it_was() {
    let full = std::env::var_os("KVILL_FULL").is_some_and(|v| v == "1");
    let renew = std::env::var_os("KVILL_RENEW").is_some_and(|v| v == "1");
    let cells = cells();
    let began = Instant::now();
    let (rows, wakes) = measure(&cells, if full { 2000 } else { 600 });
    let table = table(&cells, &rows);
    peer::report("loss", &table);
    println!("{wakes}\n{:.1?}", began.elapsed());

    let find = |link, loss, rtt_ms, repair| {
        let wanted =
            |c: &Cell| (c.link, c.loss, c.rtt_ms, c.repair) == (link, loss, rtt_ms, repair);
        &rows[cells.iter().position(wanted).expect("a cell of the table")]
    };
    let usual = find(Leg::Viewer, Loss::random(0.05), 50, Repair::Rtx);
    assert!(usual.frames >= if full { 10_000 } else { 3_000 });
    assert!(usual.share() >= 0.999, "{usual:?}");
    let off = find(Leg::Viewer, Loss::random(0.05), 50, Repair::Off);
    assert!(off.share() < 0.9, "nothing was lost: {off:?}");
    assert_eq!(off.repair_bytes, 0, "{off:?}");

    if full {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/loss.txt");
    if renew {
        std::fs::write(&path, &table).unwrap();
    }
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        before == table,
        "the table is not that of tests/tests/loss.txt. If it is to be: KVILL_RENEW=1\n{before}"
    );
    let (all, reports) = (wakes.total(), wakes.of(Reason::Report));
    assert_eq!(reports.idle, 0, "{wakes}");
    assert!(all.idle * 50 < all.all, "{wakes}");
}

#[test]
fn the_same_cell_gives_the_same_row() {
    let cell = Cell {
        link: Leg::Viewer,
        loss: Loss::bursts(0.05, 5),
        rtt_ms: 50,
        repair: Repair::Rtx,
    };
    let (first, faults, _) = cell.measure(7, 150);
    assert_eq!((first, faults), {
        let (row, faults, _) = cell.measure(7, 150);
        (row, faults)
    });
}
