//! Keyframe requests of all viewers of a track, merged into few for its publisher.

use std::time::{Duration, Instant};

/// At most one request goes upstream in this time. Shorter brings a picture back sooner when a
/// keyframe is lost; longer saves the publisher bits, for a keyframe costs several times a frame.
pub(crate) const REQUEST_INTERVAL: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct KeyframeRequests {
    /// Before this none goes upstream.
    next: Option<Instant>,
    /// When one falls due that was asked for and not sent.
    due: Option<Instant>,
}

impl KeyframeRequests {
    /// Somebody needs a keyframe. It falls due at once, or when the last request is old enough.
    pub(crate) fn want(&mut self, now: Instant) {
        let at = self.next.map_or(now, |next| next.max(now));
        self.due.get_or_insert(at);
    }

    /// When a request is to go upstream.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes the request that is due: it is to be sent upstream now.
    #[must_use]
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        self.due = None;
        self.next = Some(now + REQUEST_INTERVAL);
        true
    }

    /// A keyframe arrived: whoever asked before has it.
    pub(crate) fn on_keyframe(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the beginning"
    )]
    fn fifty_viewers_make_one_request_and_later_ones_wait() {
        let now = Instant::now();
        let mut requests = KeyframeRequests::default();
        let mut sent = 0;
        for _ in 0..50 {
            requests.want(now);
            sent += u32::from(requests.take(now));
        }
        assert_eq!(sent, 1);
        assert_eq!(requests.due(), Some(now + REQUEST_INTERVAL));
        assert!(!requests.take(now + REQUEST_INTERVAL / 2));
        assert!(requests.take(now + REQUEST_INTERVAL));
        assert_eq!(requests.due(), None);
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "any instant will do as the beginning"
    )]
    fn a_keyframe_settles_what_was_asked_before_it() {
        let now = Instant::now();
        let mut requests = KeyframeRequests::default();
        requests.want(now);
        assert!(requests.take(now));
        requests.want(now);
        requests.on_keyframe();
        assert_eq!(requests.due(), None);
    }

    proptest! {
        #[test]
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant will do as the beginning"
        )]
        fn requests_keep_their_distance_and_none_is_lost(
            acts in prop::collection::vec((0_u64..400, 0_u8..8), 1..200),
        ) {
            let mut now = Instant::now();
            let mut requests = KeyframeRequests::default();
            let (mut wanted, mut sent) = (None, None);
            for (ms, act) in acts {
                now += Duration::from_millis(ms);
                let next = sent.map(|sent: Instant| sent + REQUEST_INTERVAL);
                match act {
                    0..=2 => {
                        requests.want(now);
                        wanted.get_or_insert(now);
                    }
                    3 => {
                        requests.on_keyframe();
                        wanted = None;
                    }
                    _ => {
                        let may = wanted.is_some() && next.is_none_or(|next| next <= now);
                        prop_assert_eq!(requests.take(now), may);
                        if may {
                            (wanted, sent) = (None, Some(now));
                        }
                    }
                }
                let next = sent.map(|sent| sent + REQUEST_INTERVAL);
                let due = wanted.map(|wanted| next.map_or(wanted, |next| next.max(wanted)));
                prop_assert_eq!(requests.due(), due);
            }
        }
    }
}
