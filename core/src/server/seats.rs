//! What connected viewers have, in a place of its own.
//!
//! Every train visits it, viewer after viewer, when most of it has left the caches: so it lies
//! together, in the order of the sessions' slots, and nothing else of a session is visited. It
//! grows by blocks, so nothing is moved; places are taken again.

use crate::ids::SessionId;
use crate::server::sessions::Media;

/// Places of a block.
const BLOCK: usize = 16;

/// Media by the slots of sessions.
#[derive(Debug, Default)]
pub(super) struct Seats {
    blocks: Vec<Box<[Option<Seat>]>>,
}

#[derive(Debug)]
struct Seat {
    id: SessionId,
    media: Media,
}

impl Seats {
    pub(super) fn get(&self, id: SessionId) -> Option<&Media> {
        let block = self.blocks.get(id.index() / BLOCK)?;
        let seat = block.get(id.index() % BLOCK)?.as_ref()?;
        (seat.id == id).then_some(&seat.media)
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Media> {
        let seat = self.place_mut(id)?.as_mut()?;
        (seat.id == id).then_some(&mut seat.media)
    }

    /// Whoever had the slot before has left it.
    pub(super) fn take(&mut self, id: SessionId, media: Media) {
        while self.blocks.len() <= id.index() / BLOCK {
            self.blocks.push((0..BLOCK).map(|_| None).collect());
        }
        if let Some(place) = self.place_mut(id) {
            debug_assert!(place.is_none(), "one session has a slot at a time");
            *place = Some(Seat { id, media });
        }
    }

    pub(super) fn leave(&mut self, id: SessionId) -> Option<Media> {
        let place = self.place_mut(id)?;
        let seat = place.take_if(|seat| seat.id == id)?;
        Some(seat.media)
    }

    fn place_mut(&mut self, id: SessionId) -> Option<&mut Option<Seat>> {
        let block = self.blocks.get_mut(id.index() / BLOCK)?;
        block.get_mut(id.index() % BLOCK)
    }
}
