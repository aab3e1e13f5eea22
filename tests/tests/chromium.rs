//! Chromium publishes through the publish page, and Chromium plays through the play page.
//!
//! The scripts below `tests/peers/chromium/` do what a person does, by clicks, and measure what
//! the two browsers say of their connections. Here it is said what is good enough.

use std::path::Path;
use std::time::Duration;

use kvill_tests::peer::{self, list, number, report};
use kvill_tests::process::Kvill;
use serde_json::Value;

/// Over how long frames are counted.
const SECONDS: u32 = 10;
/// How many of the frames that the publisher encoded a viewer has to decode. A frame or two are
/// on their way when the counting starts, so it may be a little more than all.
const RATIO_MIN: f64 = 0.98;
const AUDIO_SAMPLES_PER_SECOND: f64 = 48_000.0;

#[test]
fn chromium_publishes_and_chromium_plays() {
    let _alone = peer::alone();
    let Some(chromium) = peer::chromium() else {
        return;
    };
    let kvill = Kvill::start(&[]);
    let seconds = SECONDS.to_string();
    // The other binary differs in its driver, which knows nothing of codecs.
    let other = std::env::var("KVILL_BINARY").ok();
    let is_full = std::env::var_os("KVILL_FULL").is_some();
    let (codecs, name) = match &other {
        Some(binary) if !is_full => ("H264,VP8", format!("chromium-{binary}")),
        Some(binary) => ("H264,VP8,VP9,AV1", format!("chromium-{binary}")),
        None => ("H264,VP8,VP9,AV1", "chromium".to_owned()),
    };
    let args = [
        "--base",
        kvill.url(),
        "--codecs",
        codecs,
        "--seconds",
        &seconds,
    ];
    let result = chromium.run("chromium/publish_play.mjs", &args, Duration::from_secs(300));
    let runs = list(&result, "runs");
    report(&name, &table(&result));

    assert!(list(&result, "failed").is_empty(), "{}", result["failed"]);
    assert!(
        runs.iter().any(|run| run["codec"] == "VP8"),
        "every Chromium encodes VP8"
    );
    for run in runs {
        check(run);
    }
    kvill.stop();
}

fn check(run: &Value) {
    let codec = &run["codec"];
    for side in ["publisher", "player"] {
        let side = &run[side];
        assert_eq!(&side["videoCodec"], codec, "{run}");
        assert_eq!(side["audioCodec"], "opus", "{run}");
        let cipher = side["srtpCipher"].as_str().unwrap_or_default();
        assert!(cipher.contains("AEAD"), "{codec} is sent under {cipher}");
    }
    let ratio = number(run, "ratio");
    assert!(
        (RATIO_MIN..=2.0 - RATIO_MIN).contains(&ratio),
        "{codec}: {ratio} of the frames were decoded: {run}"
    );
    assert!(
        number(run, "framesEncoded") >= f64::from(SECONDS) * 10.0,
        "{codec}: the picture stood still: {run}"
    );
    assert_eq!(run["packetsLost"], 0, "{codec}: {run}");
    assert_eq!(
        (&run["width"], &run["height"]),
        (&320.into(), &240.into()),
        "{run}"
    );
    let heard = number(run, "audioSamples") - number(run, "audioConcealed");
    let played = number(run, "seconds") * AUDIO_SAMPLES_PER_SECOND;
    assert!(
        heard >= 0.9 * played,
        "{codec}: {heard} of {played} audio samples: {run}"
    );
    assert!(
        list(run, "complaints").is_empty(),
        "{codec}: {}",
        run["complaints"]
    );
    let words = run["wordsAfterStop"].as_str().unwrap_or_default();
    assert!(
        [
            "Waiting for the publisher",
            "The stream has ended",
            "Nobody is live here yet"
        ]
        .contains(&words),
        "{codec}: after the publisher's end the player says {words:?}"
    );
}

/// The result as a table for the README.
fn table(result: &Value) -> String {
    let mut lines = vec![
        format!(
            "Chromium {} publishes, Chromium plays: 320x240 and Opus, {SECONDS} s each",
            result["chromium"].as_str().unwrap_or("?")
        ),
        "| codec | frames decoded / encoded | ratio | packets lost | freezes | audio samples | concealed | click to first frame | SRTP | DTLS |".to_owned(),
        "|---|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    for run in list(result, "runs") {
        lines.push(format!(
            "| {} | {} / {} | {:.3} | {} | {} | {} | {} | {:.2} s | {} | {} |",
            run["codec"].as_str().unwrap_or("?"),
            run["framesDecoded"],
            run["framesEncoded"],
            number(run, "ratio"),
            run["packetsLost"],
            run["freezes"],
            run["audioSamples"],
            run["audioConcealed"],
            number(run, "firstFrameMs") / 1000.0,
            run["player"]["srtpCipher"].as_str().unwrap_or("?"),
            run["player"]["dtlsVersion"].as_str().unwrap_or("?"),
        ));
    }
    for codec in list(result, "notEncoded") {
        lines.push(format!("{codec}: not encoded by this Chromium"));
    }
    for failed in list(result, "failed") {
        lines.push(format!("{}: failed", failed["codec"]));
    }
    lines.join("\n") + "\n"
}

#[test]
fn pages_work_on_desk_and_phone_without_a_complaint() {
    let _alone = peer::alone();
    let Some(chromium) = peer::chromium() else {
        return;
    };
    let kvill = Kvill::start(&[]);
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("out/pages");
    let out = out.to_string_lossy();
    let result = chromium.run(
        "chromium/pages.mjs",
        &["--base", kvill.url(), "--out", &out],
        Duration::from_secs(180),
    );
    let pages = list(&result, "pages");
    assert!(pages.len() > 40, "only {} pages were seen", pages.len());
    for page in pages {
        let name = format!("{} ({})", page["name"], page["look"]);
        assert!(
            number(page, "widthOver") <= 0.0,
            "{name} is wider than its window"
        );
        assert!(
            list(page, "complaints").is_empty(),
            "{name}: {}",
            page["complaints"]
        );
        assert!(
            list(page, "nameless").is_empty(),
            "{name} has fields or buttons without a name: {}",
            page["nameless"]
        );
    }
    kvill.stop();
}
