//! The measurement of directories that are scanned together: the marks of the scan, and the values computed from its results.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::attribution::{Piece, Value};
use super::nesting::Cut;
use super::plan::{Location, Member};
use super::sample::Watch;
use super::scan::{Globs, Partial, Usage};
use super::usage::{MarkedTree, MeasuredTree, Settings};
use crate::{Error, Monotonic, Result};

/// A tree with marks, and the meaning of each mark.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) walk: MarkedTree,
    /// The directories, each before those in it.
    pub(super) members: Vec<Member>,
    /// In the order of the marks: each after those in it.
    regions: Vec<Region>,
}

/// The region of one of the marks: a place of the file system, and everything below it up to the other marks.
#[derive(Debug)]
struct Region {
    location: PathBuf,
    /// The members in which it is visible and not left out.
    seers: Vec<usize>,
    /// The member whose own it is; `None` if it belongs to a directory that is scanned by itself.
    owner: Option<usize>,
}

/// A directory that is to be scanned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) number: usize,
    pub(super) id: u64,
    pub(super) location: &'a Location,
    pub(super) exclude: &'a Arc<Globs>,
}

impl Survey {
    /// Creates the survey of these directories, sorted by their numbers, with the cuts in the first of them.
    pub(super) fn new(subjects: &[Subject<'_>], cuts: &[Cut], settings: Settings) -> Self {
        let mut walk = MarkedTree::new(settings);
        let mut regions = Vec::new();
        let nth_of = |number: &usize| subjects.binary_search_by_key(number, |subject| subject.number).ok();
        for cut in cuts.iter().rev().filter(|cut| cut.is_needed(|number| nth_of(number).is_some())) {
            let below = |nth: &usize| {
                let subject = subjects.get(*nth)?;
                let below = cut.location.strip_prefix(subject.location.spot.location()).ok()?;
                (!subject.exclude.leaves_out(below)).then_some((subject, below))
            };
            let mut seers: Vec<usize> = cut.seers.iter().filter_map(nth_of).collect();
            // It is read by its path in the innermost directory in which it is visible.
            let Some((subject, rest)) = seers.first().and_then(below) else { continue };
            walk.add(&subject.location.path, rest, subject.exclude);
            seers.retain(|nth| below(nth).is_some());
            regions.push(Region { location: cut.location.clone(), seers, owner: cut.seers.first().and_then(nth_of) });
        }
        let member = |subject: &Subject<'_>| Member { id: subject.id, location: subject.location.clone() };
        Self { walk, members: subjects.iter().map(member).collect(), regions }
    }

    /// Returns the value of each directory, computed from the usage of each mark.
    pub(super) fn values(
        &self,
        found: Vec<Result<MeasuredTree>>,
        ended: Monotonic,
        took: Duration,
    ) -> Vec<std::result::Result<Value, String>> {
        let found: Vec<_> = self.regions.iter().zip(found).collect();
        let value = |(nth, member): (usize, &Member)| {
            let mut value = self.root(nth, member, &found, ended, took)?;
            let mut pieces = Vec::new();
            for (region, found) in found.iter().rev().filter(|(region, _)| region.seers.contains(&nth)) {
                let is_own = region.owner == Some(nth);
                if let Ok(found) = found {
                    let (location, bytes) = (region.location.clone(), found.usage.allocated_bytes);
                    pieces.push(Piece { location, bytes, is_own });
                }
                if is_own && region.location != member.location.spot.location() {
                    add(&mut value, found);
                }
            }
            value.pieces = pieces.into();
            Ok(value)
        };
        self.members.iter().enumerate().map(value).collect()
    }

    /// Returns the value of a directory with the usage of its own mark only.
    fn root(
        &self,
        nth: usize,
        member: &Member,
        found: &[(&Region, Result<MeasuredTree>)],
        ended: Monotonic,
        took: Duration,
    ) -> std::result::Result<Value, String> {
        let spot = &member.location.spot;
        let root = found.iter().find(|(region, _)| region.location == spot.location());
        let Some((region, found)) = root else { return Err("the directory was not scanned".to_owned()) };
        let MeasuredTree { mut usage, at, mut watch } = found.as_ref().map_err(Error::to_string)?.clone();
        if region.owner != Some(nth) {
            // It belongs to another member, which is the same directory.
            let Usage { partial, excluded_mounts, .. } = usage;
            usage = Usage { partial, excluded_mounts, ..Usage::default() };
            watch = watch.map(|watch| Watch { uncertain_files: 0, uncertain_bytes: 0, ..watch });
        }
        let (at, spot) = (at.unwrap_or(ended), Arc::clone(spot));
        Ok(Value { usage, pieces: Arc::default(), spot, scope: self.scope(nth, member), at, took, watch })
    }

    /// Returns a number for the places that a directory had to count: see [`Part::scope`](super::Part::scope).
    fn scope(&self, nth: usize, member: &Member) -> u64 {
        let Location { mount, identity, device, spot, path, .. } = &member.location;
        let mut hasher = DefaultHasher::new();
        (mount, identity, device, spot, path).hash(&mut hasher);
        // The places where its own bytes end and begin again; other marks do not matter.
        let mut open: Vec<(&Region, bool)> = Vec::new();
        for (region, exclude) in self.regions.iter().zip(&self.walk.excludes).rev() {
            if !region.location.starts_with(spot.location()) {
                continue;
            }
            while open.last().is_some_and(|(around, _)| !region.location.starts_with(&around.location)) {
                open.pop();
            }
            let is_own = region.owner == Some(nth);
            if open.last().is_none_or(|(_, around)| *around != is_own) {
                (&region.location, is_own, is_own.then_some(exclude)).hash(&mut hasher);
            }
            open.push((region, is_own));
        }
        hasher.finish()
    }
}

/// Adds the usage of another mark in a directory.
fn add(value: &mut Value, found: &Result<MeasuredTree>) {
    match found {
        Ok(found) => {
            value.usage.add(&found.usage);
            if let (Some(watch), Some(other)) = (&mut value.watch, &found.watch) {
                watch.uncertain_files = watch.uncertain_files.saturating_add(other.uncertain_files);
                watch.uncertain_bytes = watch.uncertain_bytes.saturating_add(other.uncertain_bytes);
            }
        }
        // It was removed, which is no error.
        Err(error) if error.is_not_found() => {}
        Err(error) => {
            let path = error.path().unwrap_or(value.spot.location()).into();
            value.usage.errors.push_message(path, error.to_string(), error.is_denied());
            value.usage.partial = value.usage.partial.or(Some(Partial::Errors));
        }
    }
}
