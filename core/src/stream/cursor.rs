//! Where one reader stands in a track: before a keyframe, or at a packet of its history.
//!
//! A reader takes what comes in the order in which it arrived. It begins with the first packet of a
//! keyframe's access unit, and with the next keyframe again when it fell behind the history; sound
//! begins with the newest packet.

use std::time::{Duration, Instant};

use crate::media::MediaKind;
use crate::stream::history::{Entry, Position};
use crate::stream::keyframes::REQUEST_INTERVAL;
use crate::stream::track::Track;

/// A keyframe this old still serves a reader that begins. Older ones would begin the picture
/// sooner and then run through more than this much at once.
const KEYFRAME_FRESH: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug)]
pub(crate) struct Cursor {
    place: Place,
    /// When it last said that it waits for a keyframe.
    asked: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// Before a keyframe that arrived at this time or later. Audio: before the next packet.
    Awaits(Instant),
    At {
        /// The next packet to read.
        position: Position,
        /// Packets with lower sequence numbers came before the reader began.
        floor: u64,
    },
}

/// Where a reader stands that does not wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stand {
    pub(crate) position: Position,
    pub(crate) floor: u64,
    /// It stands here for the first time, after it waited.
    pub(crate) begins: bool,
}

/// What happens to readers on the way.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mishaps {
    /// Times a cursor fell off the history.
    pub(crate) fell_off: u64,
    /// The video needs a keyframe to begin or go on, and there is no fresh one.
    pub(crate) wants_keyframe: bool,
}

/// A keyframe that arrived at this time or later is fresh.
fn fresh(now: Instant) -> Instant {
    now.checked_sub(KEYFRAME_FRESH).unwrap_or(now)
}

impl Cursor {
    /// Stands before the newest keyframe if that is fresh, or before the next.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            place: Place::Awaits(fresh(now)),
            asked: None,
        }
    }

    /// Where the reader stands, after it began or fell off the history; `None` while it waits.
    /// Asked for every packet and reader.
    #[inline]
    pub(crate) fn stand(
        &mut self,
        now: Instant,
        track: &Track,
        mishaps: &mut Mishaps,
    ) -> Option<Stand> {
        match self.place {
            Place::At { position, floor } if position >= track.history().tail() => Some(Stand {
                position,
                floor,
                begins: false,
            }),
            Place::At { .. } => {
                mishaps.fell_off += 1;
                self.place = Place::Awaits(fresh(now));
                self.begin(now, fresh(now), track, mishaps)
            }
            Place::Awaits(since) => self.begin(now, since, track, mishaps),
        }
    }

    /// Begins with a keyframe that arrived at `since` or later, or with the newest sound.
    fn begin(
        &mut self,
        now: Instant,
        since: Instant,
        track: &Track,
        mishaps: &mut Mishaps,
    ) -> Option<Stand> {
        let history = track.history();
        let (position, floor) = match track.codec().kind() {
            MediaKind::Video => {
                let Some(keyframe) = track.keyframe().filter(|k| k.arrived >= since) else {
                    // The request or the keyframe may get lost: it is asked for again.
                    if self
                        .asked
                        .is_none_or(|asked| now >= asked + REQUEST_INTERVAL)
                    {
                        self.asked = Some(now);
                        mishaps.wants_keyframe = true;
                    }
                    return None;
                };
                self.asked = None;
                (keyframe.position, keyframe.sequence)
            }
            MediaKind::Audio => {
                let newest = history.next_sequence().checked_sub(1)?;
                (history.find(newest)?.0, newest)
            }
        };
        self.move_to(position, floor);
        Some(Stand {
            position,
            floor,
            begins: true,
        })
    }

    /// The next packet to read is the one at this position, and none is below this number.
    #[inline]
    pub(crate) fn move_to(&mut self, position: Position, floor: u64) {
        self.place = Place::At { position, floor };
    }

    /// The position of the next packet to read, and below which number there is none. `None`: it
    /// waits.
    pub(crate) fn at(&self) -> Option<(Position, u64)> {
        match self.place {
            Place::At { position, floor } => Some((position, floor)),
            Place::Awaits(_) => None,
        }
    }

    /// The next packet to read. It stays that until [`advance`](Self::advance).
    pub(crate) fn peek<'a>(
        &mut self,
        now: Instant,
        track: &'a Track,
        mishaps: &mut Mishaps,
    ) -> Option<&'a Entry> {
        loop {
            let Stand {
                position, floor, ..
            } = self.stand(now, track, mishaps)?;
            let entry = track.history().get(position)?;
            if entry.sequence >= floor {
                return Some(entry);
            }
            self.move_to(position + 1, floor);
        }
    }

    /// The packet that was seen is read.
    pub(crate) fn advance(&mut self) {
        if let Place::At { position, .. } = &mut self.place {
            *position += 1;
        }
    }
}
