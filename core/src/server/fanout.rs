//! What goes out next, by transport: answers first, then in turn repairs, media, and what viewers get
//! alone (reports, and what a burst has left), so that none waits for all of another.

use std::time::Instant;

use crate::egress::{Filled, RepairTally, Tally};
use crate::ids::{PathId, SessionId, TransportId};
use crate::net::{Route, Transmit};
use crate::server::Server;
use crate::server::outbox::Turn;
use crate::stream::audience::Audience;

impl Server {
    pub(super) fn next_transmit(
        &mut self,
        now: Instant,
        transport: TransportId,
        buffer: &mut [u8],
    ) -> Option<Transmit> {
        self.next_answer(transport, buffer)
            .or_else(|| self.next_sealed(now, transport, buffer))
    }

    fn next_sealed(
        &mut self,
        now: Instant,
        transport: TransportId,
        buffer: &mut [u8],
    ) -> Option<Transmit> {
        let mut turn = self.outboxes.get(usize::from(transport.0))?.turn;
        for _ in 0..3 {
            let next = match turn {
                Turn::Repairs => self.next_repairs(now, transport, buffer),
                Turn::Trains => self.next_train(now, transport, buffer),
                Turn::Alone => self.next_alone(now, transport, buffer),
            };
            turn = turn.next();
            if next.is_some() {
                self.outboxes.get_mut(usize::from(transport.0))?.turn = turn;
                return next;
            }
        }
        None
    }

    fn next_answer(&mut self, transport: TransportId, buffer: &mut [u8]) -> Option<Transmit> {
        let outbox = self.outboxes.get_mut(usize::from(transport.0))?;
        while let Some((route, contents)) = outbox.next_answer() {
            let Some(room) = buffer.get_mut(..contents.len()) else {
                continue;
            };
            room.copy_from_slice(&contents);
            return Some(transmit(route, contents.len(), None));
        }
        None
    }

    /// The next train of packets that a viewer lost. They are late already.
    fn next_repairs(
        &mut self,
        now: Instant,
        transport: TransportId,
        buffer: &mut [u8],
    ) -> Option<Transmit> {
        loop {
            let outbox = self.outboxes.get_mut(usize::from(transport.0))?;
            let id = outbox.repairs.pop_front()?;
            let Some(media) = self.sessions.media_mut(id) else {
                continue;
            };
            if media.route.transport != transport {
                // It has moved since, and has its place there.
                continue;
            }
            media.repair_queued = false;
            if let Some((route, filled)) = self.fill(now, id, Part::Repairs, buffer) {
                if filled.more {
                    self.queue_repairs(id);
                }
                return Some(transmit(route, filled.size, filled.segment_size));
            }
        }
    }

    /// A viewer that waits for repairs gets its turn.
    pub(super) fn queue_repairs(&mut self, id: SessionId) {
        let Some(media) = self.sessions.media_mut(id) else {
            return;
        };
        if !media.egress.has_repairs() || std::mem::replace(&mut media.repair_queued, true) {
            return;
        }
        if let Some(outbox) = self.outboxes.get_mut(usize::from(media.route.transport.0)) {
            outbox.repairs.push_back(id);
        }
    }

    /// The next viewer's train, of the path whose turn it is. Paths take turns train by train.
    fn next_train(
        &mut self,
        now: Instant,
        transport: TransportId,
        buffer: &mut [u8],
    ) -> Option<Transmit> {
        loop {
            let outbox = self.outboxes.get_mut(usize::from(transport.0))?;
            let path_id = outbox.paths.pop_front()?;
            if let Some(audience) = self.audience(path_id, transport) {
                audience.on_dequeued();
            }
            while let Some(id) = self.audience(path_id, transport).and_then(|a| a.turn()) {
                let sent = self.fill(now, id, Part::Media, buffer);
                let more = sent.is_some_and(|(_, filled)| filled.more);
                if let Some(audience) = self.audience(path_id, transport).filter(|_| !more) {
                    audience.done();
                }
                if let Some((route, filled)) = sent {
                    let is_due = self
                        .audience(path_id, transport)
                        .is_some_and(Audience::enqueue);
                    let outbox = self.outboxes.get_mut(usize::from(transport.0))?;
                    if is_due {
                        outbox.paths.push_back(path_id);
                    }
                    return Some(transmit(route, filled.size, filled.segment_size));
                }
            }
        }
    }

    fn audience(&mut self, path: PathId, transport: TransportId) -> Option<&mut Audience> {
        self.paths.get_mut(path)?.audience(transport)
    }

    /// A viewer's report that there was no media to send with, or what a burst has left.
    fn next_alone(
        &mut self,
        now: Instant,
        transport: TransportId,
        buffer: &mut [u8],
    ) -> Option<Transmit> {
        loop {
            let outbox = self.outboxes.get_mut(usize::from(transport.0))?;
            let id = outbox.alone.pop_front()?;
            let Some(media) = self.sessions.media_mut(id) else {
                continue;
            };
            if media.route.transport != transport {
                // It has moved since, and has its place there.
                continue;
            }
            media.alone_queued = false;
            if let Some((route, filled)) = self.fill(now, id, Part::Media, buffer) {
                if filled.more {
                    self.queue_alone(id);
                }
                return Some(transmit(route, filled.size, filled.segment_size));
            }
        }
    }

    /// A viewer gets its turn beside its path's.
    pub(super) fn queue_alone(&mut self, id: SessionId) {
        let Some(media) = self.sessions.media_mut(id) else {
            return;
        };
        if std::mem::replace(&mut media.alone_queued, true) {
            return;
        }
        if let Some(outbox) = self.outboxes.get_mut(usize::from(media.route.transport.0)) {
            outbox.alone.push_back(id);
        }
    }

    /// Seals a viewer's next train.
    fn fill(
        &mut self,
        now: Instant,
        id: SessionId,
        part: Part,
        buffer: &mut [u8],
    ) -> Option<(Route, Filled)> {
        let mut tally = Tally::default();
        let mut rests = false;
        let filled = self.sessions.media_mut(id).and_then(|media| {
            let path = self.paths.get(media.path)?;
            let route = media.route;
            let egress = &mut media.egress;
            let rest = egress.rest();
            let filled = match part {
                Part::Media => egress.fill(now, &self.clock, path, buffer, &mut tally),
                Part::Repairs => egress.fill_repairs(now, path, buffer, &mut tally),
            };
            rests = egress.rest() != rest;
            Some((route, filled?))
        });
        self.counters.packets_out += tally.packets;
        self.counters.oversized += tally.oversized;
        self.counters.fell_off += tally.mishaps.fell_off;
        self.count_repairs(&tally.repairs);
        if rests {
            self.schedule(id);
        }
        if tally.mishaps.wants_keyframe {
            self.want_keyframe(now, id);
        }
        filled
    }

    pub(super) fn count_repairs(&mut self, tally: &RepairTally) {
        self.counters.nacked += tally.asked;
        self.counters.nacked_unknown += tally.unknown;
        self.counters.nacked_repeated += tally.repeated;
        self.counters.nacked_over_budget += tally.over_budget;
        self.counters.nacked_overflowed += tally.overflowed;
        self.counters.repairs += tally.sent;
        self.counters.repair_bytes += tally.bytes;
    }
}

/// What of a viewer's is to be sent.
#[derive(Debug, Clone, Copy)]
enum Part {
    Media,
    Repairs,
}

fn transmit(route: Route, size: usize, segment_size: Option<usize>) -> Transmit {
    Transmit {
        source: route.local,
        destination: route.remote,
        size,
        segment_size,
    }
}
