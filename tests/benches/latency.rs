//! How long a picture takes from its capture to its display in Chromium, through Kvill and other
//! servers, beside Chromium directly to Chromium.
//!
//! `cargo build --release --workspace --bins && cargo bench --workspace --bench latency [-- --quick]`
//!
//! The page that sends a picture also plays it, so that there is one clock. It draws the time into
//! each picture, and reads it at the other end: when the browser had received the picture, and when
//! it is to be on the screen. The ways take turns, with new connections each time, and what counts is
//! how much more the median is than directly. The display has a rhythm of its own, to which pictures
//! wait; they are taken at a pace that meets it at all its moments.

use std::fmt::Write;
use std::time::Duration;

use kvill_tests::peer::{self, list, number, report};
use kvill_tests::process::{BINARIES, Kvill};
use kvill_tests::rival::Rival;
use serde_json::Value;

/// Rounds, and seconds of each turn.
const FULL: (u32, u32) = (8, 5);
const QUICK: (u32, u32) = (1, 2);

/// Beside its seconds a turn connects, settles, and takes leave.
const TURN_PATIENCE: Duration = Duration::from_secs(20);

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (rounds, seconds) = if quick { QUICK } else { FULL };
    let Some(chromium) = peer::chromium() else {
        return;
    };
    let binaries = if quick { &BINARIES[..1] } else { &BINARIES[..] };
    let kvills: Vec<_> = binaries
        .iter()
        .map(|name| Kvill::of_binary(name, &[]))
        .collect();
    let rivals = if quick {
        Vec::new()
    } else {
        [Rival::pion(), Rival::mediamtx()]
            .into_iter()
            .flatten()
            .collect()
    };
    let servers = kvills.iter().map(|kvill| (kvill.name(), kvill.url()));
    let rivals = rivals
        .iter()
        .map(|rival: &Rival| (rival.name(), rival.url()));
    let servers: Vec<_> = servers
        .chain(rivals)
        .map(|(name, url)| format!("{name}={url}"))
        .collect();

    let turns = rounds * (1 + u32::try_from(servers.len()).expect("some servers"));
    let patience = TURN_PATIENCE + turns * (TURN_PATIENCE + Duration::from_secs(seconds.into()));
    let servers = servers.join(",");
    let (rounds, seconds) = (rounds.to_string(), seconds.to_string());
    let args = [
        "--servers",
        &servers,
        "--rounds",
        &rounds,
        "--seconds",
        &seconds,
    ];
    let result = chromium.run("chromium/latency.mjs", &args, patience);
    report("latency", &table(&result, &rounds, &seconds));

    for way in list(&result, "ways") {
        assert!(number(&way["display"], "count") > 0.0, "{way}");
    }
    for kvill in kvills {
        kvill.stop();
    }
}

fn table(result: &Value, rounds: &str, seconds: &str) -> String {
    let ways = list(result, "ways");
    let direct = &ways[0];
    let mut table = format!(
        "Latency in Chromium {}, 640x360 VP8, {rounds} turns of {seconds} s each: from the capture of \
         a picture until it is received, and until it is displayed, in ms; \
         and how long Chromium's jitter buffer held it, by the median turn. Some 29 pictures per second \
         are sent: where far fewer are displayed, or many are misread, something else was measured\n\
         | way | pictures | per second | misread | received: p50 | p99 | max | p50 by turn | more than directly | held | displayed: \
         p50 | p99 | max | more than directly |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        result["chromium"].as_str().unwrap_or("?"),
    );
    let asked = rounds.parse::<f64>().unwrap_or(0.0) * seconds.parse::<f64>().unwrap_or(0.0);
    for way in ways {
        let columns = |of: &str| {
            let [median, p99, max] = ["median", "p99", "max"].map(|name| number(&way[of], name));
            (
                format!("{median:.1} | {p99:.1} | {max:.1}"),
                median - number(&direct[of], "median"),
            )
        };
        let (received, received_more) = columns("receive");
        let (displayed, displayed_more) = columns("display");
        let turns = list(way, "rounds").iter().filter_map(Value::as_f64);
        let (low, high) = turns.fold((f64::MAX, f64::MIN), |(low, high), turn| {
            (low.min(turn), high.max(turn))
        });
        // A string takes whatever is written to it.
        let _ = writeln!(
            table,
            "| {} | {} | {:.1} | {} | {received} | {low:.1} to {high:.1} | {received_more:+.1} | {:.1} | {displayed} | \
             {displayed_more:+.1} |",
            way["name"].as_str().unwrap_or("?"),
            way["display"]["count"],
            number(&way["display"], "count") / asked,
            way["misread"],
            number(&way["held"], "median"),
        );
    }
    table
}
