//! Real peers: Chromium, driven by Node, and aiortc, ffmpeg, PyAV and GStreamer, driven by Python.
//!
//! The scripts lie below `tests/peers/`; each prints its results to stdout as lines of JSON and
//! what it has to complain about to stderr. A test whose peer is not installed says what to do
//! and passes, for there is a life without browsers; where `CI` is set it fails.

use std::ffi::OsString;
use std::fs;
use std::io::{Write, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{self, BINARIES, Process};

/// What installs every peer.
const SETUP: &str = "run tests/setup";

/// A kind of peer that is installed here.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The program that runs the scripts.
    program: PathBuf,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Peer {
    /// Runs a script below `tests/peers/` to its end and gives the last line of its stdout.
    ///
    /// # Panics
    /// When it fails, takes longer than `timeout`, or does not end with a line of JSON.
    #[must_use]
    pub fn run(&self, script: &str, args: &[&str], timeout: Duration) -> Value {
        self.spawn(script, args).finish(timeout)
    }

    /// Starts a script below `tests/peers/` that goes on while the test does something else.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn spawn(&self, script: &str, args: &[&str]) -> Background {
        let mut command = Command::new(&self.program);
        command.arg(peers().join(script)).args(args);
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        Background {
            script: script.to_owned(),
            process: Process::start(script, &mut command),
            last: None,
        }
    }
}

/// A script that runs; dropping it ends it.
#[derive(Debug)]
pub struct Background {
    script: String,
    process: Process,
    last: Option<String>,
}

impl Background {
    /// The next line of its stdout.
    ///
    /// # Panics
    /// When none comes within `timeout`, or one that is not JSON.
    pub fn next(&mut self, timeout: Duration) -> Value {
        self.next_outcome(timeout)
            .unwrap_or_else(|complaint| panic!("{complaint}"))
    }

    /// As [`Background::next`], for a test that has more to do before it fails.
    ///
    /// # Errors
    /// That no line came, or which, and all it printed.
    pub fn next_outcome(&mut self, timeout: Duration) -> Result<Value, String> {
        self.process
            .next_line(Instant::now() + timeout)
            .ok_or_else(|| self.complaint("printed nothing in time"))
            .and_then(|line| self.parse(&line))
    }

    /// Asks it to end by SIGTERM, and gives the last line of its stdout.
    ///
    /// # Panics
    /// As [`Background::finish`].
    #[must_use]
    pub fn stop(self, timeout: Duration) -> Value {
        self.stop_outcome(timeout)
            .unwrap_or_else(|complaint| panic!("{complaint}"))
    }

    /// As [`Background::stop`], for a test that has more to do before it fails.
    ///
    /// # Errors
    /// As [`Background::outcome`].
    pub fn stop_outcome(mut self, timeout: Duration) -> Result<Value, String> {
        self.process.ask_to_end();
        self.outcome(timeout)
    }

    /// Waits for its end, and gives the last line of its stdout.
    ///
    /// # Panics
    /// When it fails, takes longer than `timeout`, or does not end with a line of JSON.
    #[must_use]
    pub fn finish(self, timeout: Duration) -> Value {
        self.outcome(timeout)
            .unwrap_or_else(|complaint| panic!("{complaint}"))
    }

    /// As [`Background::finish`], for a test that has more to do before it fails.
    ///
    /// # Errors
    /// What it did instead of ending with a result, and all it printed.
    pub fn outcome(mut self, timeout: Duration) -> Result<Value, String> {
        let deadline = Instant::now() + timeout;
        while let Some(line) = self.process.next_line(deadline) {
            self.last = Some(line);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match self.process.wait(left) {
            None => Err(self.complaint(&format!("still ran after {timeout:?}"))),
            Some(status) if !status.success() => {
                Err(self.complaint(&format!("ended with {status}")))
            }
            Some(_) => match self.last.take() {
                Some(line) => self.parse(&line),
                None => Err(self.complaint("ended without a result")),
            },
        }
    }

    fn parse(&self, line: &str) -> Result<Value, String> {
        serde_json::from_str(line)
            .map_err(|error| self.complaint(&format!("printed what is not JSON ({error}): {line}")))
    }

    fn complaint(&self, what: &str) -> String {
        format!("{} {what}\n{}", self.script, self.process.log())
    }
}

/// Chromium by way of Node and playwright-core; `CHROMIUM` names another browser than the
/// first one found, and is set for the scripts.
#[must_use]
pub fn chromium() -> Option<Peer> {
    let browser = match std::env::var_os("CHROMIUM") {
        Some(named) => find(&named),
        None => ["chromium", "chromium-browser", "google-chrome"]
            .iter()
            .find_map(|name| find(&OsString::from(name))),
    };
    let Some(browser) = browser else {
        return skipped("no Chromium", SETUP);
    };
    let Some(node) = find(&OsString::from("node")) else {
        return skipped("no Node", SETUP);
    };
    if !peers().join("node_modules/playwright-core").is_dir() {
        return skipped("no playwright-core", SETUP);
    }
    Some(Peer {
        program: node,
        environment: vec![("CHROMIUM", browser)],
    })
}

/// aiortc in the Python environment that `tests/setup` makes.
#[must_use]
pub fn aiortc() -> Option<Peer> {
    packaged("aiortc", "import aiortc")
}

/// ffmpeg with a WHIP muxer, from a package in the same environment.
#[must_use]
pub fn ffmpeg() -> Option<Peer> {
    let check = "import imageio_ffmpeg; imageio_ffmpeg.get_ffmpeg_exe()";
    packaged("ffmpeg", check)
}

/// PyAV, the libraries of ffmpeg for Python, in the same environment.
#[must_use]
pub fn pyav() -> Option<Peer> {
    let check = "import av, sys; sys.exit('whip' not in av.formats_available)";
    openssl().and_then(|()| packaged("PyAV", check))
}

/// GStreamer by its bindings for the system's Python.
#[must_use]
pub fn gstreamer() -> Option<Peer> {
    openssl()?;
    let check = peers().join("gstreamer/check.py");
    let python = ["/usr/bin/python3", "python3"]
        .iter()
        .filter_map(|name| find(&OsString::from(name)))
        .find(|python| succeeds(Command::new(python).arg(&check)));
    let Some(python) = python else {
        return skipped("no GStreamer with webrtcbin", SETUP);
    };
    Some(run_by(python))
}

/// GStreamer's launcher of pipelines.
#[must_use]
pub fn gst_launch() -> Option<Command> {
    match find(&OsString::from("gst-launch-1.0")) {
        Some(launcher) => Some(Command::new(launcher)),
        None => skipped("no gst-launch-1.0", SETUP),
    }
}

/// What makes certificates for the peers that do not make the usual ones.
fn openssl() -> Option<()> {
    if find(&OsString::from("openssl")).is_none() {
        return skipped("no openssl", SETUP);
    }
    Some(())
}

/// A peer in the Python environment, where `check` says that it is there.
fn packaged(name: &str, check: &str) -> Option<Peer> {
    let python = peers().join(".venv/bin/python");
    if !succeeds(Command::new(&python).args(["-c", check])) {
        return skipped(&format!("no {name}"), SETUP);
    }
    Some(run_by(python))
}

fn run_by(python: PathBuf) -> Peer {
    Peer {
        program: python,
        environment: vec![
            // What the scripts have in common.
            ("PYTHONPATH", peers().join("python")),
            // Bytecode beside the scripts is litter in a work tree.
            ("PYTHONDONTWRITEBYTECODE", PathBuf::from("1")),
        ],
    }
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

/// What a test without its peer, or without a right that it needs, returns with: says so on
/// stderr, past the test harness, which keeps the words of passing tests to itself.
///
/// # Panics
/// Where `CI` is set, for there a test that does not run is a failure.
pub fn skipped<T>(why: &str, what_to_do: &str) -> Option<T> {
    let ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty() && ci != "false");
    assert!(!ci, "{why}, and CI is set: {what_to_do}");
    // Without a stderr there is nobody to tell.
    let _ = writeln!(stderr(), "skipped: {why}, {what_to_do}");
    None
}

/// To be held by a test of real peers while it runs: browsers that share a machine with other
/// browsers measure the machine.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number of a script's result.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn number(of: &Value, name: &str) -> f64 {
    of[name]
        .as_f64()
        .unwrap_or_else(|| panic!("{name} is no number in {of}"))
}

/// A list of a script's result.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn list<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of[name]
        .as_array()
        .unwrap_or_else(|| panic!("{name} is no list in {of}"))
}

/// How many frames the publisher had sent by a time, between two of its counts by the straight
/// line. NaN before its first count and after its last.
#[must_use]
pub fn count_at(time: f64, sent: &Value) -> f64 {
    let counts: Vec<(f64, f64)> = sent["counts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|count| Some((count[0].as_f64()?, count[1].as_f64()?)))
        .collect();
    counts
        .windows(2)
        .find(|pair| (pair[0].0..=pair[1].0).contains(&time))
        .map_or(f64::NAN, |pair| {
            let [(t0, n0), (t1, n1)] = [pair[0], pair[1]];
            n0 + (n1 - n0) * (time - t0) / (t1 - t0)
        })
}

/// Keeps a table of results for the reader: `tests/run` prints all of them at its end. That of another
/// binary than the first has its name in its own.
///
/// # Panics
/// When `tests/out/NAME.txt` cannot be written.
pub fn report(name: &str, table: &str) {
    println!("{table}");
    let name = match process::binary() {
        first if first == BINARIES[0] => name.to_owned(),
        other => format!("{name}-{other}"),
    };
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("out");
    fs::create_dir_all(&out)
        .and_then(|()| fs::write(out.join(&name).with_extension("txt"), table))
        .unwrap_or_else(|error| panic!("cannot write {name}.txt to {}: {error}", out.display()));
}

/// The folder of the scripts.
pub(crate) fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// A program by its path, or by its name in `PATH`.
pub(crate) fn find(program: &OsString) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    fn shell(script: &str) -> Background {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Background {
            script: "a script".to_owned(),
            process: Process::start("sh", &mut command),
            last: None,
        }
    }

    #[test]
    fn the_last_line_is_the_result() {
        let result =
            shell(r#"echo '{"event":1}'; echo noise >&2; echo '{"frames":2}'"#).finish(SOON);
        assert_eq!(result["frames"], 2);
    }

    #[test]
    fn a_script_that_is_asked_to_end_still_reports() {
        let mut script = shell(
            r#"trap 'echo "{\"end\":true}"; exit 0' TERM; echo '{"up":true}'; while :; do sleep 0.05; done"#,
        );
        assert_eq!(script.next(SOON)["up"], true);
        assert_eq!(script.stop(SOON)["end"], true);
    }

    #[test]
    #[should_panic(expected = "ended with exit status: 3")]
    fn a_failing_script_fails_the_test() {
        let _ = shell(r#"echo '{"fine":true}'; exit 3"#).finish(SOON);
    }

    #[test]
    #[should_panic(expected = "still ran after")]
    fn a_script_that_hangs_fails_the_test() {
        let _ = shell("sleep 60").finish(Duration::from_millis(50));
    }
}
