//! What is remembered of the samples that were sent.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;
use serde::Serialize;

use super::bands::Band;
use super::walk::{Next, Walk};
use crate::Sample;

/// A mark of each sample of a snapshot, in order: what distinguishes it from others, and from itself when it changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Marks {
    marks: Vec<Mark>,
    /// The times of all samples, one after the other.
    times: Vec<u64>,
    /// The values with a dead band of all samples, with the index of the band.
    banded: Vec<(u32, f64)>,
}

/// A sample. That two different ones have the same hash is as likely as to guess 64 random bits.
#[derive(Clone, Copy, Debug)]
struct Mark {
    key: u64,
    content: u64,
    /// Where the times of the next sample begin, and its values with a band.
    times_end: usize,
    banded_end: usize,
}

/// What makes marks: the same for all that are compared.
#[derive(Debug, Default)]
pub(super) struct Marker {
    hashes: RandomState,
    // Reused from sample to sample.
    ages: Vec<usize>,
    path: Vec<Cow<'static, str>>,
}

impl Marker {
    /// Adds the mark of a sample. Returns false if the sample cannot be encoded.
    pub(super) fn mark<T: Sample + Serialize>(&mut self, sample: &T, bands: &[Band], to: &mut Marks) -> bool {
        let start = to.times.len();
        self.ages.clear();
        self.path.clear();
        let mut walk = Walk {
            hasher: self.hashes.build_hasher(),
            has_times: T::TIMES.is_some(),
            times: &mut to.times,
            ages: &mut self.ages,
            bands,
            banded: &mut to.banded,
            path: &mut self.path,
            lists: 0,
            next: Next::Content,
        };
        if sample.serialize(&mut walk).is_err() {
            return false;
        }
        let content = walk.hasher.finish();
        let times = to.times.get_mut(start..).unwrap_or_default();
        // Among the times of this sample.
        for age in &mut self.ages {
            *age = age.saturating_sub(start);
        }
        as_of(times, &self.ages);
        let key = self.hashes.hash_one(sample.key());
        to.marks.push(Mark { key, content, times_end: to.times.len(), banded_end: to.banded.len() });
        true
    }
}

/// Turns the ages among the times of a sample into the instants they are as of, or back. An age is the latest of the other times less that
/// instant, in numbers that wrap around.
pub(super) fn as_of(times: &mut [u64], ages: &[usize]) {
    if ages.is_empty() {
        return;
    }
    let instants = times.iter().enumerate().filter(|(index, _)| !ages.contains(index)).map(|(_, time)| *time);
    let base = instants.max().unwrap_or(0);
    for age in ages {
        if let Some(time) = times.get_mut(*age) {
            *time = base.wrapping_sub(*time);
        }
    }
}

impl Marks {
    pub(super) fn len(&self) -> usize {
        self.marks.len()
    }

    pub(super) fn clear(&mut self) {
        self.marks.clear();
        self.times.clear();
        self.banded.clear();
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        self.marks.iter().map(|mark| mark.key)
    }

    pub(super) fn key(&self, index: usize) -> Option<u64> {
        self.marks.get(index).map(|mark| mark.key)
    }

    pub(super) fn times(&self, index: usize) -> &[u64] {
        let start = index.checked_sub(1).and_then(|before| self.marks.get(before)).map_or(0, |mark| mark.times_end);
        self.marks.get(index).and_then(|mark| self.times.get(start..mark.times_end)).unwrap_or_default()
    }

    fn banded_range(&self, index: usize) -> std::ops::Range<usize> {
        let start = index.checked_sub(1).and_then(|before| self.marks.get(before)).map_or(0, |mark| mark.banded_end);
        start..self.marks.get(index).map_or(start, |mark| mark.banded_end)
    }

    /// Whether a sample is, but for its times and within the bands, the one at `earlier` of the marks before.
    pub(super) fn stands_still(&self, index: usize, before: &Self, earlier: usize, bands: &[Band]) -> bool {
        let content = |marks: &Self, index: usize| marks.marks.get(index).map(|mark| mark.content);
        if content(self, index) != content(before, earlier) || self.times(index).len() != before.times(earlier).len() {
            return false;
        }
        if bands.is_empty() {
            return true;
        }
        let now = self.banded.get(self.banded_range(index)).unwrap_or_default();
        let sent = before.banded.get(before.banded_range(earlier)).unwrap_or_default();
        let covered = |((band, now), (same, sent)): (&(u32, f64), &(u32, f64))| {
            let of = usize::try_from(*band).ok().and_then(|band| bands.get(band));
            band == same && of.is_some_and(|band| band.covers(*sent, *now))
        };
        now.len() == sent.len() && now.iter().zip(sent).all(covered)
    }

    /// Keeps the values with a band that were sent, for a sample that stands still.
    pub(super) fn keep_sent(&mut self, index: usize, before: &Self, earlier: usize) {
        let range = self.banded_range(index);
        let sent = before.banded.get(before.banded_range(earlier)).unwrap_or_default();
        if let Some(now) = self.banded.get_mut(range)
            && now.len() == sent.len()
        {
            now.copy_from_slice(sent);
        }
    }
}
