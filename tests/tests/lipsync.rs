//! Lip sync: how far sound and picture are apart in Chromium, through the server and without it.
//!
//! A page flashes and beeps at once and sends the same two tracks through the server and directly to
//! another page, which notes when it shows each flash and when each beep is to be heard. Chromium
//! lets up to 30 ms between the two be, and moves its delays once a second: so what counts is the
//! median over many flashes of how much later after its flash a beep came through the server.

use std::time::Duration;

use kvill_tests::peer::{self, list, number, report};
use kvill_tests::process::Kvill;
use serde_json::Value;

/// How much sound and picture may be further apart through the server.
const MORE_MS: f64 = 20.0;
/// How often they may be measured anew: a machine that is busy with something else moves the delays
/// of the one way and not of the other.
const TRIES: u32 = 3;

fn seconds() -> u32 {
    let full = std::env::var_os("KVILL_FULL").is_some_and(|v| v == "1");
    if full { 60 } else { 20 }
}

#[test]
fn sound_and_picture_are_no_further_apart_through_the_server() {
    let _alone = peer::alone();
    let Some(chromium) = peer::chromium() else {
        return;
    };
    let kvill = Kvill::start(&[]);
    let window = seconds().to_string();
    let args = ["--base", kvill.url(), "--seconds", &window];
    let patience = Duration::from_secs(90 + u64::from(seconds()));
    let mut rows = Vec::new();
    let is_enough = (0..TRIES).any(|_| {
        let result = chromium.run("chromium/lipsync.mjs", &args, patience);
        assert!(list(&result, "complaints").is_empty(), "{result}");
        assert!(number(&result["more"], "count") >= 20.0, "{result}");
        rows.push(row(&result));
        number(&result["more"], "median").abs() <= MORE_MS
    });
    report("lipsync", &table(&rows));
    assert!(is_enough, "{rows:#?}");
    kvill.stop();
}

fn table(rows: &[String]) -> String {
    format!(
        "How long after its flash a beep is to be heard in Chromium, median (10th to 90th \
         percentile), and by the browser's own reckoning from sender reports\n\
         | flashes | through the server | by reports | directly | by reports | of the same flash, \
         by the server more |\n\
         |---|---|---|---|---|---|\n\
         {}\n",
        rows.join("\n")
    )
}

fn row(result: &Value) -> String {
    let spread = |of: &Value| {
        format!(
            "{:.0} ms ({:.0} to {:.0})",
            number(of, "median"),
            number(of, "low"),
            number(of, "high")
        )
    };
    let [server, direct, more] = ["server", "direct", "more"].map(|name| &result[name]);
    format!(
        "| {} | {} | {:.0} ms | {} | {:.0} ms | {} |",
        more["count"],
        spread(server),
        -number(server, "byReports"),
        spread(direct),
        -number(direct, "byReports"),
        spread(more),
    )
}
