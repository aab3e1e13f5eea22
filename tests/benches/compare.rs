//! Kvill beside other servers under the same load: CPU, memory and latency, with and without loss.
//!
//! `cargo build --release --workspace --bins && cargo bench --workspace --bench compare [-- --quick]`
//!
//! Linux alone. `kvill`, `kvill-smol`, a program on Pion, and MediaMTX where `tests/peers/mediamtx/build`
//! has built it; and any other server that is given, the port being yours to choose:
//!
//! `… -- --server 'NAME=COMMAND' --whip URL --whep URL`
//!
//! Servers take turns, each is started anew for each round, and medians are shown. `--viewers COUNT` and
//! `--rounds COUNT` change the load.

#[cfg(target_os = "linux")]
mod linux {
    use std::any::Any;
    use std::fs;
    use std::net::{TcpStream, ToSocketAddrs};
    use std::os::unix::process::CommandExt as _;
    use std::process::{Child, Command, Stdio};
    use std::thread;
    use std::time::{Duration, Instant};

    use kvill_tests::bench::clock::{Usage, resident};
    use kvill_tests::bench::{Table, is_quick, median};
    use kvill_tests::load::report::Report;
    use kvill_tests::load::run::{Moment, Plan, run};
    use kvill_tests::peer::report;
    use kvill_tests::process::{BINARIES, Kvill};
    use kvill_tests::rival::Rival;
    use rustix::process::{Pid, Signal, kill_process_group};

    /// Shares of what comes that viewers throw away.
    const LOSSES: [f64; 2] = [0.0, 0.01];

    /// How long a server that is given by its command may take until it listens.
    const START_TIME: Duration = Duration::from_secs(10);

    /// What is measured, and how.
    struct Load {
        viewers: usize,
        rounds: usize,
        duration: Duration,
    }

    /// Who can be started.
    #[derive(Debug, Clone)]
    enum Contender {
        Kvill(&'static str),
        Pion,
        MediaMtx,
        Other {
            name: String,
            command: String,
            whip: String,
            whep: String,
        },
    }

    /// A server that runs, until it is dropped.
    struct Running {
        id: u32,
        /// It may have more processes, in a group of that number.
        leads_group: bool,
        whip: String,
        whep: String,
        _process: Box<dyn Any>,
    }

    impl Running {
        /// The process, and those that it has started: all of its group.
        fn processes(&self) -> Vec<u32> {
            if !self.leads_group {
                return vec![self.id];
            }
            let entries = fs::read_dir("/proc").expect("the system tells of processes");
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            let is_member = |id: &u32| {
                let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
                // After the name, which may have blanks and brackets: state, parent, group.
                let group = stat
                    .rsplit_once(") ")
                    .and_then(|(_, r)| r.split(' ').nth(2));
                group.is_some_and(|group| group.parse() == Ok(self.id))
            };
            let ids = names.filter_map(|name| name.parse().ok());
            ids.filter(is_member).collect()
        }

        /// CPU time so far, of processes that have not ended.
        fn cpu(&self) -> Duration {
            let each = |id: &u32| Usage::of_process(*id).cpu;
            self.processes().iter().map(each).sum()
        }

        /// Bytes of memory.
        fn resident(&self) -> u64 {
            self.processes().iter().map(|id| resident(*id)).sum()
        }
    }

    /// A server given by its command: a shell in a group of its own.
    struct Process(Child);

    impl Drop for Process {
        fn drop(&mut self) {
            let group = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
            // Both fail only for a process that is gone.
            let _ = group.map(|group| kill_process_group(group, Signal::KILL));
            let _ = self.0.wait();
        }
    }

    impl Contender {
        fn name(&self) -> &str {
            match self {
                Self::Kvill(name) => name,
                Self::Pion => "Pion",
                Self::MediaMtx => "MediaMTX",
                Self::Other { name, .. } => name,
            }
        }

        /// `None`: it is not installed here, which has been said.
        fn start(&self) -> Option<Running> {
            let rival = |rival: Rival| Running {
                id: rival.id(),
                leads_group: false,
                whip: rival.whip(),
                whep: rival.whep(),
                _process: Box::new(rival),
            };
            match self {
                Self::Kvill(name) => {
                    let kvill = Kvill::of_binary(name, &[]);
                    Some(Running {
                        id: kvill.id(),
                        leads_group: false,
                        whip: format!("{}/live/whip", kvill.url()),
                        whep: format!("{}/live/whep", kvill.url()),
                        _process: Box::new(kvill),
                    })
                }
                Self::Pion => Rival::pion().map(rival),
                Self::MediaMtx => Rival::mediamtx().map(rival),
                Self::Other {
                    command,
                    whip,
                    whep,
                    ..
                } => Some(start(command, whip, whep)),
            }
        }
    }

    fn start(command: &str, whip: &str, whep: &str) -> Running {
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).process_group(0);
        shell.stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Process(shell.spawn().expect("a shell"));
        let deadline = Instant::now() + START_TIME;
        while !listens(whip) {
            let ended = process.0.try_wait().expect("a child can be waited for");
            assert!(ended.is_none(), "{command}: ended with {ended:?}");
            assert!(
                Instant::now() < deadline,
                "{command}: nobody listens at {whip} after {START_TIME:?}"
            );
            thread::sleep(Duration::from_millis(20));
        }
        Running {
            id: process.0.id(),
            leads_group: true,
            whip: whip.to_owned(),
            whep: whep.to_owned(),
            _process: Box::new(process),
        }
    }

    /// Whether somebody listens where a URL leads.
    fn listens(url: &str) -> bool {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let host = rest.split('/').next().unwrap_or(rest);
        let host = match host.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => host.to_owned(),
            _ if url.starts_with("https:") => format!("{host}:443"),
            _ => format!("{host}:80"),
        };
        let mut addresses = host.to_socket_addrs().into_iter().flatten();
        addresses.any(|address| TcpStream::connect(address).is_ok())
    }

    /// What one run of a server came to.
    struct Outcome {
        /// Per million delivered packets.
        cpu_s: f64,
        cores: f64,
        memory_kb: f64,
        latency_ms: [f64; 2],
        lost: f64,
        delivered: f64,
    }

    fn measure(contender: &Contender, load: &Load, loss: f64) -> Option<Outcome> {
        let server = contender.start()?;
        let name = contender.name();
        let mut plan = Plan::new(&server.whip, &server.whep, load.viewers)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        plan.duration = load.duration;
        plan.loss = loss;
        plan.join_rate = 100.0;
        let (mut memory, mut used) = ([0; 2], [Duration::ZERO; 2]);
        let outcome = run(&plan, |moment| match moment {
            Moment::Published => memory[0] = server.resident(),
            Moment::Watching => used[0] = server.cpu(),
            Moment::Watched => {
                used[1] = server.cpu();
                memory[1] = server.resident();
            }
            Moment::Second(_) => {}
        });
        let outcome = outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
        for warning in outcome.warnings() {
            eprintln!("{name}: {warning}");
        }
        assert_eq!(
            outcome.totals.connected, load.viewers,
            "{name}: {:?}",
            outcome.failures
        );
        assert!(outcome.totals.packets > 0, "{name}: nothing came");
        Some(Outcome::new(
            &outcome,
            memory,
            used[1].saturating_sub(used[0]),
        ))
    }

    #[expect(clippy::cast_precision_loss, reason = "for the reader")]
    impl Outcome {
        fn new(report: &Report, [without, with]: [u64; 2], used: Duration) -> Self {
            let packets = report.totals.packets as f64;
            let viewers = report.totals.connected as f64;
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            let latency = report
                .latency
                .map_or([f64::NAN; 2], |latency| [latency.p50, latency.p99].map(ms));
            Self {
                cpu_s: used.as_secs_f64() / packets * 1e6,
                cores: used.as_secs_f64() / report.watched.as_secs_f64(),
                memory_kb: with.saturating_sub(without) as f64 / viewers / 1e3,
                latency_ms: latency,
                lost: report.reception.lost as f64,
                delivered: packets / (report.published as f64 * viewers),
            }
        }
    }

    fn argument(name: &str) -> Option<String> {
        let mut arguments = std::env::args().skip_while(|argument| argument != name);
        arguments.nth(1)
    }

    fn count(name: &str, default: usize) -> usize {
        let given = argument(name).map(|text| text.parse());
        given.map_or(default, |count| {
            count.unwrap_or_else(|_| panic!("{name} takes a count"))
        })
    }

    fn contenders() -> Vec<Contender> {
        let mut all: Vec<_> = BINARIES.map(Contender::Kvill).to_vec();
        let Some(server) = argument("--server") else {
            all.extend([Contender::Pion, Contender::MediaMtx]);
            return all;
        };
        let (name, command) = server
            .split_once('=')
            .expect("--server takes 'NAME=COMMAND'");
        let url = |name: &str| argument(name).unwrap_or_else(|| panic!("--server needs {name}"));
        all.push(Contender::Other {
            name: name.to_owned(),
            command: command.to_owned(),
            whip: url("--whip"),
            whep: url("--whep"),
        });
        all
    }

    pub(super) fn main() {
        let (viewers, rounds, duration) = match is_quick() {
            true => (3, 1, Duration::from_millis(500)),
            false => (100, 3, Duration::from_secs(8)),
        };
        let load = Load {
            viewers: count("--viewers", viewers),
            rounds: count("--rounds", rounds),
            duration,
        };
        let mut all = contenders();
        let mut rows: Vec<(String, f64, Vec<Outcome>)> = Vec::new();
        for loss in LOSSES {
            let first = rows.len();
            for round in 0..load.rounds {
                // Another one is first each time.
                if round > 0 && !all.is_empty() {
                    all.rotate_left(1);
                }
                // Who is not there is said once.
                all.retain(|contender| {
                    let Some(outcome) = measure(contender, &load, loss) else {
                        return false;
                    };
                    let name = contender.name();
                    match rows[first..].iter_mut().find(|(known, ..)| known == name) {
                        Some((.., outcomes)) => outcomes.push(outcome),
                        None => rows.push((name.to_owned(), loss, vec![outcome])),
                    }
                    true
                });
                eprintln!("loss {loss}: round {} of {}", round + 1, load.rounds);
            }
            if !all.is_empty() {
                let len = all.len();
                all.rotate_right((load.rounds - 1) % len);
            }
        }
        let head = format!(
            "{} viewers of one publisher, 2.4 Mbit/s each, {} s, medians of {} rounds; CPU s: per million \
             delivered packets; memory: what a viewer adds; \
             latency: of a sample of packets whose last bytes still tell when they were published, which \
             are all where packets are passed on, and the last of a frame where frames are put together \
             anew; lost: by sequence numbers; delivered: datagrams of media that viewers got, repairs \
             and what they threw away by themselves included, by those published\n\n",
            load.viewers,
            load.duration.as_secs_f64(),
            load.rounds
        );
        report("compare", &format!("{head}{}", table(&rows)));
    }

    /// `-`: no packet of the sample had a time in it.
    fn ms(time: f64) -> String {
        match time.is_nan() {
            true => "-".to_owned(),
            false => format!("{time:.2} ms"),
        }
    }

    fn table(rows: &[(String, f64, Vec<Outcome>)]) -> Table {
        let mut table = Table::new(&[
            "server",
            "loss",
            "CPU s",
            "cores",
            "memory",
            "latency p50",
            "p99",
            "lost",
            "delivered",
        ]);
        for (name, loss, outcomes) in rows {
            let of = |part: fn(&Outcome) -> f64| median(outcomes.iter().map(part));
            table.row([
                name.clone(),
                format!("{:.0} %", loss * 100.0),
                format!("{:.2}", of(|o| o.cpu_s)),
                format!("{:.2}", of(|o| o.cores)),
                format!("{:.0} KB", of(|o| o.memory_kb)),
                ms(of(|o| o.latency_ms[0])),
                ms(of(|o| o.latency_ms[1])),
                format!("{:.0}", of(|o| o.lost)),
                format!("{:.1} %", of(|o| o.delivered) * 100.0),
            ]);
        }
        table
    }
}

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
}
