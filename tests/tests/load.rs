//! `kvill-load` against the server, by both of its binaries, against another one, and against nobody.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kvill_tests::process::{BINARIES, Kvill};
use kvill_tests::rival::Rival;
use serde_json::Value;

const VIEWERS: u64 = 10;

/// Little of everything, so that an unoptimised server has time for it.
const LIGHT: [&str; 8] = [
    "--viewers",
    "10",
    "--join-rate",
    "0",
    "--duration",
    "1.5",
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
    assert_eq!(count(report, &["packets", "lost"]), 0, "{report:#}");
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
    // At the edges of the time that is watched some packets are on their way.
    let published = count(report, &["packets", "published"]) * VIEWERS;
    let delivered = count(report, &["packets", "delivered"]);
    let slack = published / 4;
    assert!(published > 0 && delivered + slack > published, "{report:#}");
    assert!(number(report, &["bits_per_second"]) > 1e6, "{report:#}");
    assert!(count(report, &["latency_ms", "count"]) > 0, "{report:#}");
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
        check(&report);
        assert!(table.contains("10 of 10 connected"), "{table}");
        assert!(plot.text().starts_with("<svg"), "a picture");
    }
}

#[test]
fn what_is_thrown_away_is_repaired() {
    for binary in BINARIES {
        let (report, _) = report(binary, "loss", &["--loss", "2"]);
        check(&report);
        assert!(
            count(&report, &["packets", "thrown_away"]) > 0,
            "{report:#}"
        );
        assert!(count(&report, &["packets", "repairs"]) > 0, "{report:#}");
    }
}

#[test]
fn viewers_of_another_stack_get_all_that_was_published() {
    let Some(pion) = Rival::pion() else { return };
    let json = Kept::new("pion.json");
    let (whip, whep) = (pion.whip(), pion.whep());
    let urls = ["--whip", &whip, "--whep", &whep, "--json", json.name()];
    let output = load(&[&LIGHT[..], &urls].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    check(&serde_json::from_str(&json.text()).expect("JSON"));
}

#[test]
fn another_codec_is_another_keyframe() {
    let (report, _) = report(BINARIES[0], "h264", &["--codec", "h264"]);
    check(&report);
}

#[test]
fn a_publisher_may_be_silent() {
    let (report, table) = report(BINARIES[0], "silent", &["--silent"]);
    assert_eq!(count(&report, &["viewers", "connected_at_end"]), VIEWERS);
    assert_eq!(count(&report, &["packets", "delivered"]), 0);
    assert!(table.contains("unknown"), "no latency is made up: {table}");
}

#[test]
fn errors_name_what_was_wrong_and_what_to_do() {
    let kvill = Kvill::of_binary(BINARIES[0], &[]);
    let url = kvill.url();
    let nobody = format!("{url}/nobody/whep");
    let page = format!("{url}/live/publish");
    for (args, words) in [
        (&["--whep", nobody.as_str()][..], &["404", "nobody"][..]),
        (
            &["--whip", page.as_str(), "--viewers", "0"],
            &["POST", page.as_str()],
        ),
        (&["http://127.0.0.1:1/live"], &["nobody listens"]),
        (&["127.0.0.1:8889/live"], &["whole URL"]),
        (
            &["http://127.0.0.1:1/live", "--loss", "200"],
            &["--loss", "0 to 100"],
        ),
        (
            &["http://127.0.0.1:1/live", "--file", "no-such.ivf"],
            &["no-such.ivf"],
        ),
        (&["--whip", "http://127.0.0.1:1/x"], &["--whep"]),
    ] {
        let output = load(args);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{args:?}: {said}");
        assert!(
            words.iter().all(|word| said.contains(word)),
            "{args:?}: {said}"
        );
    }
    kvill.stop();
}
