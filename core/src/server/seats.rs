//! What connected viewers have, in a place of its own.
//!
//! Every train visits it, viewer after viewer, when most of it has left the caches: so it lies
//! together, in the order of the sessions' slots, and nothing else of a session is visited. It lies in
//! blocks, so nothing is moved: one is made when somebody comes who sits there, and gone with the last.

use crate::ids::SessionId;
use crate::server::sessions::Media;

/// Places of a block.
const BLOCK: usize = 16;

/// Media by the slots of sessions.
#[derive(Debug, Default)]
pub(super) struct Seats {
    /// By slot. `None`: nobody sits there.
    blocks: Vec<Option<Block>>,
}

#[derive(Debug)]
struct Block {
    places: Box<[Option<Seat>]>,
    taken: usize,
}

#[derive(Debug)]
struct Seat {
    id: SessionId,
    media: Media,
}

impl Seats {
    pub(super) fn get(&self, id: SessionId) -> Option<&Media> {
        let block = self.blocks.get(id.index() / BLOCK)?.as_ref()?;
        let seat = block.places.get(id.index() % BLOCK)?.as_ref()?;
        (seat.id == id).then_some(&seat.media)
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Media> {
        let block = self.blocks.get_mut(id.index() / BLOCK)?.as_mut()?;
        let seat = block.places.get_mut(id.index() % BLOCK)?.as_mut()?;
        (seat.id == id).then_some(&mut seat.media)
    }

    /// Whoever had the slot before has left it.
    pub(super) fn take(&mut self, id: SessionId, media: Media) {
        let (number, place) = (id.index() / BLOCK, id.index() % BLOCK);
        if self.blocks.len() <= number {
            self.blocks.resize_with(number + 1, || None);
        }
        let Some(block) = self.blocks.get_mut(number) else {
            return;
        };
        let block = block.get_or_insert_with(|| Block {
            places: (0..BLOCK).map(|_| None).collect(),
            taken: 0,
        });
        if let Some(place) = block.places.get_mut(place) {
            debug_assert!(place.is_none(), "one session has a slot at a time");
            *place = Some(Seat { id, media });
            block.taken += 1;
        }
    }

    pub(super) fn leave(&mut self, id: SessionId) -> Option<Media> {
        let entry = self.blocks.get_mut(id.index() / BLOCK)?;
        let block = entry.as_mut()?;
        let place = block.places.get_mut(id.index() % BLOCK)?;
        let seat = place.take_if(|seat| seat.id == id)?;
        block.taken -= 1;
        if block.taken == 0 {
            *entry = None;
        }
        Some(seat.media)
    }
}
