//! Who plays whom: aiortc and Chromium at both ends, with VP8 and with H264.
//!
//! Each publisher sends 320×240 at 30 frames a second and Opus; each player joins while it runs,
//! and counts what it decodes in the five seconds after its first picture.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use kvill_tests::peer::{self, Peer};
use kvill_tests::process::Kvill;
use serde_json::Value;

const FPS: u64 = 30;
const SAMPLE_RATE: u64 = 48_000;
const WINDOW_S: u64 = 5;

/// What of a full window has to be decoded, in percent. The rest is for a publisher whose clock
/// two busy cores hold up.
const ENOUGH_PERCENT: u64 = 90;

/// How long a publisher would go on if nobody stopped it.
const PUBLISH_S: &str = "120";

/// Until a publisher's media flows: the start of a browser is most of it.
const PUBLISHER_START: Duration = Duration::from_secs(30);
const PLAYER_RUN: Duration = Duration::from_secs(30 + WINDOW_S);
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
        "Frames decoded in {WINDOW_S} s of {FPS} frames/s at 320x240 and Opus, from the first picture on\n\
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
    for player in players {
        let who = format!("{} {codec}", publisher.name);
        let window = WINDOW_S.to_string();
        let args = [&to[..], &["--seconds", &window]].concat();
        let outcome = player.peer.spawn(player.play, &args).outcome(PLAYER_RUN);
        let row = match outcome {
            Ok(played) => {
                let cell = Cell::read(&played);
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
    let sent = publishing.stop(PUBLISHER_STOP);
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
    frames: u64,
    audio_samples: u64,
    first_frame_s: f64,
    srtp: String,
}

impl Cell {
    fn read(played: &Value) -> Self {
        let text = |key: &str| played[key].as_str().unwrap_or("?").to_owned();
        Self {
            codec: text("codec"),
            frames: played["frames"].as_u64().unwrap_or(0),
            audio_samples: played["audio_samples"].as_u64().unwrap_or(0),
            first_frame_s: played["first_frame_seconds"].as_f64().unwrap_or(f64::NAN),
            srtp: text("srtp_profile"),
        }
    }

    /// What is wrong with it, if it should have been a full window in this codec.
    fn complaints(&self, codec: &str) -> impl Iterator<Item = String> {
        let frames = self.frames * 100 < FPS * WINDOW_S * ENOUGH_PERCENT;
        let sound = self.audio_samples * 100 < SAMPLE_RATE * WINDOW_S * ENOUGH_PERCENT;
        [
            frames.then(|| format!("{} frames of {}", self.frames, FPS * WINDOW_S)),
            sound.then(|| format!("{} audio samples", self.audio_samples)),
            (self.codec != codec).then(|| format!("decoded {}", self.codec)),
            (!self.srtp.contains("GCM")).then(|| format!("SRTP by {}", self.srtp)),
        ]
        .into_iter()
        .flatten()
    }
}

impl Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sound_tenths = self.audio_samples * 10 / SAMPLE_RATE;
        write!(
            f,
            "{} | {} / {} | {}.{} s | {:.2} s | {} |",
            self.codec,
            self.frames,
            FPS * WINDOW_S,
            sound_tenths / 10,
            sound_tenths % 10,
            self.first_frame_s,
            self.srtp,
        )
    }
}
