//! A publisher comes back again and again, under a Chromium that plays on: by the same session, and
//! without a word to the server.

use std::fmt::Write as _;
use std::time::Duration;

use kvill_tests::peer::{self, list, number, report};
use kvill_tests::process::Kvill;
use serde_json::Value;

/// How long no picture may be seen. Half of it is the publisher's: a page that is started posts an
/// offer, does ICE and DTLS, and has its first picture encoded.
const GAP_MS: f64 = 3_000.0;

/// How often the publisher comes back.
fn times() -> u32 {
    let full = std::env::var_os("KVILL_FULL").is_some_and(|v| v == "1");
    if full { 20 } else { 5 }
}

#[test]
fn a_player_goes_on_each_time_the_publisher_comes_back() {
    let _alone = peer::alone();
    let Some(chromium) = peer::chromium() else {
        return;
    };
    let kvill = Kvill::start(&[]);
    let many = times().to_string();
    let args = ["--base", kvill.url(), "--times", &many];
    let patience = Duration::from_secs(60 + 12 * u64::from(times()));
    let result = chromium.run("chromium/comebacks.mjs", &args, patience);
    let runs = list(&result, "runs");
    report("comebacks", &table(runs));

    assert_eq!(runs.len(), 3, "{result}");
    for run in runs {
        let gaps = gaps(run);
        assert_eq!(gaps.len(), times() as usize, "{run}");
        assert!(gaps.iter().all(|gap| *gap <= GAP_MS), "{run}");
        assert_eq!(list(run, "requests"), [""; 0], "no new session: {run}");
        assert_eq!(run["sameSession"], true, "{run}");
        assert!(
            number(run, "keyframes") >= f64::from(times()),
            "each begins with a keyframe: {run}"
        );
        assert!(list(run, "complaints").is_empty(), "{run}");
    }
    kvill.stop();
}

/// Of each time the longest, in the order of their length.
fn gaps(run: &Value) -> Vec<f64> {
    let gaps = list(run, "gaps").iter().filter_map(Value::as_f64);
    let mut gaps: Vec<_> = gaps.collect();
    gaps.sort_by(f64::total_cmp);
    gaps
}

/// The runs as a table for the README.
fn table(runs: &[Value]) -> String {
    let mut table = format!(
        "Chromium plays 320x240 VP8, and its publisher, a Chromium too, comes back {} times\n\
         | the publisher | median gap between two pictures | longest | requests of the player |\n\
         |---|---|---|---|\n",
        times()
    );
    for run in runs {
        let way = match run["way"].as_str() {
            Some("stopped") => "is stopped and started again",
            Some("killed") => "is killed, and another one starts",
            Some("replaced") => "is replaced while it publishes",
            _ => "?",
        };
        let gaps = gaps(run);
        let [median, longest] = [gaps.len() / 2, gaps.len() - 1].map(|at| gaps[at]);
        let requests = match list(run, "requests").len() {
            0 => "none".to_owned(),
            many => many.to_string(),
        };
        writeln!(table, "| {way} | {median} ms | {longest} ms | {requests} |")
            .expect("strings grow");
    }
    table
}
