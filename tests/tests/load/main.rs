//! `kvill-load` against the server, by both of its binaries, against another one, and against nobody.

mod film;
mod front;
mod refusals;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use kvill_tests::process::{BINARIES, Kvill};
use kvill_tests::rival::Rival;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use front::Front;

const VIEWERS: u64 = 10;

/// Little of everything, so that an unoptimised server has time for it.
const LIGHT: [&str; 8] = [
    "--viewers",
    "10",
    "--join-rate",
    "0",
    "--duration",
    "1.2",
    "--keyframe-packets",
    "12",
];

fn load(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvill-load"));
    command.args(args).output().expect("it was built for this")
}

/// A file of a test, which is gone when the test is.
struct Kept(PathBuf);

impl Kept {
    fn new(name: &str) -> Self {
        let name = format!("kvill-load-{}-{name}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn name(&self) -> &str {
        self.0.to_str().expect("a name that is text")
    }

    fn text(&self) -> String {
        let path: &Path = &self.0;
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // What is left in a folder for temporary files harms nobody.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A run that works, against one of the binaries: its report, and what it printed.
fn report(binary: &str, name: &str, more: &[&str]) -> (Value, String) {
    let kvill = Kvill::of_binary(binary, &[]);
    let json = Kept::new(&format!("{binary}-{name}.json"));
    let url = format!("{}/live", kvill.url());
    let output = load(&[&LIGHT[..], &[&url, "--json", json.name()], more].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("packets/s"), "a line per second: {said}");
    let report = serde_json::from_str(&json.text()).expect("JSON");
    kvill.stop();
    (report, String::from_utf8_lossy(&output.stdout).into_owned())
}

fn number(of: &Value, path: &[&str]) -> f64 {
    let at = path.iter().fold(of, |value, name| &value[*name]);
    at.as_f64()
        .unwrap_or_else(|| panic!("{path:?} is no number in {of:#}"))
}

fn count(of: &Value, path: &[&str]) -> u64 {
    let at = path.iter().fold(of, |value, name| &value[*name]);
    at.as_u64()
        .unwrap_or_else(|| panic!("{path:?} is no count in {of:#}"))
}

/// Nothing is wrong with a report but what a test looks at itself.
fn check(report: &Value) {
    assert_eq!(count(report, &["viewers", "connected"]), VIEWERS);
    assert_eq!(count(report, &["viewers", "connected_at_end"]), VIEWERS);
    // A busy machine may have no time for this program.
    let of = |name| count(report, &["packets", name]);
    assert!(of("lost") <= of("dropped_here"), "{report:#}");
    let ends = [
        "overtaken",
        "repaired_in_time",
        "late",
        "lost",
        "still_missing",
    ];
    let ends: u64 = ends.into_iter().map(of).sum();
    assert_eq!(ends, of("missed"), "{report:#}");
    assert!(number(report, &["joins_per_second"]) > 0.0);
    for first in ["connected_ms", "first_packet_ms", "first_keyframe_ms"] {
        assert_eq!(
            count(report, &[first, "count"]),
            VIEWERS,
            "{first}: {report:#}"
        );
        let [p50, p99, max] = ["p50", "p99", "max"].map(|which| number(report, &[first, which]));
        assert!(0.0 < p50 && p50 <= p99 && p99 <= max, "{first}: {report:#}");
    }
    assert!(of("published") > 0, "{report:#}");
    assert!(of("delivered") >= VIEWERS, "{report:#}");
    assert!(number(report, &["packets", "share"]) > 0.0, "{report:#}");
    assert!(number(report, &["bits_per_second"]) > 0.0, "{report:#}");
    assert_eq!(count(report, &["plan", "viewers"]), VIEWERS);
    assert!(count(report, &["latency_ms", "count"]) > 0, "{report:#}");
}

/// The same, where packets are made up: all of them have a time in them.
fn check_made_up(report: &Value) {
    check(report);
    let [opened, with_time] =
        ["opened", "with_time"].map(|which| count(report, &["latency_sample", which]));
    assert_eq!(
        opened, with_time,
        "the server passes packets on as they are"
    );
}

#[test]
fn viewers_of_both_binaries_get_all_that_was_published() {
    for binary in BINARIES {
        let plot = Kept::new(&format!("{binary}.svg"));
        let (report, table) = report(binary, "all", &["--plot", plot.name()]);
        check_made_up(&report);
        assert!(table.contains("10 of 10 connected"), "{table}");
        assert!(plot.text().starts_with("<svg"), "a picture");
    }
}

#[test]
fn what_is_thrown_away_is_repaired() {
    for binary in BINARIES {
        let (report, _) = report(binary, "loss", &["--loss", "2"]);
        check_made_up(&report);
        assert!(
            count(&report, &["packets", "thrown_away"]) > 0,
            "{report:#}"
        );
        assert!(count(&report, &["packets", "repairs"]) > 0, "{report:#}");
    }
}

#[test]
fn viewers_of_another_stack_get_all_that_was_published() {
    for pion in [Rival::pion(), Rival::pion_without_aead()] {
        let Some(pion) = pion else { return };
        let (whip, whep) = (pion.whip(), pion.whep());
        check_made_up(&report_of("pion", &["--whip", &whip, "--whep", &whep]));
    }
}

#[test]
fn another_codec_is_another_keyframe_and_frames_may_be_spread() {
    let args = ["--codec", "h264", "--spread", "40"];
    let (report, _) = report(BINARIES[0], "h264", &args);
    check_made_up(&report);
}

/// A run without an end, to which `what` happens when all viewers are there.
fn broken_off(kvill: &Kvill, what: impl FnOnce(&Child)) -> (Option<i32>, String) {
    let url = format!("{}/live", kvill.url());
    let mut load = Command::new(env!("CARGO_BIN_EXE_kvill-load"))
        .args([&url, "--viewers", "10", "--join-rate", "0"])
        .args(["--duration", "3600"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was built for this");
    let said = BufReader::new(load.stderr.take().expect("a pipe"));
    let mut lines = said.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(" 10 viewers ")), "all come");
    what(&load);
    lines.for_each(drop);
    let output = load.wait_with_output().expect("a child");
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), table)
}

fn signal(process: u32, signal: Signal) {
    let id = i32::try_from(process).ok().and_then(Pid::from_raw);
    kill_process(id.expect("a process"), signal).expect("it runs");
}

#[test]
fn a_server_that_dies_in_the_middle_is_told_of() {
    let kvill = Kvill::of_binary(BINARIES[0], &[]);
    let (code, table) = broken_off(&kvill, |_| signal(kvill.id(), Signal::KILL));
    assert_eq!(code, Some(1), "{table}");
    for words in [
        "10 of 10 connected, 0 at the end",
        "10 × a session ended",
        "WARNING",
    ] {
        assert!(table.contains(words), "{table}");
    }
}

#[test]
fn a_run_that_is_broken_off_is_reported() {
    let kvill = Kvill::of_binary(BINARIES[1], &[]);
    let (code, table) = broken_off(&kvill, |load| signal(load.id(), Signal::INT));
    assert_eq!(code, Some(0), "{table}");
    assert!(
        table.contains("10 of 10 connected, 10 at the end"),
        "{table}"
    );
    kvill.stop();
}

#[test]
fn a_publisher_may_be_silent() {
    let (report, table) = report(BINARIES[0], "silent", &["--silent"]);
    assert_eq!(count(&report, &["viewers", "connected_at_end"]), VIEWERS);
    assert_eq!(count(&report, &["packets", "delivered"]), 0);
    assert!(table.contains("unknown"), "no latency is made up: {table}");
}

/// A run against what stands before a server: its report.
fn report_of(name: &str, args: &[&str]) -> Value {
    let json = Kept::new(&format!("{name}.json"));
    let output = load(&[&LIGHT[..], &["--json", json.name()], args].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_str(&json.text()).expect("JSON")
}

#[test]
fn a_certificate_of_ones_own_is_taken_where_that_is_asked_for() {
    let kvill = Kvill::of_binary(BINARIES[0], &[]);
    let front = Front::encrypted(kvill.url());
    let url = format!("{}/live", front.url());
    let said = refusals::sentence(&[&url], &format!("POST {url}/whip"));
    assert!(said.contains("--insecure"), "{said}");

    check_made_up(&report_of("https", &[&url, "--insecure"]));
    assert_eq!(front.asked("POST /live/whep"), 10);
    assert_eq!(front.asked("DELETE "), 11, "everybody takes leave there");
    kvill.stop();
}

#[test]
fn viewers_take_turns_among_streams_which_a_token_opens() {
    let kvill = Kvill::of_binary(BINARIES[1], &[]);
    let front = Front::guarded(kvill.url(), "s3cret");
    let [one, other] = ["one", "other"].map(|path| format!("{}/{path}", front.url()));
    let streams = [one.as_str(), &other, "--publishers", "2"];
    let said = refusals::sentence(&streams, &format!("POST {one}/whip"));
    assert!(said.contains("401") && said.contains("--token"), "{said}");

    let report = report_of("token", &[&streams[..], &["--token", "s3cret"]].concat());
    check_made_up(&report);
    assert_eq!(count(&report, &["publishers"]), 4);
    for (path, viewers) in [("one", 3), ("other", 3), ("one-2", 2), ("other-2", 2)] {
        assert_eq!(front.asked(&format!("POST /{path}/whip ")), 1, "{path}");
        assert_eq!(
            front.asked(&format!("POST /{path}/whep ")),
            viewers,
            "{path}"
        );
    }
    assert_eq!(
        front.asked("DELETE "),
        14,
        "everybody takes leave with the token"
    );
    kvill.stop();
}
