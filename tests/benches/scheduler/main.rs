//! What scheduling costs: the same load by the core in five loops, and by a task for each viewer in
//! Rust and in Go.
//!
//! `cargo build --release --workspace --bins && cargo bench --workspace --bench scheduler [-- --quick]`
//!
//! `… --bench scheduler -- --plot FILE.svg` draws CPU against viewers instead.
//!
//! Linux alone; `?` stands for what perf has no rights to tell. Each server is a process of its own, with a publisher and
//! viewers who do not read. They take turns: 30 frames in a second of eight packets and sound go to
//! one server, then to the next. CPU time and context switches are counted without perf, system
//! calls and samples in turns of their own. Pion gets what Kvill gets; the tasks in Rust are the
//! style without the server: no ICE, no reports, no repairs, and packets come in the clear. The bare
//! epoll loop and the tokio task send a train by each system call, the drivers up to eight.

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
    use std::thread;
    use std::time::Duration;

    use kvill_tests::bench::profile::{self, Profile, Stacks, SystemCalls};
    use kvill_tests::bench::{Table, is_quick, median, ratio};
    use kvill_tests::peer::report;
    use kvill_tests::rival::Rival;

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

    /// How often all are tended while samples are read.
    const TEND_PAUSE: Duration = Duration::from_millis(100);

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
            None => compare(profile::is_possible()),
        }
        if is_quick() && after("--plot").is_none() {
            // That it can be drawn is to be seen, too.
            let file = format!("kvill-scheduler-{}.svg", std::process::id());
            let file = std::env::temp_dir().join(file);
            picture::draw(&file);
            std::fs::remove_file(file)?;
        }
        Ok(())
    }

    fn compare(with_perf: bool) {
        // It is built on first use: nobody is to wait for that with viewers.
        drop(Rival::pion());
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
            let (rows, found) = measure(*viewers, (rounds, frames), with_perf);
            rows.into_iter().for_each(|row| table.row(row));
            most += &found;
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

    /// All contestants in turn, with so many viewers each: the rows of the table, and what was met
    /// most of scheduling.
    fn measure(
        viewers: usize,
        (rounds, frames): (usize, u32),
        with_perf: bool,
    ) -> (Vec<[String; 10]>, String) {
        let mut contestants: Vec<Contestant> = Vec::new();
        for kind in KINDS {
            let tend = || contestants.iter_mut().for_each(Contestant::tend);
            let next = Contestant::new(kind, viewers, tend);
            contestants.extend(next);
        }
        let mut slices = vec![Vec::new(); contestants.len()];
        for round in 0..rounds {
            for n in 0..contestants.len() {
                let n = (n + round) % contestants.len();
                slices[n].push(contestants[n].slice(frames));
                contestants.iter_mut().for_each(Contestant::tend);
            }
        }
        let (mut rows, mut most) = (Vec::new(), String::new());
        for (n, slices) in slices.iter().enumerate() {
            // perf takes two seconds each time: a quick run has it for kvill and Pion alone.
            let is_watched = with_perf && (!is_quick() || n % 5 == 1);
            let (calls, samples) = match is_watched {
                true => (
                    system_calls(&mut contestants, n, frames),
                    Some(samples(&mut contestants, n, rounds, frames)),
                ),
                false => (None, None),
            };
            rows.push(row(
                &contestants[n],
                viewers,
                slices,
                calls,
                samples.as_ref(),
            ));
            if let Some(samples) = samples {
                let name = contestants[n].kind.name();
                most += &format!("{name}, {viewers}: {}\n", samples.most);
            }
        }
        (rows, most)
    }

    /// `?` for what perf would have told.
    fn row(
        contestant: &Contestant,
        viewers: usize,
        slices: &[Slice],
        calls: Option<f64>,
        samples: Option<&Samples>,
    ) -> [String; 10] {
        let by = |of: fn(&Slice) -> f64| median(slices.iter().map(of));
        let unknown = || "?".to_owned();
        let share = |samples: &Samples| 100.0 * ratio(samples.scheduling, samples.all);
        let arrived = by(|slice| ratio(slice.arrived, slice.expected));
        [
            contestant.kind.name().to_owned(),
            viewers.to_string(),
            format!("{:.0}", by(nanoseconds)),
            samples.map_or_else(unknown, |samples| format!("{:.1} %", share(samples))),
            samples.map_or_else(unknown, |samples| samples.all.to_string()),
            format!("{:.1}", by(switches)),
            format!("{:.1}", by(wake_ups)),
            calls.map_or_else(unknown, |calls| format!("{calls:.0}")),
            (contestant.memory_per_viewer / 1000).to_string(),
            format!("{:.1} %", 100.0 * arrived),
        ]
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

    /// How many one of them makes per 1,000 packets.
    fn system_calls(contestants: &mut [Contestant], which: usize, frames: u32) -> Option<f64> {
        let mut calls = SystemCalls::new(contestants[which].id())?;
        calls.start();
        let slice = contestants[which].slice(frames);
        calls.stop();
        let calls = calls.finish();
        contestants.iter_mut().for_each(Contestant::tend);
        Some(1000.0 * ratio(calls, slice.arrived))
    }

    fn samples(
        contestants: &mut [Contestant],
        which: usize,
        rounds: usize,
        frames: u32,
    ) -> Samples {
        let mut profile = Profile::new(contestants[which].id(), Stacks::Callers);
        for _ in 0..rounds {
            profile.start();
            contestants[which].slice(frames);
            profile.stop();
            contestants.iter_mut().for_each(Contestant::tend);
        }
        thread::scope(|scope| {
            let reader = scope.spawn(|| read(profile));
            while !reader.is_finished() {
                contestants.iter_mut().for_each(Contestant::tend);
                thread::sleep(TEND_PAUSE);
            }
            reader.join().expect("samples that can be read")
        })
    }

    fn read(profile: Profile) -> Samples {
        let (mut all, mut met) = (0, HashMap::<String, u64>::new());
        profile.finish(|stack| {
            all += 1;
            if let Some(function) = scheduling(stack) {
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
