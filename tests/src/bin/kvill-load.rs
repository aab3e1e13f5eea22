//! `kvill-load`: publishers and thousands of viewers against any WHIP and WHEP server.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use kvill_tests::load::film::Program;
use kvill_tests::load::plot;
use kvill_tests::load::recording::Recording;
use kvill_tests::load::report::Report;
use kvill_tests::load::run::{Moment, Plan, SAMPLED, run_and_show};
use kvill_tests::load::signalling::Endpoint;
use signal_hook::consts::SIGINT;
use signal_hook::flag;
use str0m::format::Codec;

const EXAMPLES: &str = "\
Examples:
  kvill-load http://127.0.0.1:8889/live --viewers 1000 --join-rate 200
      Publishes at …/live/whip, has 1,000 viewers join …/live/whep, 200 per second, and watches
      for ten seconds. Kvill, MediaMTX and others have such URLs.

  kvill-load --whip https://example.com/whip/a --whep https://example.com/whep/a --token SECRET
      The same with URLs of another form, and with a bearer token.

  kvill-load --whep http://127.0.0.1:8889/cam/whep --viewers 50 --json load.json --plot load.svg
      Watches what somebody else publishes, and keeps the figures and a picture of them.

  kvill-load http://127.0.0.1:8889/live --viewers 100 --loss 2 --file film.ivf
      Publishes a film that `ffmpeg -i FILE -an -c:v libvpx -g 60 film.ivf` made, to viewers that
      lose 2 % of what comes and ask for it again.

Latency is told for each packet, from when it was published to when it came to this machine by the
system's clock: neither the spreading of a frame nor the time that this program takes is in it.

Ctrl-C ends a run at once, with its report; a second one ends the program. The exit code is 0 if all
viewers were connected, and they and the publishers stayed to the end; 1 if not, or if there was no run.";

/// Puts load on a WHIP and WHEP server, and measures what arrives.
///
/// Publishers send video (30 frames/s of 8 packets, keyframes of 40) and Opus, made up but in the
/// shape of a camera's, or a recorded film. Each viewer has an address, ICE, DTLS and SRTP of its own,
/// by AES-GCM or AES128_CM_HMAC_SHA1_80.
/// Packets are counted by their numbers, missing ones are asked for, and one in 101 is opened: its
/// last bytes say when it was published. A line per second goes to standard error, and what it came to
/// to standard output.
#[derive(Debug, Parser)]
#[command(name = "kvill-load", version, after_help = EXAMPLES, max_term_width = 100)]
struct Arguments {
    /// Where a stream is: `/whip` and `/whep` are put behind it; may be given several times.
    #[arg(value_name = "URL", required_unless_present_any = ["whep", "whip"])]
    stream: Vec<String>,

    /// Publishes here, as it stands; may be given several times.
    #[arg(long, value_name = "URL", help_heading = "Where")]
    whip: Vec<String>,

    /// Watches here, as it stands; may be given several times, and viewers take turns.
    #[arg(long, value_name = "URL", help_heading = "Where")]
    whep: Vec<String>,

    /// Sends this as `Authorization: Bearer TOKEN`.
    #[arg(long, value_name = "TOKEN", help_heading = "Where")]
    token: Option<String>,

    /// Takes any certificate for https.
    #[arg(long, help_heading = "Where")]
    insecure: bool,

    /// How long a response may take, and then the connection.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 10.0,
        help_heading = "Where"
    )]
    timeout: f64,

    /// Has so many viewers join.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 100,
        help_heading = "Viewers"
    )]
    viewers: usize,

    /// Has so many of them join per second; 0: as fast as they can.
    #[arg(
        long,
        value_name = "PER_SECOND",
        default_value_t = 100.0,
        help_heading = "Viewers"
    )]
    join_rate: f64,

    /// Has so many offers under way at a time.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 8,
        help_heading = "Viewers"
    )]
    offers: usize,

    /// Watches so long, from when all viewers are there.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 10.0,
        help_heading = "Viewers"
    )]
    duration: f64,

    /// Viewers throw away so much of the media that comes, at random, and have it repaired.
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 0.0,
        help_heading = "Viewers"
    )]
    loss: f64,

    /// Has so many publishers for each URL: the URLs of more are made by putting -2, -3 … behind it. 0:
    /// somebody else publishes.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1,
        help_heading = "Publishers"
    )]
    publishers: usize,

    /// The codec of the video that is published. Viewers offer it alone, if it is given.
    #[arg(long, help_heading = "Publishers")]
    codec: Option<CodecName>,

    /// Publishes a recorded film, again and again: VP8 in IVF, or H.264 as Annex B, at --fps where the
    /// file does not tell. Its keyframes stay where they are, whoever asks for one.
    #[arg(long, value_name = "FILE", help_heading = "Publishers")]
    file: Option<PathBuf>,

    /// Frames per second.
    #[arg(
        long,
        value_name = "RATE",
        default_value_t = 30.0,
        help_heading = "Publishers"
    )]
    fps: f64,

    /// Packets of a frame, of 1,150 bytes each.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 8,
        help_heading = "Publishers"
    )]
    frame_packets: usize,

    /// Packets of a keyframe.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 40,
        help_heading = "Publishers"
    )]
    keyframe_packets: usize,

    /// Publishes a keyframe so often, besides those that are asked for.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 2.0,
        help_heading = "Publishers"
    )]
    keyframe_interval: f64,

    /// Spreads the packets of each frame over so much of the time until the next one, as browsers do (40,
    /// say); 0: sends them at once, as other encoders do.
    #[arg(
        long,
        value_name = "PERCENT",
        default_value_t = 0.0,
        help_heading = "Publishers"
    )]
    spread: f64,

    /// Publishers connect and are silent.
    #[arg(long, help_heading = "Publishers")]
    silent: bool,

    /// Writes all that was measured here.
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    json: Option<PathBuf>,

    /// Writes a picture of the run here, as SVG.
    #[arg(long, value_name = "FILE", help_heading = "Results")]
    plot: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CodecName {
    Vp8,
    H264,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = arguments.plan().and_then(|plan| {
        watch_for_end(&plan.stop).map_err(|error| format!("the system: {error}"))?;
        let mut kept = Ok(false);
        run_and_show(
            &plan,
            |moment| say(&moment),
            |report| kept = arguments.keep(&report).map(|()| report.is_complete()),
        )?;
        kept
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        // The report says what.
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "kvill-load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// By Ctrl-C the run ends, and by a second one the program.
fn watch_for_end(stop: &Arc<AtomicBool>) -> io::Result<()> {
    flag::register_conditional_shutdown(SIGINT, 130, Arc::clone(stop))?;
    flag::register(SIGINT, Arc::clone(stop))?;
    Ok(())
}

/// A second's line, on standard error: standard output is for what it came to.
fn say(moment: &Moment<'_>) {
    if let Moment::Second(second) = moment {
        let _ = writeln!(io::stderr(), "{second}");
    }
}

impl Arguments {
    fn plan(&self) -> Result<Plan, String> {
        let seconds = |name: &str, value: f64| {
            Duration::try_from_secs_f64(value)
                .map_err(|_| format!("--{name} {value}: a number of seconds is needed"))
        };
        let within = |name: &str, value: f64, from: f64, to: f64| match value {
            value if (from..=to).contains(&value) => Ok(value),
            value => Err(format!("--{name} {value}: it can be {from} to {to}")),
        };
        let (publish, watch) = self.endpoints()?;
        let recording = self.file.as_deref().map(Recording::read).transpose()?;
        let recorded = recording.as_ref().map(|recording| recording.codec);
        let asked = self.codec.map(|name| match name {
            CodecName::Vp8 => Codec::Vp8,
            CodecName::H264 => Codec::H264,
        });
        if let Some((recorded, asked)) = recorded.zip(asked)
            && recorded != asked
        {
            return Err(format!("--codec {asked}: the film of --file is {recorded}"));
        }
        let offered = match asked.or(recorded) {
            Some(codec) => vec![codec],
            None => vec![Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1],
        };
        let join_rate = within("join-rate", self.join_rate, 0.0, 1e6)?;
        Ok(Plan {
            publish,
            watch,
            program: Program {
                codec: offered[0],
                frame_rate: within("fps", self.fps, 1.0, 240.0)?,
                frame_packets: self.frame_packets.clamp(1, 1000),
                keyframe_packets: self.keyframe_packets.clamp(1, 1000),
                keyframe_interval: seconds("keyframe-interval", self.keyframe_interval)?,
                spread: within("spread", self.spread, 0.0, 100.0)? / 100.0,
                is_silent: self.silent,
                recording: recording.map(Arc::new),
                ..Program::default()
            },
            viewers: self.viewers,
            codecs: offered,
            join_rate: if join_rate == 0.0 {
                f64::INFINITY
            } else {
                join_rate
            },
            settling: Duration::ZERO,
            duration: seconds("duration", self.duration)?,
            sampled: SAMPLED,
            loss: within("loss", self.loss, 0.0, 100.0)? / 100.0,
            offers: self.offers.clamp(1, 1000),
            patience: seconds("timeout", self.timeout)?,
            is_insecure: self.insecure,
            token: self.token.clone(),
            stop: Arc::default(),
        })
    }

    /// Where to publish, and where to watch.
    fn endpoints(&self) -> Result<(Vec<Endpoint>, Vec<Endpoint>), String> {
        let parse = |urls: Vec<String>| -> Result<Vec<_>, String> {
            let parse = |url: &String| Endpoint::parse(url, self.token.clone());
            urls.iter().map(parse).collect()
        };
        if let Some(url) = self.stream.iter().find(|url| url.contains(['?', '#'])) {
            return Err(format!(
                "{url}: /whip and /whep cannot be put behind a query or a fragment: give whole URLs by \
                 --whip and --whep"
            ));
        }
        if !self.whip.is_empty() && self.publishers == 0 {
            return Err(
                "--publishers 0 has nobody publish, and --whip says where: leave one out"
                    .to_owned(),
            );
        }
        if !self.whip.is_empty() && self.publishers > 1 {
            return Err(format!(
                "--publishers {} makes URLs of streams: where --whip is given, give it once for each \
                 publisher",
                self.publishers
            ));
        }
        let mut streams = self.stream.clone();
        for number in 2..=self.publishers {
            let more = |url: &String| format!("{}-{number}", url.trim_end_matches('/'));
            streams.extend(self.stream.iter().map(more));
        }
        let below = |end: &str| -> Vec<String> {
            let join = |stream: &String| format!("{}/{end}", stream.trim_end_matches('/'));
            streams.iter().map(join).collect()
        };
        let publish = match self.publishers {
            0 => Vec::new(),
            _ => [below("whip"), self.whip.clone()].concat(),
        };
        let watch = [below("whep"), self.whep.clone()].concat();
        if watch.is_empty() && self.viewers > 0 {
            return Err(
                "viewers have nowhere to watch: give a URL, --whep, or --viewers 0".to_owned(),
            );
        }
        Ok((parse(publish)?, parse(watch)?))
    }

    fn keep(&self, report: &Report) -> Result<(), String> {
        let _ = write!(io::stdout(), "{report}");
        if let Some(file) = &self.json {
            fs::write(file, format!("{:#}\n", report.json()))
                .map_err(|error| format!("{}: {error}", file.display()))?;
        }
        match &self.plot {
            Some(file) => plot::draw(file, &report.seconds),
            None => Ok(()),
        }
    }
}
