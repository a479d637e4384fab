//! Attributes bytes to directories, from the results of scans of different times.
//!
//! A scan measures pieces of a tree: a piece ends at the places below which another set of directories sees the entries
//! ([`Nesting`](super::nesting::Nesting)). Each directory keeps all pieces that are visible in it, with their sizes, even if
//! they were attributed to another one then. So when a directory is registered, removed, or scanned by itself, only the owner
//! of each piece is determined anew: the innermost directory in which it is visible. Each place has one owner, and nothing is
//! subtracted from a directory that did not count it.
//!
//! If a directory becomes the owner of the place of a piece but not all entries of the piece are visible in it, the rest stays
//! with the owner of the piece.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::nesting::{self, Spot};
use super::sample::Watch;
use super::scan::{Globs, Usage};
use crate::Monotonic;

/// The result of the last successful scan of a directory.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// The usage of the pieces that were its own.
    pub(super) usage: Usage,
    /// All pieces visible in it, sorted by their places.
    pub(super) pieces: Arc<[Piece]>,
    /// Its place, and the places in it that were hidden.
    pub(super) spot: Arc<Spot>,
    /// See [`Part::scope`](super::Part::scope).
    pub(super) scope: u64,
    /// The time of the usage.
    pub(super) at: Monotonic,
    pub(super) took: Duration,
    pub(super) watch: Option<Watch>,
}

/// The size of a place of the file system, with everything below it up to the next places that were measured separately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) location: PathBuf,
    pub(super) bytes: u64,
    /// Whether it was the directory's own when it was scanned: the place was visible in no other directory in it.
    pub(super) is_own: bool,
}

impl Value {
    /// Changes the path of the directory in its file system, after it was renamed.
    pub(super) fn moved(&mut self, to: &Path) {
        let from = Arc::clone(&self.spot);
        let moved = |piece: &Piece| Piece {
            location: nesting::move_below(&piece.location, from.location(), to),
            ..piece.clone()
        };
        self.pieces = self.pieces.iter().map(moved).collect();
        self.spot = Arc::new(from.moved(to));
    }

    /// Returns the places of its pieces.
    pub(super) fn places(&self) -> impl Iterator<Item = &Path> {
        self.pieces.iter().map(|piece| piece.location.as_path())
    }

    /// Returns the piece with which a place was measured.
    fn piece_around(&self, at: &Path) -> Option<&Piece> {
        let find = |at: &Path| self.pieces.binary_search_by(|piece| (*piece.location).cmp(at)).ok();
        self.pieces.get(at.ancestors().find_map(find)?)
    }
}

/// A directory with its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claimant<'a> {
    pub(super) spot: &'a Spot,
    pub(super) value: Option<&'a Value>,
    /// The globs of entries that are left out of it.
    pub(super) exclude: &'a Globs,
}

impl Claimant<'_> {
    /// Whether its value contains everything that `inner` counts at a place that was not measured separately: then the bytes of
    /// `inner` can be subtracted.
    pub(super) fn has_counted(&self, inner: &Self, at: &Path) -> bool {
        let below = at.strip_prefix(self.spot.location());
        let leaves_out_more = || !self.exclude.is_empty() && !self.exclude.leaves_out_no_more_than(inner.exclude);
        self.spot.sees(at) && below.is_ok_and(|below| !self.exclude.leaves_out(below)) && !leaves_out_more()
    }
}

/// The bytes attributed to a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) bytes: u64,
    /// Its own bytes, and those of the directories in it.
    pub(super) inclusive: u64,
    /// Whether one scan measured these bytes. They are combined from several if directories in it were added or removed since.
    pub(super) is_measured: bool,
    /// Another one that is the same directory, to which the entries visible in both are attributed.
    pub(super) same_as: Option<usize>,
}

/// A piece with its current owner.
struct Claim<'a> {
    location: &'a Path,
    of: usize,
    bytes: u64,
    /// The claims around it in which it was counted too.
    within: Vec<usize>,
}

/// Returns the own bytes of directories that are sorted by [`nesting::order`] with the spots of their values. `parents`
/// has for each the one that it lies directly in.
pub(super) fn attribute(all: &[Claimant<'_>], parents: &[Option<usize>]) -> Vec<Own> {
    let mut owns = vec![Own::default(); all.len()];
    let owners = Owners::new(all);
    let mut claims: Vec<Claim<'_>> = Vec::new();
    for ((of, claimant), own) in all.iter().enumerate().zip(&mut owns) {
        let Some(value) = claimant.value else { continue };
        own.is_measured = true;
        let rests = owners.rests(of, value);
        for piece in value.pieces.iter() {
            let is_own = owners.of(&piece.location) == Some(of);
            let has_rest = rests.contains(&&*piece.location);
            own.is_measured &= is_own == piece.is_own && (is_own || !has_rest);
            if is_own || has_rest {
                claims.push(Claim { location: &piece.location, of, bytes: piece.bytes, within: Vec::new() });
            }
        }
        own.same_as = owners.of(claimant.spot.location()).filter(|owner| {
            *owner != of && all.get(*owner).is_some_and(|other| other.spot.location() == claimant.spot.location())
        });
    }
    claims.sort_by(|a, b| a.location.cmp(b.location).then(a.of.cmp(&b.of)));
    find_around(all, &mut claims);
    // Those inside come after those they are in.
    for nth in (0..claims.len()).rev() {
        let Some(claim) = claims.get(nth) else { continue };
        let (of, bytes) = (claim.of, claim.bytes);
        for around in claim.within.clone() {
            let Some(around) = claims.get_mut(around) else { continue };
            around.bytes = around.bytes.saturating_sub(bytes);
            if let Some(own) = owns.get_mut(around.of) {
                own.is_measured = false;
            }
        }
        if let Some(own) = owns.get_mut(of) {
            own.bytes = own.bytes.saturating_add(bytes);
        }
    }
    add_up(&mut owns, parents);
    owns
}

/// Finds the claims around each one that contain its bytes too.
fn find_around(all: &[Claimant<'_>], claims: &mut [Claim<'_>]) {
    let mut open: Vec<usize> = Vec::new();
    for nth in 0..claims.len() {
        let Some(inner) = claims.get(nth) else { continue };
        let is_around =
            |outer: &usize| claims.get(*outer).is_some_and(|outer| inner.location.starts_with(outer.location));
        while open.last().is_some_and(|outer| !is_around(outer)) {
            open.pop();
        }
        let has_it = |outer: &&usize| {
            let (Some(outer), Some(of)) = (claims.get(**outer), all.get(inner.of)) else { return false };
            let Some(around) = all.get(outer.of).filter(|_| outer.of != inner.of) else { return false };
            let piece = around.value.and_then(|value| value.piece_around(inner.location));
            piece.is_some_and(|piece| piece.location == outer.location) && around.has_counted(of, inner.location)
        };
        let within = open.iter().filter(has_it).copied().collect();
        if let Some(claim) = claims.get_mut(nth) {
            claim.within = within;
        }
        open.push(nth);
    }
}

/// Adds to each directory the bytes of those in it.
pub(super) fn add_up(owns: &mut [Own], parents: &[Option<usize>]) {
    for own in &mut *owns {
        own.inclusive = own.bytes;
    }
    // Those inside come after those they are in.
    for (nth, parent) in parents.iter().enumerate().rev() {
        let inclusive = owns.get(nth).map_or(0, |own| own.inclusive);
        if let Some(outer) = parent.and_then(|parent| owns.get_mut(parent)) {
            outer.inclusive = outer.inclusive.saturating_add(inclusive);
        }
    }
}

/// The owner of each place.
struct Owners<'a> {
    all: &'a [Claimant<'a>],
    by_location: HashMap<&'a Path, Vec<usize>>,
}

impl<'a> Owners<'a> {
    /// Directories without a value own nothing.
    fn new(all: &'a [Claimant<'a>]) -> Self {
        let mut by_location: HashMap<&Path, Vec<usize>> = HashMap::new();
        for (nth, claimant) in all.iter().enumerate().filter(|(_, claimant)| claimant.value.is_some()) {
            by_location.entry(claimant.spot.location()).or_default().push(nth);
        }
        Self { all, by_location }
    }

    /// Returns the pieces of a directory with entries that are its own, as they are hidden in other directories around them.
    fn rests<'b>(&self, of: usize, value: &'b Value) -> Vec<&'b Path> {
        let others = self.all.iter().enumerate().filter(|(other, claimant)| *other != of && claimant.value.is_some());
        let hidden = others.flat_map(|(_, claimant)| claimant.spot.hidden_in(value.spot.location()));
        let own = hidden.filter(|hidden| self.of(hidden) == Some(of));
        own.filter_map(|hidden| value.piece_around(hidden)).map(|piece| &*piece.location).collect()
    }

    /// Returns the innermost directory in which a place is visible.
    fn of(&self, at: &Path) -> Option<usize> {
        let around = at.ancestors().filter_map(|above| self.by_location.get(above)).flat_map(|all| all.iter().rev());
        around.copied().find(|nth| self.all.get(*nth).is_some_and(|claimant| claimant.spot.sees(at)))
    }
}

#[cfg(test)]
mod tests;
