//! The registered directories, with their locations and values.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::attribution::{Claimant, Value};
use super::directory::{Attempt, Directory};
use super::flight::Flight;
use super::mounts::DeviceId;
use super::nesting::{self, Nested, Nesting};
use super::parts::Slice;
use super::plan::Location;
use crate::Monotonic;

/// A registered directory, or a mount in one that goes on beyond mounts.
#[derive(Debug)]
pub(super) struct DirectoryState {
    pub(super) id: u64,
    pub(super) directory: Directory,
    /// For a mount that was not registered itself: the registered directory that it is in.
    pub(super) mounted_in: Option<u64>,
    pub(super) location: Option<Location>,
    /// Whether it was found at least once.
    pub(super) was_found: bool,
    pub(super) value: Option<Value>,
    pub(super) failure: Option<String>,
    pub(super) last: Option<Attempt>,
    pub(super) flight: Option<Arc<Flight>>,
    /// The watched directory with which it is kept up to date, because it is in that or is the same.
    pub(super) tree_owner: Option<u64>,
    /// Whether the result of the scan under way is known to be too old.
    pub(super) outdated: bool,
    /// The number of scans that ended.
    pub(super) scans: u64,
}

/// All directories of a source.
#[derive(Debug, Default)]
pub(super) struct Directories {
    pub(super) entries: Vec<DirectoryState>,
    /// Their nesting; computed again when one is added, removed or moved.
    nesting: Option<Arc<Nesting>>,
    /// See [`depends_on_roots`](Self::depends_on_roots), as of `nesting`.
    depends_on_roots: bool,
    last_id: u64,
}

impl Directories {
    pub(super) fn add(&mut self, id: u64, directory: Directory, location: Option<Location>) {
        self.insert(id, directory, None, location);
    }

    fn insert(&mut self, id: u64, directory: Directory, mounted_in: Option<u64>, location: Option<Location>) {
        let was_found = location.is_some();
        self.entries.push(DirectoryState {
            id,
            directory,
            mounted_in,
            location,
            was_found,
            value: None,
            failure: None,
            last: None,
            flight: None,
            tree_owner: None,
            outdated: false,
            scans: 0,
        });
        self.nesting = None;
    }

    /// Removes the directory with this id, and the mounts in it.
    pub(super) fn remove(&mut self, id: u64) {
        self.entries.retain(|entry| entry.id != id && entry.mounted_in != Some(id));
        self.nesting = None;
    }

    pub(super) fn get(&self, id: u64) -> Option<&DirectoryState> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    pub(super) fn get_mut(&mut self, id: u64) -> Option<&mut DirectoryState> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }

    /// Stores the value of a directory.
    pub(super) fn learn(&mut self, id: u64, value: Value) {
        let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) else { return };
        let Some(location) = &entry.location else { return };
        let mut value = value;
        if location.spot.location() != value.spot.location() {
            value.moved(location.spot.location());
        }
        // The cuts of the nesting depend on the places of the values.
        let is_alike = |known: &Value| known.spot == value.spot && known.places().eq(value.places());
        if !entry.value.as_ref().is_some_and(is_alike) {
            self.nesting = None;
        }
        (entry.value, entry.failure) = (Some(value), None);
    }

    /// Sets the current location of a directory, and of the mounts in it that belong to it.
    pub(super) fn set_location(&mut self, id: u64, location: Option<Location>, mounted: Vec<(Directory, Location)>) {
        let Some(entry) = self.get_mut(id) else { return };
        let path = entry.directory.path.clone();
        let mut has_moved = entry.set_location(location);
        let known = self.entries.len();
        self.entries.retain(|entry| {
            entry.mounted_in != Some(id) || mounted.iter().any(|(other, _)| other.path == entry.directory.path)
        });
        has_moved |= self.entries.len() != known;
        if has_moved {
            self.nesting = None;
        }
        for (directory, location) in mounted {
            let is_it =
                |entry: &&mut DirectoryState| entry.mounted_in == Some(id) && entry.directory.path == directory.path;
            match self.entries.iter_mut().find(is_it) {
                Some(entry) => {
                    if entry.set_location(Some(location)) {
                        self.nesting = None;
                    }
                }
                None => {
                    let inner = self.id_within(&path);
                    self.insert(inner, directory, Some(id), Some(location));
                }
            }
        }
    }

    /// Returns an id for a mount in a directory. Among directories that are the same, the one with the lowest id has the entries
    /// visible in both: a registered one, or else the mount in the innermost directory.
    fn id_within(&mut self, path: &Path) -> u64 {
        self.last_id = self.last_id.saturating_add(1);
        let depth = path.components().count().min(0xFFFF) as u64;
        (1 << 63) | (0xFFFF_u64.saturating_sub(depth) << 47) | self.last_id
    }

    /// Returns how the directories lie in each other.
    pub(super) fn nesting(&mut self) -> Arc<Nesting> {
        if let Some(nesting) = &self.nesting {
            return Arc::clone(nesting);
        }
        let key = |location: &Location| (location.target, location.device);
        let nested = self.entries.iter().map(|entry| {
            let (location, value) = (entry.location.as_ref()?, entry.value.as_ref());
            let earlier = value.filter(|value| value.spot != location.spot).map(|value| &*value.spot);
            let pieces = value.map(Value::places).into_iter().flatten().collect();
            Some(Nested { key: key(location), id: entry.id, spot: &location.spot, earlier, pieces })
        });
        let nesting = Arc::new(Nesting::new(nested));
        self.outdate_unknown(&nesting);
        self.depends_on_roots = self.find_dependence();
        self.nesting = Some(Arc::clone(&nesting));
        nesting
    }

    /// Invalidates directories with globs if a new directory in them counts entries that these globs may have left out.
    fn outdate_unknown(&mut self, nesting: &Nesting) {
        let is_unknown = |number: usize, entry: &DirectoryState| {
            let Some(outer) = entry.claimant().filter(|_| !entry.directory.exclude.is_empty()) else { return false };
            let inside =
                nesting.with_all_in(number).skip(1).filter_map(|inner| self.entries.get(nesting.place(inner)?));
            let mut late = inside.filter_map(|inner| {
                let location = inner.location.as_ref()?;
                let is_apart = outer.value?.pieces.iter().any(|piece| piece.location == location.spot.location());
                (!is_apart).then_some((location, inner))
            });
            late.any(|(location, inner)| {
                let at = location.spot.location();
                let inner = Claimant { spot: &location.spot, value: None, exclude: &inner.directory.exclude };
                let below = at.strip_prefix(outer.spot.location());
                outer.spot.sees(at)
                    && below.is_ok_and(|below| !outer.exclude.leaves_out(below))
                    && !outer.has_counted(&inner, at)
            })
        };
        let unknown: Vec<usize> = nesting
            .iter()
            .filter(|(number, place, _)| self.entries.get(*place).is_some_and(|entry| is_unknown(*number, entry)))
            .map(|(_, place, _)| place)
            .collect();
        for place in unknown {
            if let Some(entry) = self.entries.get_mut(place) {
                entry.invalidate();
            }
        }
    }

    /// Whether the nesting depends on the paths of mounted directories in their file systems: when one of those
    /// is renamed, no event reports it.
    pub(super) fn depends_on_roots(&mut self) -> bool {
        self.nesting();
        self.depends_on_roots
    }

    fn find_dependence(&self) -> bool {
        let mut on: HashMap<DeviceId, (u32, bool, bool)> = HashMap::new();
        for location in self.entries.iter().filter_map(|entry| entry.location.as_ref()) {
            let (mount, several, bound) = on.entry(location.device).or_insert((location.mount, false, false));
            *several |= *mount != location.mount;
            *bound |= location.is_bound;
        }
        on.values().any(|(_, several, bound)| *several && *bound)
    }

    /// Returns the directories of a file system for its parts, sorted.
    pub(super) fn slices(&self, target: usize) -> Vec<Slice<'_>> {
        let here = self.entries.iter().filter(|entry| entry.is_at(Some(target)));
        let mut slices: Vec<Slice<'_>> = here.filter_map(DirectoryState::slice).collect();
        slices.sort_by(|a, b| nesting::order((a.spot, a.id), (b.spot, b.id)));
        slices
    }

    /// Returns how many directories have no location: they were removed, or their file system was unmounted, or they are optional
    /// and missing.
    pub(super) fn unresolved(&self) -> u64 {
        let may_be_missing = |entry: &&DirectoryState| entry.was_found || entry.directory.optional;
        self.entries.iter().filter(may_be_missing).filter(|entry| entry.location.is_none()).count() as u64
    }

    /// Whether a directory is to be looked up: its scan is due, or it has no location.
    pub(super) fn is_any_due(&self, now: Monotonic) -> bool {
        self.entries.iter().any(|entry| entry.is_to_be_looked_up(now))
    }

    /// Forgets the values of directories on mounts that may hang and were replaced by others.
    pub(super) fn forget_unseen_on(&mut self, mounts: &[u32]) {
        let is_there =
            |entry: &DirectoryState| entry.location.as_ref().is_some_and(|h| !h.safe && mounts.contains(&h.mount));
        for entry in self.entries.iter_mut().filter(|entry| is_there(entry)) {
            entry.clear();
        }
    }
}

impl DirectoryState {
    /// Marks its value as too old: the next tick scans it again.
    pub(super) fn invalidate(&mut self) {
        self.outdated = self.flight.is_some();
        if let Some(last) = &mut self.last {
            last.outdated = true;
        }
    }

    /// Forgets its value.
    pub(super) fn clear(&mut self) {
        self.outdated = self.flight.is_some();
        self.value = None;
        self.failure = None;
        self.last = None;
    }

    pub(super) fn has_data(&self) -> bool {
        self.value.is_some()
    }

    /// Sets its current location. If it differs, the value is forgotten, and `true` is returned.
    fn set_location(&mut self, location: Option<Location>) -> bool {
        let same = match (&self.location, &location) {
            (Some(old), Some(new)) => old.is_same(new),
            _ => false,
        };
        let key = |location: &Location| (location.target, Arc::clone(&location.spot));
        let has_moved = self.location.as_ref().map(key) != location.as_ref().map(key);
        self.was_found |= location.is_some();
        self.location = location;
        if !same {
            self.clear();
        }
        if let (Some(value), Some(location)) = (&mut self.value, &self.location)
            && value.spot.location() != location.spot.location()
        {
            value.moved(location.spot.location());
        }
        has_moved
    }

    /// Whether it is on the file system at this place.
    pub(super) fn is_at(&self, place: Option<usize>) -> bool {
        place.is_some() && self.location.as_ref().map(|location| location.target) == place
    }

    pub(super) fn is_due(&self, now: Monotonic) -> bool {
        self.flight.is_none() && self.last.is_none_or(|last| last.is_over(&self.directory, now))
    }

    /// Whether its path is to be resolved again: before a scan, and at each tick if it is kept up to date, as no
    /// event reports that its path leads elsewhere. The location of a mount is known from the mount table.
    pub(super) fn is_to_be_looked_up(&self, now: Monotonic) -> bool {
        self.mounted_in.is_none() && (self.location.is_none() || self.tree_owner.is_some() || self.is_due(now))
    }

    /// Returns it with its value, if it has a location and one.
    fn claimant(&self) -> Option<Claimant<'_>> {
        let value = self.value.as_ref()?;
        Some(Claimant { spot: &value.spot, value: Some(value), exclude: &self.directory.exclude })
    }

    fn slice(&self) -> Option<Slice<'_>> {
        let location = self.location.as_ref()?;
        Some(Slice {
            id: self.id,
            name: &self.directory.name,
            path: &location.path,
            spot: self.value.as_ref().map_or(&location.spot, |value| &value.spot),
            value: self.value.as_ref(),
            failure: self.failure.as_deref(),
            watched: self.directory.watched,
            exclude: &self.directory.exclude,
        })
    }
}
