//! How long a packet takes through the server, at half of the load that it can take, and with how many
//! viewers of a stream it takes less than a millisecond.
//!
//! `cargo build --release --workspace --bins && cargo bench --workspace --bench forward [-- --quick]`
//!
//! Linux alone. Full load is where the server would use all of a core, by what it uses for a few hundred
//! viewers of one stream: 30 frames a second of 8 packets, and Opus. Latency is from just before a
//! publisher seals and sends a packet until the system has it for its viewer (`SO_TIMESTAMPNS`). So all
//! of the server is in it, and the kernel's ways to and from it; that the viewers share a process, which
//! reads when it comes to it, is not. Where there are two cores the server has one for itself, and the
//! publishers and viewers have the rest.
//!
//! A frame goes to its viewers one after the other, and the last one waits for all: so what half of the
//! load means to a packet depends on how many streams it is.
//!
//! `waited` is how long threads of the server could have run and did not, for something else had the
//! core. What else a machine does shows in a p99 more than in anything else, so a whole run has its
//! latency, and so has its best second; the latter is judged. Where the two differ, look for a quieter
//! machine. Of a busy one, `setsid -w sh -c 'echo -20 >/proc/self/autogroup; exec cargo bench …'` has more.
//!
//! `--spread PERCENT` has publishers pace, as browsers do.

#[cfg(target_os = "linux")]
mod linux {
    use std::fmt::Write;
    use std::fs;
    use std::time::Duration;

    use kvill_tests::bench::clock::Usage;
    use kvill_tests::bench::{Table, is_quick};
    use kvill_tests::load::report::Quantiles;
    use kvill_tests::load::run::{Moment, Plan, run};
    use kvill_tests::load::signalling::Endpoint;
    use kvill_tests::peer::report;
    use kvill_tests::process::{BINARIES, Kvill};
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// What a packet's way is to take less than, beside the hold.
    const LATENCY_MAX: Duration = Duration::from_millis(1);

    /// Packets that are opened in a second, of all viewers: enough for a p99, and cheap.
    const OPENED: usize = 8000;

    /// Packets of a stream in a second: those of video, and of sound.
    const PACKETS: usize = 30 * 8 + 50;

    /// How much there is of everything.
    struct Size {
        /// Binaries, and how many milliseconds each holds.
        settings: &'static [(&'static str, u64)],
        /// By so many viewers the full load is told.
        probe: usize,
        /// Viewers that half of the load is at most.
        half_max: usize,
        /// Streams that share it.
        streams: &'static [usize],
        /// Viewers of one stream.
        ladder: &'static [usize],
        /// Viewers that join per second: more of them keep the server from its publishers.
        join_rate: f64,
        settling: Duration,
        duration: Duration,
    }

    const FULL: Size = Size {
        settings: &[
            (BINARIES[0], 0),
            (BINARIES[1], 0),
            (BINARIES[0], 2),
            (BINARIES[1], 2),
        ],
        probe: 300,
        half_max: 10_000,
        streams: &[1, 20],
        ladder: &[25, 50, 100, 200],
        join_rate: 250.0,
        settling: Duration::from_millis(300),
        duration: Duration::from_secs(5),
    };

    const QUICK: Size = Size {
        settings: &[(BINARIES[0], 0), (BINARIES[1], 2)],
        probe: 8,
        half_max: 12,
        streams: &[1, 3],
        ladder: &[4],
        join_rate: f64::INFINITY,
        settling: Duration::from_millis(50),
        duration: Duration::from_millis(400),
    };

    /// Which cores whose threads run on.
    struct Cores {
        /// The publishers' and the viewers'.
        load: CpuSet,
        server: CpuSet,
    }

    impl Cores {
        /// The last core for the server, and all others for the load, as far as there are two.
        fn divide() -> Self {
            let all = sched_getaffinity(None).expect("the system tells of its cores");
            let last = (0..CpuSet::MAX_CPU).rev().find(|core| all.is_set(*core));
            let (mut load, mut server) = (all, all);
            if let Some(last) = last.filter(|_| all.count() > 1) {
                load.unset(last);
                server.clear();
                server.set(last);
            }
            Self { load, server }
        }

        /// A server takes over what its parent had when it started it.
        fn start(&self, (binary, hold): (&str, u64)) -> Kvill {
            sched_setaffinity(None, &self.server).expect("a core that there is");
            let hold = hold.to_string();
            let kvill = Kvill::of_binary(binary, &["--hold-max", &hold, "--log-level", "warn"]);
            sched_setaffinity(None, &self.load).expect("cores that there are");
            kvill
        }
    }

    /// What one run came to.
    struct Outcome {
        streams: usize,
        viewers: usize,
        latency: Quantiles,
        /// That of its second with the lowest p99, if it had one.
        best: Option<Quantiles>,
        /// Cores that the server used, and the load.
        server: f64,
        load: f64,
        /// The share of the time in which the loop of the viewers did not wait.
        busy: f64,
        /// The share of the time in which threads of the server waited for their core.
        waited: f64,
        /// Of what there was to be delivered.
        delivered: f64,
        /// Packets that viewers missed, and those that came and that they were too slow for.
        missed: u64,
        dropped: u64,
    }

    impl Outcome {
        fn best(&self) -> Quantiles {
            self.best.unwrap_or(self.latency)
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "for the reader")]
    fn measure(
        cores: &Cores,
        setting: (&str, u64),
        size: &Size,
        streams: usize,
        viewers: usize,
    ) -> Outcome {
        let kvill = cores.start(setting);
        let name = kvill.name().to_owned();
        let endpoints = |end: &str| -> Vec<_> {
            let urls = (1..=streams).map(|n| format!("{}/{n}/{end}", kvill.url()));
            let endpoints = urls.map(|url| Endpoint::parse(&url, None).expect("a URL"));
            endpoints.collect()
        };
        let url = format!("{}/1", kvill.url());
        let plan = Plan::new(&format!("{url}/whip"), &format!("{url}/whep"), viewers);
        let mut plan = plan.expect("URLs");
        (plan.publish, plan.watch) = (endpoints("whip"), endpoints("whep"));
        // All frames alike: those who join have asked for theirs by then.
        plan.program.keyframe_interval = Duration::from_secs(3600);
        plan.program.keyframe_packets = plan.program.frame_packets;
        plan.program.spread = spread();
        plan.join_rate = size.join_rate;
        plan.settling = size.settling;
        plan.duration = size.duration;
        plan.sampled = prime(viewers * PACKETS / OPENED);
        let used = || (Usage::of_process(kvill.id()).cpu, waited(kvill.id()));
        let (mut before, mut after) = (used(), used());
        let mut seconds: Option<Vec<Quantiles>> = None;
        let outcome = run(&plan, |moment| match moment {
            Moment::Watching => (before, seconds) = (used(), Some(Vec::new())),
            Moment::Second(second) => {
                if let Some(seconds) = &mut seconds {
                    seconds.extend(second.latency);
                }
            }
            Moment::Watched => after = used(),
            Moment::Published => {}
        });
        let report = outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
        kvill.stop();
        for warning in report.warnings() {
            eprintln!("{name}, {viewers} viewers of {streams} streams: {warning}");
        }
        let there = report.totals.connected;
        assert_eq!(there, viewers, "{name}: {:?}", report.failures);
        let share = |time: Duration| time.as_secs_f64() / report.watched.as_secs_f64();
        let due = report.published as f64 * viewers as f64 / streams as f64;
        Outcome {
            streams,
            viewers,
            latency: report.latency.expect("packets came, and some were opened"),
            // The first one is what was left of a second.
            best: seconds
                .into_iter()
                .flatten()
                .skip(1)
                .min_by_key(|second| second.p99),
            server: share(after.0.saturating_sub(before.0)),
            load: report.own.cpu.map_or(f64::NAN, share),
            busy: report.own.busy,
            waited: share(after.1.saturating_sub(before.1)),
            delivered: report.totals.packets as f64 / due,
            missed: report.reception.missed,
            dropped: report.totals.dropped,
        }
    }

    /// How long threads of a process could have run and did not, so far.
    fn waited(pid: u32) -> Duration {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
        let waited = threads.filter_map(|thread| {
            // A thread may end at any moment.
            let told = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            told.split(' ').nth(1)?.parse::<u64>().ok()
        });
        Duration::from_nanos(waited.sum())
    }

    /// The share of the time between frames over which publishers spread one.
    fn spread() -> f64 {
        let mut arguments = std::env::args().skip_while(|argument| argument != "--spread");
        let percent = arguments.nth(1).map(|given| given.parse::<f64>());
        percent.map_or(0.0, |percent| {
            percent.expect("--spread takes a number").clamp(0.0, 100.0) / 100.0
        })
    }

    /// A prime of about this size, or all.
    fn prime(about: usize) -> u32 {
        let primes = [1, 3, 7, 13, 29, 59, 101, 199, 401];
        let at_least = |prime: &u32| usize::try_from(*prime).is_ok_and(|prime| prime >= about);
        primes.into_iter().find(at_least).unwrap_or(401)
    }

    /// Viewers of one stream by which the server uses all of a core.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of viewers"
    )]
    fn full_load(probe: &Outcome) -> usize {
        (probe.viewers as f64 / probe.server) as usize
    }

    fn columns() -> Table {
        Table::new(&[
            "server",
            "hold",
            "streams",
            "viewers",
            "p50",
            "p99",
            "max",
            "best p50",
            "p99",
            "server",
            "waited",
            "load",
            "busy",
            "delivered",
            "gaps",
        ])
    }

    fn row(table: &mut Table, (binary, hold): (&str, u64), outcome: &Outcome) {
        let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        table.row([
            binary.to_owned(),
            format!("{hold} ms"),
            outcome.streams.to_string(),
            outcome.viewers.to_string(),
            ms(outcome.latency.p50),
            ms(outcome.latency.p99),
            ms(outcome.latency.max),
            ms(outcome.best().p50),
            ms(outcome.best().p99),
            percent(outcome.server),
            percent(outcome.waited),
            percent(outcome.load),
            percent(outcome.busy),
            format!("{:.1} %", outcome.delivered * 100.0),
            match outcome.dropped {
                0 => outcome.missed.to_string(),
                dropped => format!("{}, {dropped} here", outcome.missed),
            },
        ]);
    }

    pub(super) fn main() {
        let size = if is_quick() { QUICK } else { FULL };
        let cores = Cores::divide();
        let mut said = format!(
            "From a publisher's send until the system has the packet for a viewer; frames of 8 packets \
             spread over {:.0} % of their time, {:.1} s each. server, load: CPU, of one core; waited: it \
             could have run and something else did; best: the second of the lowest p99; busy: the viewers' loop; gaps: packets missed\n\n",
            spread() * 100.0,
            size.duration.as_secs_f64()
        );
        let (mut half, mut ladder) = (columns(), columns());
        let mut most = String::new();
        let mut fulls: Vec<(&str, usize)> = Vec::new();
        for &setting in size.settings {
            let (binary, hold) = setting;
            let known = fulls.iter().find(|(known, _)| *known == binary);
            let full = known.map_or_else(
                || full_load(&measure(&cores, setting, &size, 1, size.probe)),
                |(_, full)| *full,
            );
            if known.is_none() {
                fulls.push((binary, full));
                // A string takes whatever is written to it.
                let _ = writeln!(said, "{binary}: full load is {full} viewers of one stream");
            }
            let viewers = (full / 2).clamp(1, size.half_max);
            for &streams in size.streams {
                eprintln!("{binary}, hold {hold} ms: {viewers} viewers of {streams} streams");
                let outcome = measure(&cores, setting, &size, streams, viewers);
                row(&mut half, setting, &outcome);
            }
            let max = LATENCY_MAX + Duration::from_millis(hold);
            let mut below = 0;
            for &viewers in size.ladder {
                eprintln!("{binary}, hold {hold} ms: {viewers} viewers of one stream");
                let outcome = measure(&cores, setting, &size, 1, viewers);
                row(&mut ladder, setting, &outcome);
                if outcome.best().p99 < max {
                    below = viewers;
                } else if outcome.best().p99 > max * 2 {
                    break;
                }
            }
            let _ = writeln!(
                most,
                "{binary}, hold {hold} ms: p99 is below {max:?} up to {below} viewers of a stream"
            );
        }
        report(
            "forward",
            &format!("{said}\nHalf load:\n\n{half}\nOne stream:\n\n{ladder}\n{most}"),
        );
    }
}

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
}
