//! What scheduling costs: the same load by the core in five loops, and by a task for each viewer in
//! Rust and in Go.
//!
//! `cargo build --release --workspace --bins && cargo bench --workspace --bench scheduler [-- --quick]`
//!
//! `… --bench scheduler -- --plot FILE.svg` draws CPU against viewers instead.
//!
//! Linux alone; perf needs its rights. Each server is a process of its own, with a publisher and
//! viewers who do not read. They take turns: 30 frames in a second of eight packets and sound go to
//! one server, then to the next. CPU time and context switches are counted without perf, system
//! calls and samples in turns of their own. Pion gets what Kvill gets; the tasks in Rust are the
//! style without the server: no ICE, no reports, no repairs, and packets come in the clear.

#[cfg(target_os = "linux")]
mod contestant;
#[cfg(target_os = "linux")]
mod loops;
#[cfg(target_os = "linux")]
mod picture;
#[cfg(target_os = "linux")]
mod pipe;
#[cfg(target_os = "linux")]
mod plot;
#[cfg(target_os = "linux")]
mod symbols;
#[cfg(target_os = "linux")]
mod tasks;

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashMap;
    use std::io;
    use std::path::Path;

    use kvill_tests::bench::profile::{self, Profile, SystemCalls};
    use kvill_tests::bench::{Table, is_quick, median, ratio};
    use kvill_tests::peer::report;

    use super::contestant::{Contestant, Kind, PACKETS, Slice};
    use super::symbols::scheduling;
    use super::{loops, picture, pipe, tasks};

    /// What is there for each wake-up: little, and more.
    const VIEWERS: [usize; 2] = [100, 400];

    const KINDS: [Kind; 7] = [
        Kind::Loop("epoll"),
        Kind::Binary("kvill"),
        Kind::Binary("kvill-smol"),
        Kind::Loop("tokio"),
        Kind::Tasks("tasks-tokio"),
        Kind::Tasks("tasks-smol"),
        Kind::Pion,
    ];

    /// What is found by samples.
    struct Samples {
        all: u64,
        scheduling: u64,
        /// The functions of scheduling that were met most.
        most: String,
    }

    fn serve(kind: &str) -> io::Result<()> {
        match kind {
            "epoll" => loops::by_epoll(),
            "tokio" => loops::by_tokio(),
            "tasks-tokio" => tasks::by_tokio(),
            "tasks-smol" => tasks::by_smol(),
            _ => Err(io::Error::other("no such server")),
        }
    }

    pub(super) fn main() -> io::Result<()> {
        let words: Vec<_> = std::env::args().collect();
        let after = |option: &str| {
            let place = words.iter().position(|word| word == option)?;
            words.get(place + 1)
        };
        if let Some(kind) = after(pipe::SERVE) {
            return serve(kind);
        }
        match after("--plot") {
            Some(file) => picture::draw(Path::new(file)),
            None if profile::is_possible() => compare(),
            None => {}
        }
        Ok(())
    }

    fn compare() {
        let (sizes, rounds, frames): (&[usize], _, _) = match is_quick() {
            true => (&[5], 1, 4),
            false => (&VIEWERS, 5, 30),
        };
        let mut table = Table::new(&[
            "server",
            "viewers",
            "ns per packet",
            "scheduling",
            "samples",
            "switches",
            "wake-ups",
            "system calls",
            "KB per viewer",
            "arrived",
        ]);
        let mut most = String::new();
        for viewers in sizes {
            measure(*viewers, rounds, frames, &mut table, &mut most);
        }
        report(
            "scheduler",
            &format!(
                "30 frames per second of {PACKETS} packets to viewers who do not read; CPU, switches, wake-ups \
                 and system calls of the whole process, the latter three per 1,000 packets; scheduling: \
                 share of the samples\n{table}\nmost of scheduling, in samples:\n{most}"
            ),
        );
    }

    /// All contestants in turn, with so many viewers each.
    fn measure(viewers: usize, rounds: usize, frames: u32, table: &mut Table, most: &mut String) {
        let contestants = KINDS
            .iter()
            .filter_map(|kind| Contestant::new(*kind, viewers));
        let mut contestants: Vec<_> = contestants.collect();
        let mut slices = vec![Vec::new(); contestants.len()];
        for _ in 0..rounds {
            for n in 0..contestants.len() {
                slices[n].push(contestants[n].slice(frames));
                contestants.iter_mut().for_each(Contestant::tend);
            }
        }
        for n in 0..contestants.len() {
            let (calls, arrived) = system_calls(&mut contestants[n], frames);
            contestants.iter_mut().for_each(Contestant::tend);
            let samples = samples(&mut contestants[n], rounds, frames);
            contestants.iter_mut().for_each(Contestant::tend);
            let contestant = &contestants[n];
            let by = |of: fn(&Slice) -> f64| median(slices[n].iter().map(of));
            let all_arrived = by(|slice| ratio(slice.arrived, slice.expected));
            assert!(all_arrived > 0.3, "{:?}: {slices:?}", contestant.kind);
            let per_thousand = |count: u64, arrived: u64| 1000.0 * ratio(count, arrived);
            table.row([
                contestant.kind.name().to_owned(),
                viewers.to_string(),
                format!("{:.0}", by(nanoseconds)),
                format!("{:.1} %", 100.0 * ratio(samples.scheduling, samples.all)),
                samples.all.to_string(),
                format!("{:.1}", by(switches)),
                format!("{:.1}", by(wake_ups)),
                calls.map_or("?".to_owned(), |calls| {
                    format!("{:.0}", per_thousand(calls, arrived))
                }),
                (contestant.memory_per_viewer / 1024).to_string(),
                format!("{:.1} %", 100.0 * all_arrived),
            ]);
            *most += &format!("{}, {viewers}: {}\n", contestant.kind.name(), samples.most);
        }
    }

    fn switches(slice: &Slice) -> f64 {
        let usage = slice.usage;
        1000.0 * ratio(usage.sleeps + usage.preemptions, slice.arrived)
    }

    fn wake_ups(slice: &Slice) -> f64 {
        1000.0 * ratio(slice.usage.sleeps, slice.arrived)
    }

    /// CPU per packet that arrived.
    fn nanoseconds(slice: &Slice) -> f64 {
        slice.usage.cpu.as_secs_f64() * 1e9 / ratio(slice.arrived, 1)
    }

    /// How many a slice took, and of how many packets.
    fn system_calls(contestant: &mut Contestant, frames: u32) -> (Option<u64>, u64) {
        let Some(mut calls) = SystemCalls::new(contestant.id()) else {
            return (None, 0);
        };
        calls.start();
        let slice = contestant.slice(frames);
        calls.stop();
        (Some(calls.finish()), slice.arrived)
    }

    fn samples(contestant: &mut Contestant, rounds: usize, frames: u32) -> Samples {
        let mut profile = Profile::new(contestant.id(), false);
        for _ in 0..rounds {
            profile.start();
            contestant.slice(frames);
            profile.stop();
            contestant.tend();
        }
        let (mut all, mut met) = (0, HashMap::<String, u64>::new());
        profile.finish(|line| {
            all += 1;
            if let Some(function) = scheduling(line) {
                *met.entry(function.to_owned()).or_default() += 1;
            }
        });
        let scheduling = met.values().sum();
        let mut met: Vec<_> = met.into_iter().collect();
        met.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let most = met
            .iter()
            .take(6)
            .map(|(name, count)| format!("{name} {count}"));
        Samples {
            all,
            scheduling,
            most: most.collect::<Vec<_>>().join(", "),
        }
    }
}

fn main() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    linux::main()?;
    Ok(())
}
