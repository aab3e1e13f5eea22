//! One number, one run of everything at once: publishers that leave, come back and are replaced,
//! viewers that join, leave, roam and vanish, and networks that fail in every way they can.
//!
//! What holds in every run: a viewer gets nothing but what was published, once, in its place, and
//! begins with a keyframe; no two packets go out under one nonce; no call panics, nobody logs an
//! error, and no deadline comes for nothing again and again. When the networks have healed,
//! everybody who is still there sees and hears what is published. When everybody has left, nothing
//! is left of them.
//!
//! 200 seeds, with `KVILL_FULL=1` 10,000; `KVILL_SEED=n` runs that one and says what happens in it.
//! A run that fails prints the command that does so.

mod draw;
mod finale;
mod scenario;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use kvill_tests::errors;

use self::scenario::{Kind, Outcome, Scenario};

/// Runs seeds on as many threads as there are cores. Gives what they left behind, and those that
/// failed.
fn run_all(kind: Kind, seeds: impl Iterator<Item = u64> + Send) -> (Outcome, u64, Vec<u64>) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let seeds = Mutex::new(seeds);
    let (total, failed) = (Mutex::new(Outcome::default()), Mutex::new(Vec::new()));
    let count = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(seed) = { seeds.lock().unwrap().next() } {
                    let run = || Scenario::new(seed, kind, false).run();
                    let outcome = catch_unwind(AssertUnwindSafe(run));
                    count.fetch_add(1, Ordering::Relaxed);
                    let logged = errors::take();
                    match outcome {
                        Ok(outcome) if logged.is_empty() => total.lock().unwrap().add(&outcome),
                        _ => {
                            eprintln!("{}: {logged:?}", replay(kind, seed));
                            failed.lock().unwrap().push(seed);
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    (total.into_inner().unwrap(), count.into_inner(), failed)
}

impl Outcome {
    fn add(&mut self, other: &Self) {
        self.faults.add(&other.faults);
        self.wakes.add(&other.wakes);
        self.packets += other.packets;
        self.repairs += other.repairs;
        self.digest ^= other.digest;
        for (act, count) in &other.acts {
            *self.acts.entry(*act).or_default() += count;
        }
    }
}

fn replay(kind: Kind, seed: u64) -> String {
    let test = match kind {
        Kind::Smooth => "whatever",
        Kind::Rough => "rough",
    };
    format!("KVILL_SEED={seed} cargo test --workspace --test seeds {test} -- --nocapture")
}

/// Runs the seed that is named, or these.
fn check(kind: Kind, seeds: std::ops::Range<u64>) {
    errors::watch();
    if let Ok(seed) = std::env::var("KVILL_SEED") {
        let seed = seed.parse().expect("KVILL_SEED=number");
        let outcome = Scenario::new(seed, kind, true).run();
        println!("{}\n{}", outcome.faults, outcome.wakes);
        assert_eq!(errors::take(), Vec::<String>::new(), "errors in the log");
        return;
    }
    let began = Instant::now();
    let (outcome, count, failed) = run_all(kind, seeds);
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    println!(
        "{count} seeds in {:.1?}: {:.0} seeds per minute",
        began.elapsed(),
        count as f64 / minutes
    );
    println!(
        "{} packets delivered, {} repairs sent, digest {:016x}\n{:?}\n{}\n{}",
        outcome.packets,
        outcome.repairs,
        outcome.digest,
        outcome.acts,
        outcome.faults,
        outcome.wakes
    );
    let commands: Vec<_> = failed.iter().map(|seed| replay(kind, *seed)).collect();
    assert!(failed.is_empty(), "failed:\n{}", commands.join("\n"));
    outcome.faults.check();
    let wakes = outcome.wakes.total();
    assert!(wakes.idle * 8 < wakes.all, "{}", outcome.wakes);
}

fn is_full() -> bool {
    std::env::var_os("KVILL_FULL").is_some_and(|v| v == "1")
}

#[test]
fn whatever_happens_viewers_get_what_was_published_and_nothing_is_left() {
    check(Kind::Smooth, 0..if is_full() { 10_000 } else { 200 });
}

#[test]
fn handshakes_over_rough_links_are_no_different() {
    check(Kind::Rough, 0..if is_full() { 1000 } else { 40 });
}

#[test]
fn the_same_seed_gives_the_same_transcript() {
    for seed in 1000..1010 {
        let [first, second] =
            [(); 2].map(|()| Scenario::new(seed, Kind::Smooth, false).run().transcript);
        let differs = first.iter().zip(&second).position(|(a, b)| a != b);
        if let Some(at) = differs {
            panic!(
                "line {at} of seed {seed}: {:?} and {:?}",
                first[at], second[at]
            );
        }
        assert_eq!(first.len(), second.len(), "seed {seed}");
        assert!(first.len() > 1000, "seed {seed}: nothing happened");
    }
}
