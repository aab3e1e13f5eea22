//! Processes that tests start: the server by one of its binaries, examples, and whatever
//! [`crate::peer`] runs.
//!
//! What a process prints is read as it comes and passed on with `eprintln!`, so that the test
//! harness shows it with a failing test and hides it with a passing one. No process outlives its
//! handle.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The server's binaries: they differ in their runtime, and in nothing that can be seen from outside.
pub const BINARIES: [&str; 2] = ["kvill", "kvill-smol"];

/// Names the binary that [`Kvill::start`] starts, if that is not to be the first.
const BINARY_VARIABLE: &str = "KVILL_BINARY";

/// How long a server may take from its start until it says where it listens.
const START_TIME: Duration = Duration::from_secs(10);

/// How long a server may take to say goodbye to its sessions and exit.
const STOP_TIME: Duration = Duration::from_secs(2);

/// How long a line may take from a server into this process.
const LINE_TIME: Duration = Duration::from_secs(2);

/// How long a process that is dropped while it runs may take before it is killed. A script that
/// drives a browser needs a moment to close it.
const DROP_TIME: Duration = Duration::from_secs(3);

/// How often an exit is looked for.
const EXIT_POLL: Duration = Duration::from_millis(5);

/// A running server, listening on free ports, of 127.0.0.1 where nothing else is said.
#[derive(Debug)]
pub struct Kvill {
    name: String,
    process: Process,
    url: String,
}

impl Kvill {
    /// Starts the server that was built beside this test, with `--http-address 127.0.0.1:0`,
    /// `--udp-address 127.0.0.1:0` and what else is asked for: `kvill`, or the binary that the
    /// variable `KVILL_BINARY` names.
    ///
    /// # Panics
    /// When the binary is missing (the message has the command that builds it) or does not print
    /// a URL within 10 s.
    #[must_use]
    pub fn start(extra_args: &[&str]) -> Self {
        Self::listening("127.0.0.1:0", "127.0.0.1:0", extra_args)
    }

    /// As [`start`](Self::start), at other addresses.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn listening(http: &str, udp: &str, extra_args: &[&str]) -> Self {
        Self::launch(&binary(), http, udp, extra_args)
    }

    /// As [`start`](Self::start), by a binary of that name, whatever `KVILL_BINARY` says.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn of_binary(name: &str, extra_args: &[&str]) -> Self {
        Self::launch(name, "127.0.0.1:0", "127.0.0.1:0", extra_args)
    }

    /// Starts an example that serves as the binaries do: it takes the address for HTTP as its first
    /// argument, and prints a URL.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn example(name: &str) -> Self {
        Self::example_with(name, &[], Stdio::null())
    }

    /// As [`example`](Self::example), with further arguments, and something to read.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn example_with(name: &str, extra_args: &[&str], stdin: impl Into<Stdio>) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free.expect("a port is free").to_string();
        let mut command = Command::new(built(&format!("examples/{name}"), "--examples"));
        command.arg(address).args(extra_args).stdin(stdin);
        Self::wait_for_url(name, &mut command)
    }

    /// As [`of_binary`](Self::of_binary), at other addresses.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    #[must_use]
    pub fn launch(name: &str, http: &str, udp: &str, extra_args: &[&str]) -> Self {
        let mut command = Command::new(built(name, "--bins"));
        command
            .stdin(Stdio::null())
            .args(["--http-address", http])
            .args(["--udp-address", udp])
            .args(extra_args);
        Self::wait_for_url(name, &mut command)
    }

    fn wait_for_url(name: &str, command: &mut Command) -> Self {
        let mut process = Process::start(name, command);
        Self {
            name: name.to_owned(),
            url: process.url(name),
            process,
        }
    }

    /// Which binary or example it is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it serves this machine, as `http://127.0.0.1:PORT` without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process id, for whoever measures the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// CPU time that its threads have used so far, to the nanosecond. Linux's alone.
    ///
    /// # Panics
    /// When the system does not tell, or it has ended.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        cpu(self.id())
    }

    /// All it has printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits for a line that has all of these words, and gives it. What a process prints takes a
    /// moment to come here.
    ///
    /// # Panics
    /// When there is none within 2 s.
    #[track_caller]
    pub fn line(&self, words: &[&str]) -> String {
        let deadline = Instant::now() + LINE_TIME;
        loop {
            let log = self.log();
            let found = log.lines().find(|l| words.iter().all(|w| l.contains(w)));
            if let Some(line) = found {
                return line.to_owned();
            }
            let name = &self.name;
            assert!(
                Instant::now() < deadline,
                "{name}: no line with {words:?} in:\n{log}"
            );
            thread::sleep(EXIT_POLL);
        }
    }

    /// SIGTERM. Nothing happens if it has ended.
    pub fn ask_to_end(&mut self) {
        self.process.ask_to_end();
    }

    /// SIGINT, as by Ctrl-C.
    pub fn interrupt(&mut self) {
        self.process.signal(Signal::INT);
    }

    /// How it ended, if it has within this time.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        self.process.wait(within)
    }

    /// Asks it to end as a service manager would, by SIGTERM.
    ///
    /// # Panics
    /// When it is not gone within 2 s, exits with anything but 0, or has logged an error.
    pub fn stop(mut self) {
        self.ask_to_end();
        self.check_end();
    }

    /// Waits for the end that it was asked for.
    ///
    /// # Panics
    /// As [`stop`](Self::stop).
    pub fn check_end(&mut self) {
        let status = self.wait(STOP_TIME);
        let (name, log) = (&self.name, self.log());
        let Some(status) = status else {
            panic!("{name} still runs {STOP_TIME:?} after SIGTERM\n{log}");
        };
        assert!(
            status.success(),
            "{name} ended with {status} after SIGTERM\n{log}"
        );
        let errors: Vec<_> = log
            .lines()
            .filter(|line| line.contains(" ERROR ") || line.contains("panicked at"))
            .collect();
        assert!(errors.is_empty(), "{name} logged errors: {errors:#?}");
    }
}

/// CPU time that the threads of a process have used so far, to the nanosecond. Linux's alone.
///
/// # Panics
/// When the system does not tell, or it has ended.
#[must_use]
pub fn cpu(id: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{id}/task")).expect("it runs");
    let used = threads.filter_map(|thread| {
        // A thread may end at any moment.
        let told = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        let nanoseconds = told.split(' ').next().map(str::parse::<u64>);
        Some(nanoseconds?.expect("time on a CPU comes first"))
    });
    Duration::from_nanos(used.sum())
}

/// Bytes of memory that a process has resident. Linux's alone.
///
/// # Panics
/// When the system does not tell, or it has ended.
#[must_use]
pub fn resident(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kilobytes
        .and_then(|kilobytes| kilobytes.parse::<u64>().ok())
        .expect("its memory is in its status")
        * 1024
}

/// The binary that [`Kvill::start`] starts.
pub(crate) fn binary() -> String {
    std::env::var(BINARY_VARIABLE).unwrap_or_else(|_| BINARIES[0].to_owned())
}

/// The file of one of the workspace's programs, as the same profile built it; `what` builds it. Cargo
/// does not do that for a test of another package.
fn built(name: &str, what: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own file");
    // …/target/PROFILE/deps/TEST
    let profile = test
        .ancestors()
        .nth(2)
        .expect("tests lie two folders below the target folder");
    let file = profile
        .join(name)
        .with_extension(std::env::consts::EXE_EXTENSION);
    let release = if profile.ends_with("release") {
        " --release"
    } else {
        ""
    };
    let state = match file.is_file() {
        true => newer_source(&file).map(|source| format!("older than {source}")),
        false => Some("not built".to_owned()),
    };
    if let Some(state) = state {
        panic!(
            "{} is {state}: run `cargo build --workspace {what}{release}`, or `tests/run`, which does",
            file.display(),
        );
    }
    file
}

/// A source file that was written after the program that was made of it, as far as Cargo has left
/// a list of these beside it.
fn newer_source(program: &Path) -> Option<String> {
    let list = fs::read_to_string(program.with_extension("d")).ok()?;
    let (_, sources) = list.split_once(": ")?;
    let written = |file: &str| fs::metadata(file).and_then(|data| data.modified()).ok();
    let made = written(program.to_str()?)?;
    // Blanks in names are escaped.
    let sources = sources.trim_end().replace("\\ ", "\0");
    let mut sources = sources.split(' ').map(|name| name.replace('\0', " "));
    sources.find(|source| written(source).is_some_and(|at| at > made))
}

/// The first `http://host:port` in a line.
fn origin_in(line: &str) -> Option<&str> {
    const SCHEME: &str = "http://";
    let url = &line[line.find(SCHEME)?..];
    let host = &url[SCHEME.len()..];
    let end = host
        .find(|c: char| c == '/' || c.is_whitespace())
        .unwrap_or(host.len());
    Some(&url[..SCHEME.len() + end])
}

/// A child process, its output read by two threads.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    log: Arc<Mutex<String>>,
}

impl Process {
    /// Starts the command; `name` stands before each line it prints.
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: cannot start {command:?}: {error}"));
        let (sender, lines) = mpsc::channel();
        let log = Arc::default();
        let stdout = child.stdout.take().expect("stdout is piped");
        follow(name, stdout, &log, move |line| {
            // Nobody may listen any more; the line is in the log all the same.
            let _ = sender.send(line);
        });
        let stderr = child.stderr.take().expect("stderr is piped");
        follow(name, stderr, &log, drop);
        Self { child, lines, log }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The URL of a server that has just been started, as soon as it prints it.
    ///
    /// # Panics
    /// When it does not within 10 s.
    pub(crate) fn url(&mut self, name: &str) -> String {
        let deadline = Instant::now() + START_TIME;
        while let Some(line) = self.next_line(deadline) {
            if let Some(url) = origin_in(&line) {
                return url.to_owned();
            }
        }
        let how = match self.wait(Duration::ZERO) {
            Some(status) => format!("ended with {status}"),
            None => format!("ran for {START_TIME:?}"),
        };
        panic!("{name} {how} without printing a URL\n{}", self.log());
    }

    /// The next line of its stdout; none when the deadline has passed or stdout is closed.
    pub(crate) fn next_line(&mut self, deadline: Instant) -> Option<String> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.lines.recv_timeout(left).ok()
    }

    /// Its stdout and stderr so far, line by line.
    pub(crate) fn log(&self) -> String {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// SIGTERM.
    pub(crate) fn ask_to_end(&mut self) {
        self.signal(Signal::TERM);
    }

    fn signal(&mut self, signal: Signal) {
        if let Ok(None) = self.child.try_wait()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            // It may end by itself at this very moment: then there is nothing left to ask.
            let _ = kill_process(pid, signal);
        }
    }

    /// Waits for its end for so long.
    pub(crate) fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(EXIT_POLL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.ask_to_end();
        if self.wait(DROP_TIME).is_none() {
            // Both fail only for a process that is gone.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Reads lines on a thread of their own until the other side closes.
fn follow(
    name: &str,
    from: impl Read + Send + 'static,
    log: &Arc<Mutex<String>>,
    mut each: impl FnMut(String) + Send + 'static,
) {
    let name = name.to_owned();
    let log = Arc::clone(log);
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut bytes = Vec::new();
        while from.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            bytes.clear();
            eprintln!("{name}: {line}");
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.push_str(&line);
            log.push('\n');
            drop(log);
            each(line);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Process::start("sh", Command::new("sh").args(["-c", script]))
    }

    #[test]
    fn a_url_is_found_wherever_it_stands_in_a_line() {
        assert_eq!(
            origin_in("open http://127.0.0.1:8889/ now"),
            Some("http://127.0.0.1:8889")
        );
        assert_eq!(origin_in("http://[::1]:1/a/b"), Some("http://[::1]:1"));
        assert_eq!(origin_in("http://127.0.0.1:2"), Some("http://127.0.0.1:2"));
        assert_eq!(origin_in("udp on 127.0.0.1:8189"), None);
    }

    #[test]
    fn lines_arrive_in_order_and_both_outputs_are_logged() {
        let mut process = shell("echo one; echo two; echo trouble >&2");
        let deadline = Instant::now() + Duration::from_secs(5);
        assert_eq!(process.next_line(deadline).as_deref(), Some("one"));
        assert_eq!(process.next_line(deadline).as_deref(), Some("two"));
        assert_eq!(process.next_line(deadline), None);
        assert!(
            process
                .wait(Duration::from_secs(5))
                .is_some_and(|s| s.success())
        );
        while !process.log().contains("trouble") {
            assert!(
                Instant::now() < deadline,
                "stderr never came: {}",
                process.log()
            );
            thread::yield_now();
        }
    }

    #[test]
    fn a_dropped_process_is_gone_even_if_it_does_not_listen() {
        let mut process = shell("trap '' TERM; echo ready; while :; do sleep 0.1; done");
        let deadline = Instant::now() + Duration::from_secs(5);
        assert_eq!(process.next_line(deadline).as_deref(), Some("ready"));
        let pid = i32::try_from(process.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        drop(process);
        assert!(
            rustix::process::test_kill_process(pid).is_err(),
            "it still runs"
        );
    }
}
