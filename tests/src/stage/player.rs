//! A player without a decoder: what of a track can be shown, and when.
//!
//! A frame can be shown when it is complete and the one before was shown, or when it is a complete
//! keyframe. The player shows it a fixed while after it was made, or as soon after that as it can,
//! as a player does whose jitter buffer allows for repairs. When a frame is not there and its time
//! is long past, it asks for a keyframe, and asks again as long as that does not come.
//!
//! A freeze is what the W3C calls one (webrtc-stats, `freezeCount`): between two frames shown lies
//! at least the larger of three times the average of the last 30 such intervals and that average
//! plus 150 ms. One that has not ended counts too.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::film::Films;
use super::reel::Reel;
use crate::client::media::Name;

/// How many intervals the average is taken of.
const INTERVALS: usize = 30;

/// How much longer than the average a freeze lasts at least.
const LONGER: Duration = Duration::from_millis(150);

/// How a player behaves.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How long after it was made a frame is shown.
    pub playout: Duration,
    /// How long after it was made a frame is waited for until a keyframe is asked for, and how
    /// long that is waited for.
    pub give_up: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Player {
    patience: Patience,
    /// Since when it plays, or will.
    since: Instant,
    /// The frame to be shown next, (source, frame).
    next: Option<(u32, u32)>,
    /// Complete keyframes that were not shown.
    keyframes: BTreeSet<(u32, u32)>,
    /// When the last frame could be shown, and when it was.
    last: Option<(Instant, Instant)>,
    intervals: VecDeque<Duration>,
    asked: Option<Instant>,
    /// When the frames were made that were shown.
    pub shown: Vec<Instant>,
    /// The freezes: when each began, and how long it was.
    pub freezes: Vec<(Instant, Duration)>,
    /// When it asked for a keyframe.
    pub requests: Vec<Instant>,
}

impl Player {
    /// A player that begins.
    #[must_use]
    pub fn new(now: Instant, patience: Patience) -> Self {
        Self {
            patience,
            since: now,
            next: None,
            keyframes: BTreeSet::new(),
            last: None,
            intervals: VecDeque::new(),
            asked: None,
            shown: Vec::new(),
            freezes: Vec::new(),
            requests: Vec::new(),
        }
    }

    /// A frame is complete.
    pub fn on_complete(&mut self, name: &Name) {
        if name.key {
            self.keyframes.insert((name.source, name.frame));
        }
    }

    /// Shows what can be shown.
    pub fn advance(&mut self, films: &Films, reel: &Reel) {
        loop {
            let in_turn = self.next.filter(|(source, frame)| {
                let take = reel.take(*source);
                take.is_some_and(|take| take.complete(*frame).is_some())
            });
            let keyframe = || {
                let later = self.keyframes.iter();
                later
                    .copied()
                    .find(|key| self.next.is_none_or(|next| *key > next))
            };
            let Some(frame) = in_turn.or_else(keyframe) else {
                return;
            };
            self.show(films, reel, frame);
        }
    }

    fn show(&mut self, films: &Films, reel: &Reel, (source, frame): (u32, u32)) {
        let made = films[&source].shots[frame as usize].at;
        let complete = reel.take(source).and_then(|take| take.complete(frame));
        let complete = complete.expect("a frame that is complete");
        let could = self.last.map_or(complete, |(could, _)| complete.max(could));
        let at = could.max(made + self.patience.playout);
        let at = self.last.map_or(at, |(_, shown)| at.max(shown));
        if let Some((_, before)) = self.last {
            self.on_interval(before, at);
        }
        self.last = Some((could, at));
        self.next = Some((source, frame + 1));
        self.keyframes = self.keyframes.split_off(&(source, frame + 1));
        self.asked = None;
        self.shown.push(made);
    }

    fn on_interval(&mut self, from: Instant, to: Instant) {
        let interval = to - from;
        if self.freezes(interval) {
            self.freezes.push((from, interval));
        }
        self.intervals.push_back(interval);
        if self.intervals.len() > INTERVALS {
            self.intervals.pop_front();
        }
    }

    fn freezes(&self, interval: Duration) -> bool {
        let Ok(count @ 1..) = u32::try_from(self.intervals.len()) else {
            return false;
        };
        let average = self.intervals.iter().sum::<Duration>() / count;
        interval >= (average * 3).max(average + LONGER)
    }

    /// Whether a keyframe is to be asked for now.
    pub fn asks(&mut self, now: Instant, films: &Films, reel: &Reel) -> bool {
        let Some((newest, take)) = reel.takes().last() else {
            return false;
        };
        let since = match self.next {
            None => Some(self.since),
            Some((source, frame)) => {
                let shot = films[&source].shots.get(frame as usize);
                let passed = (newest, take.latest()) > (source, frame);
                shot.filter(|_| passed).map(|shot| shot.at)
            }
        };
        // A source whose last frame was shown is followed by one that begins with a keyframe.
        let followed = self.next.is_some_and(|(source, _)| source < newest);
        let since = since.or_else(|| followed.then(|| films[&newest].shots[0].at));
        let Some(since) = since else {
            return false;
        };
        if now < self.asked.map_or(since, |asked| asked.max(since)) + self.patience.give_up {
            return false;
        }
        self.asked = Some(now);
        self.requests.push(now);
        true
    }

    /// The end of the film: a picture that stands still now is a freeze.
    pub fn finish(&mut self, now: Instant) {
        if let Some((_, shown)) = self.last
            && let interval = now.saturating_duration_since(shown)
            && self.freezes(interval)
        {
            self.freezes.push((shown, interval));
        }
    }
}

#[cfg(test)]
mod tests {
    use str0m::format::Codec;
    use str0m::media::MediaKind;

    use super::*;
    use crate::client::media::Source;
    use crate::stage::film::Film;
    use crate::stage::reel::tests::received;

    const FRAME: Duration = Duration::from_millis(33);

    /// A player that has been delivered these frames of a film of a keyframe and deltas, each on
    /// time, 100 ms after it was made.
    fn watch(frames: u32, key_at: &[u32], come: impl Fn(u32) -> bool) -> (Films, Reel, Player) {
        let start = Instant::now();
        let mut source = Source::numbered(1, Codec::Vp8, 100, 0);
        let mut film = Film::new(0, Codec::Vp8, 100);
        let mut reel = Reel::new(0, MediaKind::Video);
        let mut packets = Vec::new();
        for n in 0..frames {
            let frame = match key_at.contains(&n) {
                true => source.keyframe(2, 60),
                false => source.delta(2, 60),
            };
            film.note(start + FRAME * n, &frame);
            packets.push(frame);
        }
        let films = Films::from([(1, film)]);
        let patience = Patience {
            playout: Duration::from_millis(200),
            give_up: Duration::from_millis(400),
        };
        let mut player = Player::new(start, patience);
        for (n, frame) in (0..).zip(&packets).filter(|(n, _)| come(*n)) {
            let at = start + FRAME * n + Duration::from_millis(100);
            for packet in frame {
                if let Some(name) = reel.deliver(&films, &received(packet, at)).unwrap() {
                    player.on_complete(&name);
                }
            }
            player.advance(&films, &reel);
        }
        (films, reel, player)
    }

    #[test]
    fn what_is_complete_is_shown_and_nothing_freezes() {
        let (_, _, player) = watch(60, &[0], |_| true);
        assert_eq!((player.shown.len(), player.freezes.len()), (60, 0));
        assert!(player.requests.is_empty());
    }

    #[test]
    fn a_missing_frame_freezes_the_picture_until_a_keyframe() {
        let (films, reel, mut player) = watch(60, &[0, 40], |n| n != 20);
        assert_eq!(player.shown.len(), 40);
        let began = films[&1].shots[19].at + player.patience.playout;
        assert_eq!(player.freezes, [(began, FRAME * 21)]);
        let later = films[&1].shots[59].at + Duration::from_secs(2);
        assert!(!player.asks(later, &films, &reel), "nothing is missing");
    }

    #[test]
    fn a_keyframe_is_asked_for_in_time_and_again() {
        let (films, reel, mut player) = watch(60, &[0], |n| n != 20);
        assert_eq!((player.shown.len(), player.freezes.len()), (20, 0));
        let missing = films[&1].shots[20].at;
        let give_up = player.patience.give_up;
        assert!(!player.asks(missing + give_up / 2, &films, &reel));
        assert!(player.asks(missing + give_up, &films, &reel));
        assert!(!player.asks(missing + give_up, &films, &reel));
        assert!(player.asks(missing + give_up * 2, &films, &reel));
        player.finish(films[&1].shots[59].at);
        assert_eq!(player.freezes.len(), 1, "it has not ended");
    }
}
