//! Loss on the way, and pictures that go on: Chromium and other stacks behind a bad network, with
//! repair and without it, at the same time.
//!
//! Without repair is a player that asks for no packet again. What it shows is what the network does
//! to whoever is not helped: without it nobody could say that the network was bad.
//!
//! `KVILL_FULL=1` watches for longer.

use std::fmt::Write as _;
use std::time::Duration;

use kvill_tests::peer::{self, Background, Peer, count_at, list, number, report};
use kvill_tests::process::Kvill;
use kvill_tests::relay::{Counts, Network, Relay};
use serde_json::Value;

/// Between the server and a peer, both ways.
const LOSS: f64 = 0.05;
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// On the publisher's way.
const PUBLISHER_LOSS: f64 = 0.02;

/// How long a publisher may take until its media flows, and to end.
const START: Duration = Duration::from_secs(30);

/// What of the frames has to be decoded where packets are repaired. The rest came too late: both
/// the repair and the next one of it may get lost, too.
const ENOUGH: f64 = 0.97;
/// One of so many lost packets is sent again at least: half of what aiortc loses is sound, for which
/// it does not ask.
const REPAIRED: u64 = 4;

/// How much of the time that the picture stands still without repair it may do so with it.
const FROZEN_MOST: f64 = 0.25;

/// How long the pictures are watched.
fn seconds() -> u32 {
    let full = std::env::var_os("KVILL_FULL").is_some_and(|v| v == "1");
    if full { 30 } else { 10 }
}

fn patience() -> Duration {
    Duration::from_secs(90 + u64::from(seconds()))
}

/// Two ways from the server that are as bad.
struct Ways {
    repaired: Relay,
    bare: Relay,
}

impl Ways {
    fn to(kvill: &Kvill) -> Self {
        let network = Network::both(LOSS, ROUND_TRIP);
        Self {
            repaired: Relay::start(kvill.url(), network, 1),
            bare: Relay::without_repair(kvill.url(), network, 2),
        }
    }

    /// # Panics
    /// When nothing was lost, and nothing was measured, or what had to be repaired was not.
    fn check(&self) {
        for relay in [&self.repaired, &self.bare] {
            let counts = relay.to_peer();
            assert!(share_lost(&counts) > LOSS / 2.0, "{counts:?}");
        }
        let (repaired, bare) = (self.repaired.to_peer(), self.bare.to_peer());
        assert!(
            repaired.repairs >= repaired.rtp_lost / REPAIRED,
            "{repaired:?}"
        );
        assert_eq!(bare.repairs, 0, "{bare:?}");
    }
}

fn share_lost(counts: &Counts) -> f64 {
    counts.rtp_lost as f64 / counts.rtp.max(1) as f64
}

#[test]
fn chromium_sees_no_loss_that_can_be_repaired() {
    let _alone = peer::alone();
    let Some(chromium) = peer::chromium() else {
        return;
    };
    let kvill = Kvill::start(&[]);
    let ways = Ways::to(&kvill);
    let window = seconds().to_string();
    let play = [kvill.url(), ways.repaired.url()].join(",");
    let args = ["--publish", kvill.url(), "--play", &play];
    let more = ["--silent", ways.bare.url(), "--seconds", &window];
    let result = chromium.run("chromium/lossy.mjs", &[args, more].concat(), patience());
    let [direct, repaired, bare] = list(&result, "played") else {
        panic!("three play: {result}");
    };
    let rows = [
        ("no loss", direct, &Counts::default()),
        ("repaired", repaired, &ways.repaired.to_peer()),
        ("not repaired", bare, &ways.bare.to_peer()),
    ];
    report("lossy", &table(&result["sent"], &rows));

    ways.check();
    let share = |player| number(player, "framesDecoded") / number(&result["sent"], "framesEncoded");
    let frozen = |player| number(player, "frozenMs");
    assert!(share(repaired) >= ENOUGH, "{repaired}");
    assert!(share(bare) < ENOUGH, "the network was not bad: {bare}");
    assert!(
        frozen(repaired) <= frozen(bare) * FROZEN_MOST,
        "{repaired}\n{bare}"
    );
    assert!(number(repaired, "resent") > 0.0, "{repaired}");
    // A machine that is busy with something else has both make up sound.
    let concealed = |player| number(player, "audioConcealed") / number(player, "audioSamples");
    assert!(
        concealed(bare) - concealed(repaired) >= LOSS / 4.0,
        "{repaired}\n{bare}"
    );
    assert_eq!(bare["nacks"], 0, "{bare}");
    kvill.stop();
}

#[test]
fn what_is_lost_of_a_publisher_comes_again() {
    let _alone = peer::alone();
    let Some(chromium) = peer::chromium() else {
        return;
    };
    let kvill = Kvill::start(&[]);
    let network = Network::both(PUBLISHER_LOSS, ROUND_TRIP);
    let relay = Relay::start(kvill.url(), network, 3);
    let window = seconds().to_string();
    let args = ["--publish", relay.url(), "--play", kvill.url()];
    let more = ["--seconds", &window];
    let result = chromium.run(
        "chromium/lossy.mjs",
        &[&args[..], &more].concat(),
        patience(),
    );
    let [player] = list(&result, "played") else {
        panic!("one plays: {result}");
    };
    let counts = relay.to_server();
    let rows = [("repaired by the publisher", player, &counts)];
    report("lossy-publisher", &table(&result["sent"], &rows));

    assert!(share_lost(&counts) > PUBLISHER_LOSS / 2.0, "{counts:?}");
    assert!(counts.repairs >= counts.rtp_lost / REPAIRED, "{counts:?}");
    let share = number(player, "framesDecoded") / number(&result["sent"], "framesEncoded");
    assert!(share >= ENOUGH, "{result}");
    // Sound as well: of what the network lost, it would be half.
    let missing = number(player, "packetsLost");
    assert!(missing <= counts.rtp_lost as f64 / 8.0, "{result}");
    kvill.stop();
}

/// A stack that plays, by its script.
struct Stack {
    name: &'static str,
    peer: Peer,
    script: &'static str,
    args: &'static [&'static str],
    /// As [`ENOUGH`].
    enough: f64,
}

impl Stack {
    /// Those that are installed here.
    fn all() -> Vec<Self> {
        // It decodes one frame for each packet that comes, and so never gets rid of what has piled
        // up behind a gap where frames are of one packet, until it throws away all.
        let aiortc = peer::aiortc().map(|peer| Self {
            name: "aiortc",
            peer,
            script: "aiortc/whep.py",
            args: &[],
            enough: 0.7,
        });
        // Its NACKs wait for their turn among its reports (RFC 4585): it needs the time.
        let gstreamer = peer::gstreamer().map(|peer| Self {
            name: "GStreamer",
            peer,
            script: "gstreamer/whep.py",
            args: &["--latency", "500"],
            enough: 0.9,
        });
        aiortc.into_iter().chain(gstreamer).collect()
    }

    /// Plays by both ways of a bad network.
    fn play(&self, kvill: &Kvill, path: &str) -> Pair<'_> {
        let ways = Ways::to(kvill);
        let window = seconds().to_string();
        let players = [&ways.repaired, &ways.bare].map(|relay| {
            let to = ["--base", relay.url(), "--path", path, "--seconds", &window];
            self.peer.spawn(self.script, &[&to, self.args].concat())
        });
        Pair {
            stack: self,
            ways,
            players,
        }
    }
}

/// Two players of a stack, with repair and without.
struct Pair<'a> {
    stack: &'a Stack,
    ways: Ways,
    players: [Background; 2],
}

impl<'a> Pair<'a> {
    /// # Panics
    /// When one of them does not play.
    fn finish(self) -> Played<'a> {
        Played {
            stack: self.stack,
            ways: self.ways,
            results: self.players.map(|player| player.finish(patience())),
        }
    }
}

struct Played<'a> {
    stack: &'a Stack,
    ways: Ways,
    results: [Value; 2],
}

impl Played<'_> {
    /// Frames decoded, and sent in the same time.
    fn frames(&self, sent: &Value) -> [(f64, f64); 2] {
        self.results.each_ref().map(|played| {
            let end = |at: usize| played["window"][at].as_f64().unwrap_or(f64::NAN);
            let sent = count_at(end(1), sent) - count_at(end(0), sent);
            (number(played, "frames"), sent)
        })
    }

    fn row(&self, codec: &str, sent: &Value) -> String {
        let [repaired, bare] = self
            .frames(sent)
            .map(|(of, all)| format!("{of} / {all:.0}"));
        let counts = self.ways.repaired.to_peer();
        format!(
            "| {} | {codec} | {} of {} | {} | {repaired} | {bare} |\n",
            self.stack.name, counts.rtp_lost, counts.rtp, counts.repairs
        )
    }

    /// # Panics
    /// When pictures are missing that could have been repaired.
    fn check(&self, codec: &str, sent: &Value) {
        self.ways.check();
        let [repaired, bare] = self.frames(sent).map(|(decoded, sent)| decoded / sent);
        let who = format!("{}, {codec}: {:?}", self.stack.name, self.results);
        assert!(repaired >= self.stack.enough, "{who}");
        assert!(bare < repaired, "the network was not bad: {who}");
    }
}

#[test]
fn other_stacks_get_what_they_ask_for_again() {
    let _alone = peer::alone();
    let (Some(chromium), stacks) = (peer::chromium(), Stack::all()) else {
        return;
    };
    let kvill = Kvill::start(&[]);
    let mut table = format!(
        "Chromium publishes, others play, {} % loss both ways and {ROUND_TRIP:?} round trip: frames \
         decoded / sent in {} s\n\
         | player | codec | RTP lost by the network | repairs sent | repaired | not repaired |\n\
         |---|---|---|---|---|---|\n",
        LOSS * 100.0,
        seconds()
    );
    let mut all = Vec::new();
    for codec in ["VP8", "H264"] {
        let path = codec.to_lowercase();
        let to = ["--base", kvill.url(), "--path", &path, "--codec", codec];
        let args = [&to[..], &["--seconds", "180"]].concat();
        let mut publishing = chromium.spawn("chromium/publish.mjs", &args);
        assert_eq!(publishing.next(START)["event"], "publishing");
        let playing: Vec<_> = stacks.iter().map(|it| it.play(&kvill, &path)).collect();
        let played: Vec<_> = playing.into_iter().map(Pair::finish).collect();
        let sent = publishing.stop(START);
        for played in played {
            table += &played.row(codec, &sent);
            all.push((played, codec, sent.clone()));
        }
    }
    report("lossy-others", &table);
    for (played, codec, sent) in all {
        played.check(codec, &sent);
    }
    kvill.stop();
}

/// The players as a table for the README.
fn table(sent: &Value, rows: &[(&str, &Value, &Counts)]) -> String {
    let mut table = format!(
        "Chromium publishes VP8 and Opus, 320x240 at 30 frames/s, {} s: {} frames encoded, {} \
         keyframes\n\
         | way | RTP lost by the network | frames decoded / encoded | freezes | frozen | keyframes \
         | NACKs | PLIs | packets lost | repairs received | sound concealed |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
        number(sent, "seconds").round(),
        sent["framesEncoded"],
        sent["keyframes"],
    );
    for (way, player, counts) in rows {
        writeln!(
            table,
            "| {way} | {} of {} | {} / {} | {} | {:.1} s | {} | {} | {} | {} | {} | {:.1} % |",
            counts.rtp_lost,
            counts.rtp,
            player["framesDecoded"],
            sent["framesEncoded"],
            player["freezes"],
            number(player, "frozenMs") / 1000.0,
            player["keyframes"],
            player["nacks"],
            player["keyframeRequests"],
            player["packetsLost"],
            player["resent"],
            100.0 * number(player, "audioConcealed") / number(player, "audioSamples"),
        )
        .expect("strings grow");
    }
    table
}
