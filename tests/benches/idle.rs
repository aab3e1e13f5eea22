//! What connected viewers cost a server when nothing is published: CPU, wake-ups, and memory.
//!
//! `cargo bench --workspace --bench idle [-- --quick]`
//!
//! Linux alone. 5,000 viewers of `kvill-load`, each with a socket of its own, send binding requests
//! every 2.5 s and a report every second, as browsers do; the publisher is connected and silent. The
//! server is this program again, in a process of its own, with one of the two drivers: so it can be
//! asked for its counts, and its memory is its own.

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{self, BufRead, BufReader, Write};
    use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
    use std::time::{Duration, Instant};

    use kvill_host::settings::Settings;
    use kvill_host::spawn::{Drive, Running};
    use kvill_tests::bench::clock::{Usage, resident};
    use kvill_tests::bench::{Table, is_quick, ratio};
    use kvill_tests::load::run::{Moment, Plan, run};
    use kvill_tests::peer::report;

    /// Says which driver this process is to be.
    const SERVE: &str = "--serve";

    const DRIVERS: [&str; 2] = ["kvill-mio", "kvill-smol"];

    /// How many viewers, how many seconds pass until the last connection of HTTP has timed out, and how
    /// many are watched.
    const FULL: (usize, u64, u64) = (5000, 12, 20);
    const QUICK: (usize, u64, u64) = (50, 1, 2);

    /// Empty wake-ups that may be, per second.
    const EMPTY_MAX: f64 = 2.0;

    /// What a server has counted.
    #[derive(Debug, Clone, Copy)]
    struct Counts {
        viewers: u64,
        datagrams: u64,
        wakeups: u64,
        empty: u64,
    }

    /// A driver in a process of its own: answers each line with its counts, until there is none.
    fn serve<D: Drive>() {
        let settings = Settings {
            http_addresses: vec!["127.0.0.1:0".parse().expect("an address")],
            udp_addresses: vec!["127.0.0.1:0".parse().expect("an address")],
            ..Settings::default()
        };
        let running = Running::start::<D>("idle", settings).expect("free ports");
        let handle = running.handle();
        println!("http://{}", running.http_addresses()[0]);
        for _ in io::stdin().lines() {
            let stats = handle.stats().wait().expect("it runs");
            let viewers = stats.core.paths.first().map_or(0, |path| path.viewers);
            let (turns, counters) = (stats.turns, stats.core.counters);
            println!(
                "{viewers} {} {} {}",
                counters.datagrams, turns.wakeups, turns.empty_wakeups
            );
        }
    }

    struct Server {
        child: Child,
        stdin: ChildStdin,
        stdout: BufReader<ChildStdout>,
        url: String,
    }

    impl Server {
        fn start(driver: &str) -> Self {
            let program = std::env::current_exe().expect("a program knows its own file");
            let mut command = Command::new(program);
            command
                .args([SERVE, driver])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            let mut child = command.spawn().expect("this program, once more");
            let stdin = child.stdin.take().expect("stdin is piped");
            let stdout = child.stdout.take().expect("stdout is piped");
            let mut server = Self {
                child,
                stdin,
                stdout: BufReader::new(stdout),
                url: String::new(),
            };
            server.url = server.line();
            server
        }

        fn line(&mut self) -> String {
            let mut line = String::new();
            self.stdout.read_line(&mut line).expect("text");
            line.trim_end().to_owned()
        }

        fn counts(&mut self) -> Counts {
            writeln!(self.stdin, "counts").expect("it listens");
            let line = self.line();
            let mut numbers = line.split(' ').map(|number| number.parse().ok());
            let mut next = || numbers.next().flatten().expect("four counts");
            Counts {
                viewers: next(),
                datagrams: next(),
                wakeups: next(),
                empty: next(),
            }
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            // Both fail only for a process that is gone.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// One driver: a row of the table.
    fn row(driver: &str, (viewers, settling, seconds): (usize, u64, u64), table: &mut Table) {
        let mut server = Server::start(driver);
        let id = server.child.id();
        let (whip, whep) = (
            format!("{}/live/whip", server.url),
            format!("{}/live/whep", server.url),
        );
        let mut plan = Plan::new(&whip, &whep, viewers).expect("two URLs");
        plan.program.is_silent = true;
        plan.duration = Duration::from_secs(settling + seconds);
        plan.patience = Duration::from_secs(30);
        let (mut empty_memory, mut settled, mut since) = (0, None, None);
        let mut end = None;
        let result = run(&plan, |moment| match moment {
            Moment::Published => empty_memory = resident(id),
            Moment::Watching => since = Some(0),
            Moment::Second(_) => {
                since = since.map(|seconds| seconds + 1);
                if since == Some(settling) {
                    settled = Some((server.counts(), Usage::of_process(id), Instant::now()));
                }
            }
            Moment::Watched => {
                let now = Instant::now();
                end = Some((server.counts(), Usage::of_process(id), now, resident(id)));
            }
        });
        let outcome = result.expect("a load that works");
        let (before, used_before, begun) = settled.expect("it took that long");
        let (after, used, ended, memory) = end.expect("it was watched to its end");
        assert_eq!(after.viewers, viewers as u64, "{:?}", outcome.failures);
        let used = used.since(used_before);
        let measured = (ended - begun).as_secs_f64();
        let (datagrams, wakeups, empty) = (
            after.datagrams - before.datagrams,
            after.wakeups - before.wakeups,
            after.empty - before.empty,
        );
        assert!(
            datagrams > viewers as u64 && wakeups > 0,
            "{before:?} {after:?}"
        );
        // A look at the counts wakes it, too. A short run on a busy machine says nothing.
        assert!(
            is_quick() || empty as f64 <= EMPTY_MAX * (measured + 2.0),
            "{before:?} {after:?}"
        );
        let each = memory.saturating_sub(empty_memory);
        table.row([
            driver.to_owned(),
            viewers.to_string(),
            format!("{:.2} %", used.cpu.as_secs_f64() / measured * 100.0),
            format!("{:.1} µs", used.cpu.as_secs_f64() * 1e6 / datagrams as f64),
            format!("{:.0}", datagrams as f64 / measured),
            format!("{:.0}", wakeups as f64 / measured),
            format!("{:.2}", empty as f64 / measured),
            format!("{:.1} MB", ratio(empty_memory, 1_000_000)),
            format!("{:.1} KB", ratio(each, viewers as u64) / 1e3),
        ]);
    }

    pub(super) fn main() {
        let mut arguments = std::env::args().skip_while(|argument| argument != SERVE);
        if arguments.next().is_some() {
            match arguments.next().as_deref() {
                Some(driver) if driver == DRIVERS[0] => serve::<kvill_mio::Driver>(),
                _ => serve::<kvill_smol::Driver>(),
            }
            return;
        }
        let size = if is_quick() { QUICK } else { FULL };
        let mut table = Table::new(&[
            "driver",
            "viewers",
            "CPU",
            "per datagram",
            "datagrams/s",
            "wake-ups/s",
            "empty/s",
            "memory without",
            "each viewer",
        ]);
        for driver in DRIVERS {
            row(driver, size, &mut table);
        }
        let (_, settling, seconds) = size;
        let head = format!(
            "connected viewers and no media, {seconds} s, {settling} s after the last one came; CPU: of \
             one core; memory: resident and its own\n\n"
        );
        report("idle-crowd", &format!("{head}{table}"));
    }
}

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
}
