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
    use std::net::Ipv4Addr;
    use std::path::Path;
    use std::thread;
    use std::time::{Duration, Instant};

    use kvill_tests::bench::clock::own_cpu;
    use kvill_tests::bench::profile::{self, Profile, SystemCalls};
    use kvill_tests::bench::sealing::Aead;
    use kvill_tests::bench::seats::Seats;
    use kvill_tests::bench::sending::{Bare, Item};
    use kvill_tests::bench::{Table, is_quick, median, ratio};
    use kvill_tests::client::media::Source;
    use kvill_tests::peer::report;
    use str0m::format::Codec;
    use str0m::media::MediaKind;

    use super::contestant::{Contestant, INTERVAL, Kind, PACKETS, Slice};
    use super::plot::{self, Curve};
    use super::symbols::scheduling;
    use super::{loops, pipe, tasks};

    const KINDS: [Kind; 7] = [
        Kind::Loop("epoll"),
        Kind::Binary("kvill"),
        Kind::Binary("kvill-smol"),
        Kind::Loop("tokio"),
        Kind::Tasks("tasks-tokio"),
        Kind::Tasks("tasks-smol"),
        Kind::Pion,
    ];

    /// What the picture has, beside the floor.
    const DRAWN: [Kind; 3] = [
        Kind::Binary("kvill"),
        Kind::Tasks("tasks-tokio"),
        Kind::Pion,
    ];

    const DRAWN_VIEWERS: [usize; 5] = [10, 50, 100, 200, 400];

    /// Trains by one system call of the floor.
    const BATCH: usize = 8;

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
            Some(file) => draw(Path::new(file)),
            None if profile::is_possible() => compare(),
            None => {}
        }
        Ok(())
    }

    fn compare() {
        let (viewers, rounds, frames) = if is_quick() { (5, 1, 4) } else { (100, 5, 30) };
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
        let mut table = Table::new(&[
            "server",
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
        for n in 0..contestants.len() {
            let (calls, arrived) = system_calls(&mut contestants[n], frames);
            contestants.iter_mut().for_each(Contestant::tend);
            let samples = samples(&mut contestants[n], rounds, frames);
            contestants.iter_mut().for_each(Contestant::tend);
            let contestant = &contestants[n];
            let slices = &slices[n];
            let by = |of: fn(&Slice) -> f64| median(slices.iter().map(of));
            let per_thousand = |count: u64, arrived: u64| 1000.0 * ratio(count, arrived);
            let all_arrived = by(|slice| ratio(slice.arrived, slice.expected));
            assert!(all_arrived > 0.5, "{:?}: {slices:?}", contestant.kind);
            table.row([
                contestant.kind.name().to_owned(),
                format!("{:.0}", by(nanoseconds)),
                format!("{:.1} %", 100.0 * ratio(samples.scheduling, samples.all)),
                samples.all.to_string(),
                format!(
                    "{:.1}",
                    by(|slice| {
                        let usage = slice.usage;
                        1000.0 * ratio(usage.sleeps + usage.preemptions, slice.arrived)
                    })
                ),
                format!(
                    "{:.1}",
                    by(|slice| 1000.0 * ratio(slice.usage.sleeps, slice.arrived))
                ),
                calls.map_or("?".to_owned(), |calls| {
                    format!("{:.0}", per_thousand(calls, arrived))
                }),
                (contestant.memory_per_viewer / 1024).to_string(),
                format!("{:.1} %", 100.0 * all_arrived),
            ]);
            most += &format!("{}: {}\n", contestant.kind.name(), samples.most);
        }
        report(
            "scheduler",
            &format!(
                "30 frames per second of {PACKETS} packets to {viewers} viewers who do not read; CPU, switches, \
                 wake-ups and system calls of the whole process, the latter three per 1,000 packets; \
                 scheduling: share of the samples\n{table}\nmost of scheduling, in samples:\n{most}"
            ),
        );
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

    /// CPU against viewers.
    fn draw(file: &Path) {
        let (sizes, rounds, frames): (&[usize], _, _) = match is_quick() {
            true => (&[2, 5], 1, 4),
            false => (&DRAWN_VIEWERS, 3, 30),
        };
        let mut curves: Vec<_> = DRAWN.map(|kind| (kind, Vec::new())).into();
        let mut floor = Vec::new();
        let mut table = Table::new(&["server", "viewers", "% of a CPU", "arrived"]);
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        for viewers in sizes {
            for (kind, points) in &mut curves {
                let Some(mut contestant) = Contestant::new(*kind, *viewers) else {
                    continue;
                };
                let slices: Vec<_> = std::iter::repeat_with(|| {
                    contestant.tend();
                    contestant.slice(frames)
                })
                .take(rounds)
                .collect();
                let percent = median(slices.iter().map(|slice| {
                    100.0 * slice.usage.cpu.as_secs_f64() / slice.lasted.as_secs_f64()
                }));
                let arrived = median(slices.iter().map(|s| ratio(s.arrived, s.expected)));
                table.row([
                    kind.name().to_owned(),
                    viewers.to_string(),
                    format!("{percent:.1}"),
                    format!("{:.1} %", 100.0 * arrived),
                ]);
                // What does not keep up is not the same load any more.
                if arrived > 0.95 {
                    points.push((*viewers as f64, percent));
                }
            }
            let percent = floor_of::<ring::aead::LessSafeKey>(*viewers, frames).min(floor_of::<
                aws_lc_rs::aead::LessSafeKey,
            >(
                *viewers, frames,
            ));
            table.row([
                "floor".to_owned(),
                viewers.to_string(),
                format!("{percent:.1}"),
                "–".to_owned(),
            ]);
            floor.push((*viewers as f64, percent));
        }
        let curves = curves.into_iter().map(|(kind, points)| Curve {
            name: kind.name().to_owned(),
            points,
        });
        let floor = Curve {
            name: "floor: AES-GCM and sendmmsg of trains".to_owned(),
            points: floor,
        };
        let curves: Vec<_> = curves
            .chain([floor])
            .filter(|curve| !curve.points.is_empty())
            .collect();
        let caption = "CPU of one publisher's 2.3 Mbit/s to many viewers";
        plot::draw(file, caption, &curves).expect("a picture that can be written");
        report("scheduler-plot", &table.to_string());
    }

    /// What sealing and sending alone takes of a CPU, in percent.
    fn floor_of<A: Aead>(viewers: usize, frames: u32) -> f64 {
        let local = Ipv4Addr::LOCALHOST.into();
        let seats = Seats::strangers(local, viewers);
        let bare = Bare::<A>::new(local, &seats.addresses(), 1150, 32);
        let mut bare = bare.expect("a system with GSO");
        let mut video = Source::new(Codec::Vp8, 20_000, 1);
        let mut audio = Source::new(Codec::Opus, 30_000, 1);
        let mut due = Instant::now();
        let took = std::iter::repeat_with(|| {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            due += INTERVAL;
            let video = video.delta(PACKETS - 1, 1150).into_iter();
            let audio = audio.delta(1, 100).into_iter();
            let video = video.map(|packet| (MediaKind::Video, packet));
            let audio = audio.map(|packet| (MediaKind::Audio, packet));
            let frame: Vec<Item> = video.chain(audio).collect();
            let before = own_cpu();
            let sent = bare.send(&frame, BATCH);
            sent.expect("a system that sends");
            own_cpu() - before
        });
        let took: Vec<Duration> = took.take(frames as usize).collect();
        100.0 * median(took.iter().map(Duration::as_secs_f64)) / INTERVAL.as_secs_f64()
    }
}

fn main() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    linux::main()?;
    Ok(())
}
