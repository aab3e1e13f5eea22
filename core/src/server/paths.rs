//! The table of paths, by name and by id.

use std::collections::BTreeMap;

use slab::Slab;

use crate::ids::PathId;
use crate::stream::path::Path;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Paths {
    slab: Slab<Path>,
    /// In the order of their names, which is the order of lists.
    names: BTreeMap<String, PathId>,
    generation: u32,
}

impl Paths {
    pub(super) fn by_name(&self, name: &str) -> Option<&Path> {
        self.get(*self.names.get(name)?)
    }

    /// A path with a publisher.
    pub(super) fn live(&self, name: &str) -> Option<&Path> {
        self.by_name(name).filter(|path| path.publisher.is_some())
    }

    pub(super) fn get(&self, id: PathId) -> Option<&Path> {
        self.slab.get(id.index()).filter(|p| p.id == id)
    }

    pub(super) fn get_mut(&mut self, id: PathId) -> Option<&mut Path> {
        self.slab.get_mut(id.index()).filter(|p| p.id == id)
    }

    /// The path in a slot, whatever its generation.
    pub(super) fn in_slot(&self, slot: u32) -> Option<PathId> {
        self.slab.get(slot as usize).map(|p| p.id)
    }

    /// The path of this name, made if there is none.
    pub(super) fn obtain(&mut self, name: &str, transports: usize) -> Option<PathId> {
        if let Some(id) = self.names.get(name) {
            return Some(*id);
        }
        let id = PathId {
            slot: u32::try_from(self.slab.vacant_key()).ok()?,
            generation: self.generation,
        };
        self.generation = self.generation.wrapping_add(1);
        self.slab.insert(Path::new(id, name.to_owned(), transports));
        self.names.insert(name.to_owned(), id);
        Some(id)
    }

    pub(super) fn remove(&mut self, id: PathId) -> Option<Path> {
        self.get(id)?;
        self.release_name(id);
        self.slab.try_remove(id.index())
    }

    /// Frees the name of a path that goes on for its viewers' goodbyes only.
    pub(super) fn release_name(&mut self, id: PathId) {
        let Some(path) = self.slab.get(id.index()).filter(|p| p.id == id) else {
            return;
        };
        if self.names.get(&path.name) == Some(&id) {
            self.names.remove(&path.name);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Path> {
        self.names.values().filter_map(|id| self.get(*id))
    }
}
