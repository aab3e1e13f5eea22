//! A run from its beginning to its end.

mod crowd;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use str0m::format::Codec;
use ureq::http::Uri;

use self::crowd::Crowd;
use super::film::{Film, Program};
use super::hall::{Hall, Totals};
use super::own;
use super::publisher::{Published, Publisher, local_address};
use super::report::{Quantiles, Report, Second};
use super::signalling::{Desk, Endpoint, in_line};
use super::stamp::Clock;
use crate::light::Reception;

/// Of the packets of a viewer one in so many is opened, if nothing else is said.
pub const SAMPLED: u32 = 101;

/// Files that a process needs beside the sockets of its viewers.
const FILES: u64 = 100;

/// Between two looks at what is due.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How long it may take to end all sessions.
const FAREWELL: Duration = Duration::from_secs(5);

/// Viewers to which nothing came for so long at the end are told of.
const SILENCE: Duration = Duration::from_secs(2);

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Where to publish, once for each publisher. None: somebody else does.
    pub publish: Vec<Endpoint>,
    /// What each of them publishes.
    pub program: Program,
    /// Where to watch: viewers take turns.
    pub watch: Vec<Endpoint>,
    /// How many viewers.
    pub viewers: usize,
    /// The codecs of video that they offer, of VP8, H264, VP9 and AV1.
    pub codecs: Vec<Codec>,
    /// Offers per second.
    pub join_rate: f64,
    /// How long they settle when all are there, before they are watched.
    pub settling: Duration,
    /// How long they are watched then.
    pub duration: Duration,
    /// Of the packets of a viewer one in so many is opened for its latency: a prime, so that all
    /// packets of a frame get their turn. More of them say more, and cost more.
    pub sampled: u32,
    /// The share of received media that viewers throw away, to have it repaired.
    pub loss: f64,
    /// Offers that are under way at a time.
    pub offers: usize,
    /// How long anybody may take: for a response, and from then on to be connected.
    pub patience: Duration,
    /// Certificates of servers are not looked at.
    pub is_insecure: bool,
    /// Sent as `Authorization: Bearer` when sessions are ended.
    pub token: Option<String>,
    /// Set when the run is to end at once.
    pub stop: Arc<AtomicBool>,
}

impl Plan {
    /// One publisher at `whip`, and so many viewers at `whep`, who join as fast as they can and watch
    /// for ten seconds.
    ///
    /// # Errors
    /// What is wrong with a URL.
    pub fn new(whip: &str, whep: &str, viewers: usize) -> Result<Self, String> {
        Ok(Self {
            publish: vec![Endpoint::parse(whip, None)?],
            program: Program::default(),
            watch: vec![Endpoint::parse(whep, None)?],
            viewers,
            codecs: vec![Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1],
            join_rate: f64::INFINITY,
            settling: Duration::ZERO,
            duration: Duration::from_secs(10),
            sampled: SAMPLED,
            loss: 0.0,
            offers: 8,
            patience: Duration::from_secs(10),
            is_insecure: false,
            token: None,
            stop: Arc::default(),
        })
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn json(&self) -> Value {
        let urls = |endpoints: &[Endpoint]| -> Vec<_> {
            let urls = endpoints.iter().map(|endpoint| endpoint.uri().to_string());
            urls.collect()
        };
        let codecs: Vec<_> = self.codecs.iter().map(Codec::to_string).collect();
        let (rate, program) = (self.join_rate, &self.program);
        json!({
            "whip": urls(&self.publish),
            "whep": urls(&self.watch),
            "program": {
                "codec": program.codec.to_string(),
                "frames_per_second": program.frame_rate,
                "frame_packets": program.frame_packets,
                "keyframe_packets": program.keyframe_packets,
                "packet_bytes": program.packet_len,
                "keyframe_interval_s": program.keyframe_interval.as_secs_f64(),
                "spread": program.spread,
                "silent": program.is_silent,
                "recorded": program.recording.is_some(),
            },
            "viewers": self.viewers,
            "codecs": codecs,
            "joins_per_second": rate.is_finite().then_some(rate),
            "offers": self.offers,
            "settling_s": self.settling.as_secs_f64(),
            "duration_s": self.duration.as_secs_f64(),
            "opened_one_in": self.sampled,
            "loss": self.loss,
            "timeout_s": self.patience.as_secs_f64(),
        })
    }
}

/// What a run tells while it goes on.
#[derive(Debug)]
pub enum Moment<'a> {
    /// All publishers are connected, and no viewer is there.
    Published,
    /// A second is over.
    Second(&'a Second),
    /// All viewers are there, or given up: they are watched from now on.
    Watching,
    /// That is over, and they are still there.
    Watched,
}

/// Makes a run, as [`run_and_show`] does.
///
/// # Errors
/// As there.
pub fn run(plan: &Plan, tell: impl FnMut(Moment<'_>)) -> Result<Report, String> {
    let mut kept = None;
    run_and_show(plan, tell, |report| kept = Some(report))?;
    kept.ok_or_else(|| "there was no run".to_owned())
}

/// Makes a run. Its report is shown before sessions are ended, which a server that does not respond
/// would keep from everybody.
///
/// # Errors
/// A publisher does not get through; no viewer does; or the system refuses something.
pub fn run_and_show(
    plan: &Plan,
    mut tell: impl FnMut(Moment<'_>),
    show_report: impl FnOnce(Report),
) -> Result<(), String> {
    check_files(plan.viewers)?;
    let clock = Clock::new(Instant::now());
    let system = |error: std::io::Error| format!("the system: {error}");
    let mut hall = Hall::new(clock, plan.loss, plan.sampled).map_err(system)?;
    let waker = hall.waker().map_err(system)?;
    let wake = move || {
        // Fails only where the hall is gone.
        let _ = waker.wake();
    };
    let (threads, is_expected) = (plan.offers.max(1), !plan.publish.is_empty());
    let desk = Desk::new(threads, plan.patience, plan.is_insecure, is_expected, wake);
    let desk = desk.map_err(system)?;
    let mut stage = Stage::default();
    let mut crowd = Crowd::new(plan, &desk)?;
    let result = stage.open(plan, &desk, clock, &mut crowd.sessions);
    let result = result.and_then(|()| {
        tell(Moment::Published);
        show(plan, &mut hall, &stage, &mut crowd, &mut tell)
    });
    let result = result.map(show_report);
    stage.close();
    for session in std::mem::take(&mut crowd.sessions) {
        desk.delete(session, plan.token.clone());
    }
    desk.close(Instant::now() + FAREWELL);
    result
}

fn check_files(viewers: usize) -> Result<(), String> {
    let limit = own::raise_file_limit().map_err(|error| format!("the limit of files: {error}"))?;
    let needed = viewers as u64 + FILES;
    match limit {
        Some(limit) if limit < needed => Err(format!(
            "{viewers} viewers need {needed} open files, and this process may have {limit}: raise the \
             limit (ulimit -n), or have fewer --viewers"
        )),
        _ => Ok(()),
    }
}

/// From the first offer to the end of watching.
fn show(
    plan: &Plan,
    hall: &mut Hall,
    stage: &Stage,
    crowd: &mut Crowd<'_>,
    tell: &mut impl FnMut(Moment<'_>),
) -> Result<Report, String> {
    let started = Instant::now();
    crowd.started = started;
    let mut report = Report {
        publishers: plan.publish.len(),
        streams: plan.watch.len(),
        wanted: plan.viewers,
        plan: plan.json(),
        ..Report::default()
    };
    let mut seconds = Seconds::new(started);
    let (mut joined, mut watch) = (None, None::<Watch>);
    loop {
        let now = Instant::now();
        crowd.ask(now, hall)?;
        crowd.take_answers(hall);
        crowd.give_up(now, hall);
        if stage.ended() > 0 && watch.is_none() {
            return Err(
                "a publisher's session ended while viewers joined: look at the server's log"
                    .to_owned(),
            );
        }
        let until = seconds.next.min(now + LOOK_INTERVAL);
        hall.turn(until).map_err(|error| error.to_string())?;
        let now = Instant::now();
        if let Some(second) = seconds.tick(now, hall, crowd.failed()) {
            tell(Moment::Second(&second));
        }
        if joined.is_none() && crowd.is_in(hall) {
            joined = Some(now);
        }
        match &watch {
            None if plan.is_stopped() || joined.is_some_and(|at| now >= at + plan.settling) => {
                if hall.totals().connected == 0 && plan.viewers > 0 {
                    return Err(crowd.complaint());
                }
                tell(Moment::Watching);
                hall.begin_watching();
                seconds.slept = Duration::ZERO;
                watch = Some(Watch::begin(hall, stage));
            }
            Some(begun)
                if now >= begun.since + plan.duration
                    || plan.is_stopped()
                    || is_deserted(plan, hall, stage) =>
            {
                tell(Moment::Watched);
                begun.end(now, hall, stage, &mut report);
                break;
            }
            _ => {}
        }
    }
    crowd.next_give_up = started;
    crowd.give_up(Instant::now(), hall);
    report.milestones = hall.milestones().collect();
    report.video = hall.video();
    let joined = hall.last_joined();
    report.joining = joined.map_or(Duration::ZERO, |at| at.saturating_duration_since(started));
    report.keyframes_asked = stage.sum(|published| &published.keyframes_asked);
    report.failures = std::mem::take(&mut crowd.failures).into_iter().collect();
    if stage.ended() > 0 {
        let why = "a publisher's session ended: the server closed it, or answers no more";
        report.failures.push((why.to_owned(), stage.ended()));
    }
    report.seconds = seconds.all;
    Ok(report)
}

/// Nobody is there any more: there is nothing left to measure.
fn is_deserted(plan: &Plan, hall: &Hall, stage: &Stage) -> bool {
    match plan.viewers {
        0 => !plan.publish.is_empty() && stage.ended() == plan.publish.len(),
        _ => hall.totals().connected == 0,
    }
}

/// What there was when watching began.
struct Watch {
    since: Instant,
    totals: Totals,
    reception: Reception,
    published: u64,
    cpu: Option<Duration>,
    viewers_cpu: Option<Duration>,
}

impl Watch {
    fn begin(hall: &Hall, stage: &Stage) -> Self {
        Self {
            since: Instant::now(),
            totals: hall.totals(),
            reception: hall.reception(),
            published: stage.sum(|published| &published.packets),
            cpu: own::process_cpu(),
            viewers_cpu: own::thread_cpu(),
        }
    }

    fn end(&self, now: Instant, hall: &Hall, stage: &Stage, report: &mut Report) {
        let since = |before: Option<Duration>, after: Option<Duration>| {
            Some(after?.saturating_sub(before?))
        };
        let (before, after) = (self.totals, hall.totals());
        report.watched = now - self.since;
        report.published = stage.sum(|published| &published.packets) - self.published;
        report.totals = Totals {
            connected: after.connected,
            packets: after.packets - before.packets,
            bytes: after.bytes - before.bytes,
            thrown: after.thrown - before.thrown,
            dropped: after.dropped - before.dropped,
            receives: after.receives - before.receives,
            opened: after.opened,
        };
        report.reception = hall.reception().since(self.reception);
        let silence = SILENCE.min(report.watched);
        report.unheard = hall.unheard(now.checked_sub(silence).unwrap_or(now));
        // Each viewer watches one of the publishers, if those are all who publish there.
        let (publishers, streams) = (report.publishers, report.streams);
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let due = report.published as f64 * before.connected as f64 / publishers.max(1) as f64;
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let came = (report.totals.packets - report.reception.repairs) as f64;
        report.share = (publishers == streams && due > 0.0).then(|| came / due);
        report.latency = Quantiles::of_micros(hall.latency());
        report.own.cpu = since(self.cpu, own::process_cpu());
        report.own.viewers_cpu = since(self.viewers_cpu, own::thread_cpu());
        let slept = hall.slept().as_secs_f64() / report.watched.as_secs_f64();
        report.own.busy = (1.0 - slept).max(0.0);
        report.own.lag = Quantiles::of_micros(hall.lag());
    }
}

/// The publishers.
#[derive(Debug, Default)]
struct Stage {
    publishers: Vec<Arc<Published>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Stage {
    /// Starts all of them, and waits until they are through.
    fn open(
        &mut self,
        plan: &Plan,
        desk: &Desk,
        clock: Clock,
        sessions: &mut Vec<String>,
    ) -> Result<(), String> {
        for endpoint in &plan.publish {
            let local = local_address(endpoint.address()?);
            let publisher =
                local.and_then(|local| Publisher::new(local, clock, Film::new(&plan.program)));
            let publisher = publisher.map_err(|error| format!("a publisher: {error}"))?;
            let (session, answer) = desk.offer_at_once(endpoint, publisher.offer())?;
            sessions.extend(session);
            let published = Arc::new(Published::default());
            let thread = publisher.start(&answer, Arc::clone(&published), Arc::clone(&self.stop));
            self.threads.push(thread.map_err(|error| {
                let (uri, error) = (endpoint.uri(), in_line(&error));
                format!("POST {uri}: the answer to a publisher does not work: {error}")
            })?);
            self.publishers.push(published);
        }
        let end = Instant::now() + plan.patience;
        let is_through = |one: &Arc<Published>| one.connected.load(Ordering::Relaxed);
        while !self.publishers.iter().all(is_through) {
            if plan.is_stopped() {
                return Err("ended before all publishers were connected".to_owned());
            }
            if Instant::now() >= end {
                let waiting = self.publishers.iter().position(|one| !is_through(one));
                let uri = waiting.map(|which| plan.publish[which].uri());
                return Err(format!(
                    "{}: a publisher was answered, and ICE and DTLS were not done after {} s: look at the \
                     server's log, at its UDP port, and at the addresses that it offers",
                    uri.map(Uri::to_string).unwrap_or_default(),
                    plan.patience.as_secs_f64()
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Publishers whose session is over.
    fn ended(&self) -> usize {
        let is_over = |one: &&Arc<Published>| one.closed.load(Ordering::Relaxed);
        self.publishers.iter().filter(is_over).count()
    }

    fn sum(&self, of: impl Fn(&Published) -> &std::sync::atomic::AtomicU64) -> u64 {
        let each = self.publishers.iter();
        each.map(|one| of(one).load(Ordering::Relaxed)).sum()
    }

    fn close(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that has panicked has said so.
            let _ = thread.join();
        }
    }
}

/// The run, second by second.
struct Seconds {
    started: Instant,
    last: Instant,
    next: Instant,
    before: Totals,
    slept: Duration,
    all: Vec<Second>,
}

impl Seconds {
    fn new(started: Instant) -> Self {
        Self {
            started,
            last: started,
            next: started + Duration::from_secs(1),
            before: Totals::default(),
            slept: Duration::ZERO,
            all: Vec::new(),
        }
    }

    /// What a second came to, if it is over.
    fn tick(&mut self, now: Instant, hall: &mut Hall, failed: usize) -> Option<Second> {
        if now < self.next {
            return None;
        }
        let totals = hall.totals();
        let took = (now - self.last).as_secs_f64();
        let slept = hall.slept().saturating_sub(self.slept).as_secs_f64();
        let second = Second {
            at: now - self.started,
            connected: totals.connected,
            failed,
            packets: totals.packets - self.before.packets,
            bits: (totals.bytes - self.before.bytes) * 8,
            lost: hall.reception().lost,
            latency: hall.take_recent(),
            busy: (1.0 - slept / took).clamp(0.0, 1.0),
        };
        self.next += Duration::from_secs(1);
        (self.last, self.before, self.slept) = (now, totals, hall.slept());
        self.all.push(second);
        Some(second)
    }
}
