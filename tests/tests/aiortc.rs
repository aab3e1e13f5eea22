//! Who plays whom: aiortc and Chromium at both ends, with VP8 and with H264.
//!
//! Each publisher sends 320×240 at 30 frames a second and Opus; each player joins while it runs,
//! and counts what it decodes in the five seconds after its first picture. That is held against
//! what the publisher counted in the same time: a machine that is busy with something else makes
//! fewer pictures, which is no fault of the way between the two.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use kvill_tests::peer::{self, Peer};
use kvill_tests::process::Kvill;
use serde_json::Value;

const SAMPLE_RATE: f64 = 48_000.0;
const WINDOW_S: u32 = 5;

/// What of the frames sent, and of the sound, has to be decoded in a window. The rest is on its
/// way, or in a jitter buffer.
const ENOUGH: f64 = 0.9;

/// Pictures per second without which a publisher does not count as one. It is meant to make 30.
const FPS_MIN: f64 = 10.0;

/// How long a publisher would go on if nobody stopped it.
const PUBLISH_S: &str = "120";

/// Until a publisher's media flows: the start of a browser is most of it.
const PUBLISHER_START: Duration = Duration::from_secs(30);
const PLAYER_RUN: Duration = Duration::from_secs(30 + WINDOW_S as u64);
const PUBLISHER_STOP: Duration = Duration::from_secs(10);

/// One kind of peer, and its two scripts.
struct Side {
    name: &'static str,
    peer: Peer,
    publish: &'static str,
    play: &'static str,
}

#[test]
fn everyone_plays_everyone() {
    let Some(aiortc) = peer::aiortc() else { return };
    let mut sides = vec![Side {
        name: "aiortc",
        peer: aiortc,
        publish: "aiortc/whip.py",
        play: "aiortc/whep.py",
    }];
    sides.extend(peer::chromium().map(|chromium| Side {
        name: "Chromium",
        peer: chromium,
        publish: "chromium/publish.mjs",
        play: "chromium/play.mjs",
    }));

    let kvill = Kvill::start(&[]);
    let mut table = format!(
        "Frames decoded / sent in {WINDOW_S} s, 320x240 at 30 frames/s and Opus\n\
         | publisher | player | codec | frames | sound | to first frame | SRTP |\n\
         |---|---|---|---|---|---|---|\n"
    );
    let mut complaints = Vec::new();
    for publisher in &sides {
        for codec in ["VP8", "H264"] {
            play_by_all(
                &kvill,
                publisher,
                codec,
                &sides,
                &mut table,
                &mut complaints,
            );
        }
    }
    peer::report("who-plays-whom", &table);
    kvill.stop();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// One publisher, and every player in turn.
fn play_by_all(
    kvill: &Kvill,
    publisher: &Side,
    codec: &str,
    players: &[Side],
    table: &mut String,
    complaints: &mut Vec<String>,
) {
    let path = format!("{}-{codec}", publisher.name).to_lowercase();
    let to = ["--base", kvill.url(), "--path", &path];
    let args = [&to[..], &["--codec", codec, "--seconds", PUBLISH_S]].concat();
    let mut publishing = publisher.peer.spawn(publisher.publish, &args);
    publishing.next(PUBLISHER_START);
    let who = format!("{} {codec}", publisher.name);
    let window = WINDOW_S.to_string();
    let args = [&to[..], &["--seconds", &window]].concat();
    let outcomes: Vec<_> = players
        .iter()
        .map(|player| player.peer.spawn(player.play, &args).outcome(PLAYER_RUN))
        .collect();
    let sent = publishing.stop(PUBLISHER_STOP);
    for (player, outcome) in players.iter().zip(outcomes) {
        let row = match outcome {
            Ok(played) => {
                let cell = Cell::read(&played, &sent);
                complaints.extend(
                    cell.complaints(codec)
                        .map(|what| format!("{} plays {who}: {what}", player.name)),
                );
                cell.to_string()
            }
            Err(complaint) => {
                complaints.push(format!("{} plays {who}: {complaint}", player.name));
                "nothing | | | | |".to_owned()
            }
        };
        writeln!(table, "| {who} | {} | {row}", player.name).expect("strings grow");
    }
    // 404: DTLS said goodbye before the DELETE was there.
    if !matches!(sent["delete_status"].as_u64(), Some(200 | 404)) {
        complaints.push(format!(
            "{} {codec}: how its DELETE went: {sent}",
            publisher.name
        ));
    }
}

/// What one player made of one publisher.
struct Cell {
    codec: String,
    seconds: f64,
    frames: f64,
    frames_sent: f64,
    sound_s: f64,
    first_frame_s: f64,
    srtp: String,
}

impl Cell {
    fn read(played: &Value, sent: &Value) -> Self {
        let text = |key: &str| played[key].as_str().unwrap_or("?").to_owned();
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        let [from, to] = [0, 1].map(|end| number(&played["window"][end]));
        Self {
            codec: text("codec"),
            seconds: to - from,
            frames: number(&played["frames"]),
            frames_sent: count_at(to, sent) - count_at(from, sent),
            sound_s: number(&played["audio_samples"]) / SAMPLE_RATE,
            first_frame_s: number(&played["first_frame_seconds"]),
            srtp: text("srtp_profile"),
        }
    }

    /// What is wrong with it. A number that is missing is NaN, and not enough.
    fn complaints(&self, codec: &str) -> impl Iterator<Item = String> {
        let enough = |is: f64, of: f64| is >= of * ENOUGH;
        let published = self.frames_sent >= self.seconds * FPS_MIN;
        let frames = enough(self.frames, self.frames_sent);
        let sound = enough(self.sound_s, self.seconds);
        [
            (!published).then(|| format!("only {:.0} frames were sent", self.frames_sent)),
            (!frames).then(|| format!("{} frames of {:.0}", self.frames, self.frames_sent)),
            (!sound).then(|| format!("{:.1} s of sound in {:.1} s", self.sound_s, self.seconds)),
            (self.codec != codec).then(|| format!("decoded {}", self.codec)),
            (!self.srtp.contains("GCM")).then(|| format!("SRTP by {}", self.srtp)),
        ]
        .into_iter()
        .flatten()
    }
}

/// How many frames the publisher had sent by a time, between two of its counts by the straight
/// line. NaN before its first count and after its last.
fn count_at(time: f64, sent: &Value) -> f64 {
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

impl Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} | {} / {:.0} | {:.1} s | {:.2} s | {} |",
            self.codec, self.frames, self.frames_sent, self.sound_s, self.first_frame_s, self.srtp,
        )
    }
}
