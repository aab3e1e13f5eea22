//! Who plays whom: every publisher that is installed here with every player, and some peers with
//! offers that are out of the ordinary.
//!
//! Each publisher sends 320×240 at 30 frames a second and Opus. The players join while it runs, all
//! at once, and each counts what it decodes in a window that opens with its first picture. That is
//! held against what the publisher counted in the same time: a machine that is busy with something
//! else makes fewer pictures, which is no fault of the way between the two.
//!
//! `KVILL_FULL=1` opens the windows wider.

use std::fmt::{self, Display, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use kvill_tests::peer::{self, Background, Peer, count_at};
use kvill_tests::process::Kvill;
use serde_json::Value;

const SAMPLE_RATE: f64 = 48_000.0;

/// What of the frames sent, and of the sound, has to be decoded in a window. The rest is on its
/// way, or in a jitter buffer.
const ENOUGH: f64 = 0.9;

/// Pictures per second without which a publisher does not count as one. It is meant to make 30.
const FPS_MIN: f64 = 10.0;

/// How long a publisher would go on if nobody stopped it.
const PUBLISH_S: &str = "120";

/// Until a publisher's media flows: the start of a browser is most of it.
const PUBLISHER_START: Duration = Duration::from_secs(30);
/// The same for a player, and some time to come to an end.
const PLAYER_START: Duration = Duration::from_secs(30);
const PUBLISHER_STOP: Duration = Duration::from_secs(10);

/// How long a player counts.
fn window_s() -> u32 {
    let full = std::env::var_os("KVILL_FULL").is_some_and(|v| v == "1");
    if full { 20 } else { 5 }
}

/// How long a player may run.
fn player_run() -> Duration {
    PLAYER_START + Duration::from_secs(window_s().into())
}

/// What a stack has of SRTP, as it shows in the name of the chosen profile.
#[derive(Clone, Copy)]
enum Srtp {
    Gcm,
    /// Nothing but AES128_CM_HMAC_SHA1_80.
    CmOnly,
}

impl Srtp {
    /// AEAD is to be chosen wherever both sides have it.
    fn suits(self, profile: &str) -> bool {
        match self {
            Self::Gcm => profile.contains("GCM"),
            Self::CmOnly => profile.contains("CM_") && profile.contains("SHA1_80"),
        }
    }
}

/// The stacks, each with the scripts of its peers.
#[derive(Clone, Copy)]
enum Stack {
    Chromium,
    Ffmpeg,
    GStreamer,
    Aiortc,
    PyAv,
}

impl Stack {
    fn peer(self) -> Option<Peer> {
        match self {
            Self::Chromium => peer::chromium(),
            Self::Ffmpeg => peer::ffmpeg(),
            Self::GStreamer => peer::gstreamer(),
            Self::Aiortc => peer::aiortc(),
            Self::PyAv => peer::pyav(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Chromium => "Chromium",
            Self::Ffmpeg => "ffmpeg",
            Self::GStreamer => "GStreamer",
            Self::Aiortc => "aiortc",
            Self::PyAv => "PyAV",
        }
    }

    fn srtp(self) -> Srtp {
        match self {
            Self::Chromium | Self::Aiortc => Srtp::Gcm,
            Self::Ffmpeg | Self::GStreamer | Self::PyAv => Srtp::CmOnly,
        }
    }

    fn publish(self) -> &'static str {
        match self {
            Self::Chromium => "chromium/publish.mjs",
            Self::Ffmpeg => "ffmpeg/whip.py",
            Self::GStreamer => "gstreamer/whip.py",
            Self::Aiortc => "aiortc/whip.py",
            Self::PyAv => "pyav/whip.py",
        }
    }
}

/// A kind of publisher.
struct Publisher {
    stack: Stack,
    codec: &'static str,
    /// Further arguments of its script.
    args: &'static [&'static str],
    script: &'static str,
    /// The server's part in DTLS, by what the peer offers.
    dtls_role: &'static str,
}

impl Publisher {
    fn new(stack: Stack, codec: &'static str) -> Self {
        // libavformat waits for the hello, where it is not told otherwise.
        let dtls_role = match stack {
            Stack::Ffmpeg | Stack::PyAv => "client",
            _ => "server",
        };
        Self {
            stack,
            codec,
            args: &[],
            script: stack.publish(),
            dtls_role,
        }
    }

    fn path(&self) -> String {
        let name = self.to_string().to_lowercase();
        name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
    }

    fn spawn(&self, kvill: &Kvill, peer: &Peer, more: &[&str]) -> Background {
        let path = self.path();
        let args = ["--base", kvill.url(), "--path", &path];
        let media = ["--codec", self.codec, "--seconds", PUBLISH_S];
        peer.spawn(self.script, &[&args[..], &media, self.args, more].concat())
    }

    /// Starts it, and waits until its media flows. Gives what it said then.
    fn start(&self, kvill: &Kvill, peer: &Peer) -> Result<(Background, Value), String> {
        let mut publishing = self.spawn(kvill, peer, &[]);
        let said = publishing.next_outcome(PUBLISHER_START)?;
        if said["event"] == "publishing" {
            Ok((publishing, said))
        } else {
            Err(format!("{self} does not publish: {said}"))
        }
    }
}

impl Display for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.stack.name(), self.codec)?;
        match self.args {
            [_, value] => write!(f, " ({value})"),
            _ => Ok(()),
        }
    }
}

/// A kind of player.
struct Player {
    stack: Stack,
    peer: Peer,
    script: &'static str,
    /// The video codecs that it offers to decode.
    decodes: &'static [&'static str],
}

impl Player {
    fn new(stack: Stack) -> Option<Self> {
        let (script, decodes): (_, &[_]) = match stack {
            Stack::Chromium => ("chromium/play.mjs", &["H264", "VP8", "VP9", "AV1"]),
            Stack::GStreamer => ("gstreamer/whep.py", &["H264", "VP8", "VP9"]),
            Stack::Aiortc => ("aiortc/whep.py", &["H264", "VP8"]),
            Stack::Ffmpeg | Stack::PyAv => return None,
        };
        Some(Self {
            stack,
            peer: stack.peer()?,
            script,
            decodes,
        })
    }

    fn start(&self, to: &[&str]) -> Background {
        let window = window_s().to_string();
        self.peer
            .spawn(self.script, &[to, &["--seconds", &window]].concat())
    }
}

/// What is to be looked at, and what is wrong with it.
struct Findings {
    table: String,
    complaints: Vec<String>,
}

impl Findings {
    fn new() -> Self {
        let window_s = window_s();
        Self {
            table: format!(
                "Frames decoded / sent in {window_s} s, 320x240 at 30 frames/s and Opus. SRTP and \
                 the server's part in DTLS: from the publisher, to the player\n\
                 | publisher | player | frames | sound | to first frame | SRTP | DTLS |\n\
                 |---|---|---|---|---|---|---|\n"
            ),
            complaints: Vec::new(),
        }
    }

    fn complain(&mut self, what: String) {
        self.complaints.push(what);
    }

    /// One publisher, played by everybody at once.
    fn play_by_all(
        &mut self,
        kvill: &Kvill,
        publisher: &Publisher,
        peer: &Peer,
        players: &[Player],
    ) {
        let path = publisher.path();
        let to = ["--base", kvill.url(), "--path", &path];
        let (publishing, said) = match publisher.start(kvill, peer) {
            Ok(started) => started,
            Err(complaint) => return self.complain(complaint),
        };
        self.check_transport(publisher.stack, publisher.dtls_role, &said, publisher);
        let playing: Vec<_> = players.iter().map(|player| player.start(&to)).collect();
        let outcomes: Vec<_> = playing
            .into_iter()
            .map(|player| player.outcome(player_run()))
            .collect();
        let sent = match publishing.stop_outcome(PUBLISHER_STOP) {
            Ok(sent) => sent,
            Err(complaint) => return self.complain(complaint),
        };
        for (player, outcome) in players.iter().zip(outcomes) {
            self.cell(publisher, player, &said, &sent, outcome);
        }
        let deleted = match sent["delete_status"].as_u64() {
            // 404: DTLS said goodbye before the DELETE was there.
            Some(status) => matches!(status, 200 | 404),
            None => was_deleted(kvill, &path),
        };
        if !deleted {
            self.complain(format!("{publisher}: no DELETE, or a bad one: {sent}"));
        }
    }

    fn cell(
        &mut self,
        publisher: &Publisher,
        player: &Player,
        said: &Value,
        sent: &Value,
        outcome: Result<Value, String>,
    ) {
        let who = format!("{} plays {publisher}", player.stack.name());
        let can_play = player.decodes.contains(&publisher.codec);
        let row = match outcome {
            Err(complaint) => {
                self.complain(format!("{who}: {complaint}"));
                "nothing | | | | |".to_owned()
            }
            Ok(refused) if refused["refused"].is_u64() => {
                let status = &refused["refused"];
                let error = refused["error"].as_str().unwrap_or("?");
                if can_play || *status != 406 || !error.contains(publisher.codec) {
                    self.complain(format!("{who}: refused: {refused}"));
                }
                format!("{status}: {error} | | | | |")
            }
            Ok(played) => {
                if !can_play {
                    self.complain(format!("{who}, whose codec it did not offer: {played}"));
                }
                self.check_transport(player.stack, "server", &played, &who);
                let cell = Cell::read(&played, sent);
                let complaints = cell.complaints(publisher.codec);
                self.complaints
                    .extend(complaints.map(|what| format!("{who}: {what}")));
                format!(
                    "{cell} | {}, {} | {}, {} |",
                    short(&said["srtp_profile"]),
                    short(&played["srtp_profile"]),
                    text(&said["dtls_role"]),
                    text(&played["dtls_role"]),
                )
            }
        };
        let player = player.stack.name();
        writeln!(self.table, "| {publisher} | {player} | {row}").expect("strings grow");
    }

    /// Whether SRTP and DTLS are as the peer and the server ought to have agreed.
    fn check_transport(&mut self, stack: Stack, role: &str, said: &Value, who: impl Display) {
        let profile = text(&said["srtp_profile"]);
        if !stack.srtp().suits(profile) {
            self.complain(format!("{who}: SRTP by {profile}"));
        }
        if said["dtls_role"] != role {
            let is = &said["dtls_role"];
            self.complain(format!("{who}: in DTLS the server is {is}, not {role}"));
        }
    }
}

/// Whether the server saw a DELETE by the publisher of a path, which not every stack tells.
fn was_deleted(kvill: &Kvill, path: &str) -> bool {
    kvill.log().lines().any(|line| {
        line.contains(&format!(" {path}: publisher ")) && line.ends_with("ended by DELETE")
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

/// Everybody names the profiles differently.
fn short(profile: &Value) -> &'static str {
    match text(profile) {
        name if name.contains("GCM") && name.contains("256") => "GCM-256",
        name if name.contains("GCM") => "GCM-128",
        name if name.contains("SHA1_80") => "CM-SHA1",
        _ => "-",
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
}

impl Cell {
    fn read(played: &Value, sent: &Value) -> Self {
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        let [from, to] = [0, 1].map(|end| number(&played["window"][end]));
        Self {
            codec: text(&played["codec"]).to_owned(),
            seconds: to - from,
            frames: number(&played["frames"]),
            frames_sent: count_at(to, sent) - count_at(from, sent),
            sound_s: number(&played["audio_samples"]) / SAMPLE_RATE,
            first_frame_s: number(&played["first_frame_seconds"]),
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
        ]
        .into_iter()
        .flatten()
    }
}

impl Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} / {:.0} | {:.1} s | {:.2} s",
            self.frames, self.frames_sent, self.sound_s, self.first_frame_s,
        )
    }
}

/// One publisher with a script of its own, and the players for it: what each of them said.
struct Pair {
    said: Value,
    sent: Value,
    played: Value,
}

impl Pair {
    /// # Panics
    /// When any of the two does not do what it is asked.
    fn run(kvill: &Kvill, publisher: &Publisher, player: &Player) -> Self {
        let path = publisher.path();
        let to = ["--base", kvill.url(), "--path", &path];
        let peer = publisher.stack.peer().expect("looked for already");
        let (publishing, said) = publisher
            .start(kvill, &peer)
            .unwrap_or_else(|complaint| panic!("{complaint}"));
        let played = player.start(&to).finish(player_run());
        let sent = publishing.stop(PUBLISHER_STOP);
        Self { said, sent, played }
    }

    /// # Panics
    /// When it is not enough.
    fn check_media(&self, publisher: &Publisher) {
        let cell = Cell::read(&self.played, &self.sent);
        let complaints: Vec<_> = cell.complaints(publisher.codec).collect();
        assert!(complaints.is_empty(), "{complaints:?}: {}", self.played);
    }
}

#[test]
fn every_player_plays_every_publisher_whose_codec_it_has() {
    let _alone = peer::alone();
    let players: Vec<_> = [Stack::Chromium, Stack::GStreamer, Stack::Aiortc]
        .into_iter()
        .filter_map(Player::new)
        .collect();
    let kvill = Kvill::start(&[]);
    let mut findings = Findings::new();
    for (stack, codecs) in [
        (Stack::Chromium, &["H264", "VP8", "VP9", "AV1"][..]),
        (Stack::Ffmpeg, &["H264"]),
        (Stack::GStreamer, &["VP8", "H264"]),
        (Stack::Aiortc, &["VP8", "H264"]),
        (Stack::PyAv, &["H264"]),
    ] {
        let Some(peer) = stack.peer() else { continue };
        for codec in codecs {
            let publisher = Publisher::new(stack, codec);
            findings.play_by_all(&kvill, &publisher, &peer, &players);
        }
        if let Stack::Ffmpeg = stack {
            let active = Publisher {
                args: &["--dtls", "active"],
                dtls_role: "server",
                ..Publisher::new(stack, "H264")
            };
            findings.play_by_all(&kvill, &active, &peer, &players);
        }
    }
    peer::report("matrix", &findings.table);
    kvill.stop();
    assert!(
        findings.complaints.is_empty(),
        "{}",
        findings.complaints.join("\n")
    );
}

#[test]
fn the_first_layer_of_a_simulcast_offer_arrives_and_plays() {
    let _alone = peer::alone();
    let Some(player) = Player::new(Stack::Chromium) else {
        return;
    };
    let kvill = Kvill::start(&[]);
    let publisher = Publisher {
        script: "chromium/publish_simulcast.mjs",
        ..Publisher::new(Stack::Chromium, "VP8")
    };
    let pair = Pair::run(&kvill, &publisher, &player);
    pair.check_media(&publisher);
    let Pair { said, sent, played } = &pair;
    assert_eq!(said["layers_offered"], 3, "{said}");
    assert_eq!(said["answer_has_simulcast"], false, "{said}");
    assert_eq!(sent["layers_sent"], serde_json::json!(["full"]), "{sent}");
    // The first layer is the largest; an encoder that is short of time makes it smaller.
    assert_eq!(played["width"], sent["width"], "{played} {sent}");
    assert!(played["width"].as_u64() > Some(160), "{played}");
    kvill.stop();
}

#[test]
fn a_viewer_that_offers_a_data_channel_too_plays_without_it() {
    let _alone = peer::alone();
    let Some(mut player) = Player::new(Stack::Chromium) else {
        return;
    };
    player.script = "chromium/play_datachannel.mjs";
    let kvill = Kvill::start(&[]);
    let publisher = Publisher::new(Stack::Chromium, "VP8");
    let pair = Pair::run(&kvill, &publisher, &player);
    pair.check_media(&publisher);
    let played = &pair.played;
    assert_eq!(played["channels_offered"], 1, "{played}");
    assert_eq!(
        played["channel_ports_answered"],
        serde_json::json!([0]),
        "{played}"
    );
    kvill.stop();
}

#[test]
fn h264_of_other_profiles_plays_where_it_is_offered_and_is_refused_where_not() {
    let _alone = peer::alone();
    let Some(_) = Stack::GStreamer.peer() else {
        return;
    };
    let Some(chromium) = Player::new(Stack::Chromium) else {
        return;
    };
    let aiortc = Player::new(Stack::Aiortc);
    let kvill = Kvill::start(&[]);
    for (args, profile) in [
        (&["--profile", "main"], "4d"),
        (&["--profile", "high"], "64"),
    ] {
        let publisher = Publisher {
            args,
            ..Publisher::new(Stack::GStreamer, "H264")
        };
        Pair::run(&kvill, &publisher, &chromium).check_media(&publisher);
        // It offers Constrained Baseline and Baseline.
        if let Some(aiortc) = &aiortc {
            let refused = Pair::run(&kvill, &publisher, aiortc).played;
            let error = refused["error"].as_str().unwrap_or_default();
            assert_eq!(refused["refused"], 406, "{refused}");
            assert!(
                error.contains(&format!("H264 (profile-level-id {profile}")),
                "{error}"
            );
        }
    }
    kvill.stop();
}

/// PyAV's own is one on P-224, which no part of the server verifies.
#[test]
fn a_certificate_that_nobody_verifies_ends_the_handshake_at_once() {
    let _alone = peer::alone();
    let Some(peer) = Stack::PyAv.peer() else {
        return;
    };
    let kvill = Kvill::start(&[]);
    let publisher = Publisher::new(Stack::PyAv, "H264");
    let own = ["--certificate", "own"];
    let _publishing = publisher.spawn(&kvill, &peer, &own);
    // Sooner than the handshake would time out.
    await_line(&kvill, &[&publisher.path(), "did not connect"]);
    kvill.stop();
}

/// By the stacks that have nothing else, at both ends.
#[test]
fn a_server_for_aead_only_ends_the_others_and_says_so() {
    let _alone = peer::alone();
    let kvill = Kvill::start(&["--srtp", "aead-only"]);
    let words = "has no AEAD cipher for SRTP, only AES128_CM_HMAC_SHA1_80";
    for stack in [Stack::Ffmpeg, Stack::GStreamer] {
        let Some(peer) = stack.peer() else { continue };
        let publisher = Publisher::new(stack, "H264");
        let _publishing = publisher.spawn(&kvill, &peer, &[]);
        await_line(&kvill, &[&publisher.path(), "publisher", words]);
    }
    let (Some(aiortc), Some(gstreamer)) = (Stack::Aiortc.peer(), Stack::GStreamer.peer()) else {
        return;
    };
    let publisher = Publisher::new(Stack::Aiortc, "VP8");
    let mut publishing = publisher.spawn(&kvill, &aiortc, &[]);
    publishing.next(PUBLISHER_START);
    let path = publisher.path();
    let to = ["--base", kvill.url(), "--path", &path, "--seconds", "1"];
    let _playing = gstreamer.spawn("gstreamer/whep.py", &to);
    await_line(&kvill, &[&path, "viewer", words]);
    let _ = publishing.stop(PUBLISHER_STOP);
    kvill.stop();
}

/// Waits for a line of the log with all of these words.
fn await_line(kvill: &Kvill, words: &[&str]) {
    let deadline = Instant::now() + Duration::from_secs(8);
    let is_told = |line: &str| words.iter().all(|word| line.contains(word));
    while !kvill.log().lines().any(is_told) {
        assert!(
            Instant::now() < deadline,
            "no line with {words:?} in:\n{}",
            kvill.log()
        );
        thread::sleep(Duration::from_millis(50));
    }
}
