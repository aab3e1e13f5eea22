//! A path: what is published under a name, and who watches it.

use std::time::{Duration, Instant};

use crate::config::HistoryLimits;
use crate::ids::{PathId, SessionId, TransportId};
use crate::media::{Codec, MediaKind};
use crate::stats::EndReason;
use crate::stream::audience::Audience;
use crate::stream::keyframes::KeyframeRequests;
use crate::stream::track::Track;

/// What one train less is worth for each viewer: about what it costs to send.
const HOLD_PER_VIEWER: Duration = Duration::from_micros(5);

/// Less is not waited: drivers sleep for milliseconds.
const HOLD_MIN: Duration = Duration::from_micros(500);

/// See the module.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) id: PathId,
    pub(crate) name: String,
    /// Whose packets are taken.
    pub(crate) publisher: Option<SessionId>,
    pub(crate) video: Option<Track>,
    pub(crate) audio: Option<Track>,
    /// Requests for keyframes of the video track.
    pub(crate) keyframes: KeyframeRequests,
    /// How far our clock is ahead of the publisher's, wrapping, in NTP's fixed point; from when all
    /// tracks have a sender report of it.
    ahead: Option<u64>,
    /// When the path ends, if nobody publishes until then, and what its viewers are told.
    pub(crate) ends: Option<(Instant, EndReason)>,
    /// There are packets that the audiences were not told of, and until when.
    pub(crate) held_until: Option<Instant>,
    /// By transport.
    audiences: Vec<Audience>,
    /// The program itself, as often as it watches.
    pub(crate) watchers: Audience,
}

/// The codecs of a path's tracks.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Codecs {
    pub(crate) video: Option<Codec>,
    pub(crate) audio: Option<Codec>,
}

impl Codecs {
    /// `None`: there is none, or more than one of a kind.
    pub(crate) fn from_list(codecs: &[Codec]) -> Option<Self> {
        let mut tracks = Self::default();
        for codec in codecs {
            let track = match codec.kind() {
                MediaKind::Video => &mut tracks.video,
                MediaKind::Audio => &mut tracks.audio,
            };
            if track.replace(codec.clone()).is_some() {
                return None;
            }
        }
        (!codecs.is_empty()).then_some(tracks)
    }
}

impl Path {
    pub(crate) fn new(id: PathId, name: String, transports: usize) -> Self {
        let mut audiences = Vec::new();
        audiences.resize_with(transports, Audience::default);
        Self {
            id,
            name,
            publisher: None,
            video: None,
            audio: None,
            keyframes: KeyframeRequests::default(),
            ahead: None,
            ends: None,
            held_until: None,
            audiences,
            watchers: Audience::default(),
        }
    }

    pub(crate) fn track(&self, kind: MediaKind) -> Option<&Track> {
        match kind {
            MediaKind::Video => self.video.as_ref(),
            MediaKind::Audio => self.audio.as_ref(),
        }
    }

    pub(crate) fn track_mut(&mut self, kind: MediaKind) -> Option<&mut Track> {
        match kind {
            MediaKind::Video => self.video.as_mut(),
            MediaKind::Audio => self.audio.as_mut(),
        }
    }

    /// Video first.
    pub(crate) fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.video.iter().chain(&self.audio)
    }

    /// Names of the codecs of its tracks, video first.
    pub(crate) fn codec_names(&self) -> Vec<String> {
        self.tracks().map(|t| t.codec().to_string()).collect()
    }

    /// Whether whoever watches what was published so far can watch these codecs. Nobody watches a
    /// path on which nothing was published.
    pub(crate) fn goes_on_with(&self, codecs: &Codecs) -> bool {
        let is_new = self.video.is_none() && self.audio.is_none();
        is_new
            || (succeeds(self.video.as_ref(), codecs.video.as_ref())
                && succeeds(self.audio.as_ref(), codecs.audio.as_ref()))
    }

    /// A publisher of these codecs takes over, with which the path goes on. Tracks are made once
    /// and never replaced: viewers' packet indices count on it.
    pub(crate) fn begin(&mut self, publisher: SessionId, codecs: Codecs, limits: HistoryLimits) {
        debug_assert!(self.goes_on_with(&codecs));
        self.publisher = Some(publisher);
        self.ends = None;
        self.ahead = None;
        self.keyframes = KeyframeRequests::default();
        for (track, codec) in [
            (&mut self.video, codecs.video),
            (&mut self.audio, codecs.audio),
        ] {
            match (track, codec) {
                (Some(track), Some(codec)) => track.begin(codec),
                (track, Some(codec)) => *track = Some(Track::new(codec, limits)),
                (_, None) => {}
            }
        }
    }

    /// A sender report of the publisher on one of its tracks came when our clock said `ntp_now`.
    ///
    /// Timestamps are mapped to NTP time by these reports from when all tracks have one, so that
    /// they agree with each other. The publisher's clock is shifted by what is between it and ours
    /// at that moment: so viewers are told the time of one clock, whoever publishes.
    pub(crate) fn handle_sender_report(
        &mut self,
        kind: MediaKind,
        received: Instant,
        ntp_now: u64,
        (ntp, timestamp): (u64, u32),
    ) {
        if let Some(track) = self.track_mut(kind) {
            track.handle_sender_report(received, ntp, timestamp);
        }
        if self.ahead.is_none() && self.tracks().all(Track::has_sender_report) {
            self.ahead = Some(ntp_now.wrapping_sub(ntp));
        }
    }

    /// NTP time and RTP timestamp of this moment on a track, where our clock says `ntp_now`.
    pub(crate) fn moment(&self, now: Instant, ntp_now: u64, kind: MediaKind) -> Option<(u64, u32)> {
        self.track(kind)?.moment(now, ntp_now, self.ahead)
    }

    pub(crate) fn audience(&mut self, transport: TransportId) -> Option<&mut Audience> {
        self.audiences.get_mut(usize::from(transport.0))
    }

    pub(crate) fn audiences(&mut self) -> impl Iterator<Item = (TransportId, &mut Audience)> {
        (0..).map(TransportId).zip(&mut self.audiences)
    }

    /// How long a part of a frame waits for the rest: for longer where a train less saves more.
    /// `None`: it does not.
    pub(crate) fn hold(&self, max: Duration) -> Option<Duration> {
        let viewers = self.audiences.iter().map(Audience::len).sum::<usize>();
        let viewers = u32::try_from(viewers).unwrap_or(u32::MAX);
        let hold = HOLD_PER_VIEWER.saturating_mul(viewers).min(max);
        (hold >= HOLD_MIN).then_some(hold)
    }

    pub(crate) fn viewer_count(&self) -> usize {
        let audiences = self.audiences.iter().chain([&self.watchers]);
        audiences.map(Audience::len).sum()
    }
}

/// Whether whoever plays the old track can play one of this codec in its place.
fn succeeds(old: Option<&Track>, new: Option<&Codec>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => old.goes_on_with(new),
        (old, new) => old.is_none() && new.is_none(),
    }
}
