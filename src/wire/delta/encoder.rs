//! What changed since what was sent.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use super::bands::Band;
use super::link::{Delta, Link, Times};
use super::marks::{Marker, Marks};
use super::ranges::Ranges;
use crate::{BootId, Monotonic, Sample, Snapshot};

/// Finds what changed in the snapshots of one stream of one host.
///
/// It remembers hashes of the samples that were sent, and compares without encoding. Its state is that of the last [`Step`] which was
/// [sent](Self::sent).
#[derive(Debug)]
pub(crate) struct DeltaEncoder {
    keyframe_every: Duration,
    bands: Vec<Band>,
    marker: Marker,
    sent: Option<Sent>,
    /// The last chain, so that the next one has a larger number.
    last_keyframe: u64,
    /// The memory of the marks before the last.
    spare: Marks,
}

#[derive(Debug)]
struct Sent {
    link: Link,
    boot_id: BootId,
    began: Monotonic,
    marks: Marks,
}

/// The next snapshot of a chain: what to send.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) link: Link,
    /// What changed, beside the samples; `None` for a keyframe.
    pub(crate) delta: Option<Delta>,
    /// The indices of the samples to send, in their order; all for a keyframe.
    pub(crate) samples: Vec<usize>,
    boot_id: BootId,
    at: Monotonic,
    marks: Marks,
}

impl DeltaEncoder {
    /// Returns an encoder that makes a keyframe whenever so much time has passed since the last one, by the time of the snapshots.
    pub(crate) fn new(keyframe_every: Duration, bands: Vec<Band>) -> Self {
        Self { keyframe_every, bands, marker: Marker::default(), sent: None, last_keyframe: 0, spare: Marks::default() }
    }

    /// Makes the next snapshot a keyframe: something that was sent may not arrive.
    pub(crate) fn restart(&mut self) {
        self.sent = None;
    }

    /// Compares a snapshot with the last one that was sent. Returns `None` if a sample cannot be encoded.
    pub(crate) fn next<T: Sample + Serialize>(&mut self, snapshot: &Snapshot<T>) -> Option<Step> {
        let mut marks = std::mem::take(&mut self.spare);
        marks.clear();
        if !snapshot.samples.iter().all(|sample| self.marker.mark(sample, &self.bands, &mut marks)) {
            return None;
        }
        let count = u64::try_from(marks.len()).unwrap_or(u64::MAX);
        let (boot_id, at) = (snapshot.boot_id, snapshot.at);
        let base = self.sent.as_ref().filter(|sent| {
            // A clock that goes back is that of another boot, or of another recording.
            let age = at.since(sent.began);
            sent.boot_id == boot_id && age.is_some_and(|age| age < self.keyframe_every)
        });
        let Some(sent) = base else {
            let keyframe = at.as_nanos().max(self.last_keyframe.saturating_add(1));
            let link = Link { keyframe, number: 0, samples: count };
            return Some(Step { link, delta: None, samples: (0..marks.len()).collect(), boot_id, at, marks });
        };
        let link = Link { number: sent.link.number.saturating_add(1), samples: count, ..sent.link };
        let (delta, samples) = compare(&sent.marks, &mut marks, &self.bands);
        Some(Step { link, delta: Some(delta), samples, boot_id, at, marks })
    }

    /// Records that what a step holds is on its way, so that the next one begins there.
    pub(crate) fn sent(&mut self, step: Step) {
        let Step { link, boot_id, at, marks, .. } = step;
        let began = match &self.sent {
            Some(sent) if link.number > 0 => sent.began,
            _ => at,
        };
        self.last_keyframe = self.last_keyframe.max(link.keyframe);
        if let Some(before) = self.sent.replace(Sent { link, boot_id, began, marks }) {
            self.spare = before.marks;
        }
    }
}

/// Returns what changed between two snapshots, and which samples of the later one are to be sent.
fn compare(before: &Marks, now: &mut Marks, bands: &[Band]) -> (Delta, Vec<usize>) {
    let mut delta = Delta::default();
    let (mut changed, mut new) = (Vec::new(), Vec::new());
    let mut places = None;
    let mut times = Grouping::default();
    // Sources yield samples in the order of their keys: then the next one that is left is the same subject. What moved to the front of
    // others counts as gone and new.
    let (mut next, mut rank) = (0_usize, 0_usize);
    for index in 0..now.len() {
        let key = now.key(index).unwrap_or_default();
        let place = if before.key(next) == Some(key) {
            Some(next)
        } else {
            let places: &HashMap<u64, usize> =
                places.get_or_insert_with(|| before.keys().enumerate().map(|(place, key)| (key, place)).collect());
            places.get(&key).copied().filter(|place| *place >= next)
        };
        let Some(place) = place else {
            delta.new.push(index);
            new.push(index);
            continue;
        };
        (next..place).for_each(|gone| delta.gone.push(gone));
        next = place.saturating_add(1);
        if now.stands_still(index, before, place, bands) {
            now.keep_sent(index, before, place);
            times.add(index, before.times(place), now.times(index));
        } else {
            delta.changed.push(rank);
            changed.push(index);
        }
        rank = rank.saturating_add(1);
    }
    (next..before.len()).for_each(|gone| delta.gone.push(gone));
    delta.times = times.into_times();
    changed.append(&mut new);
    (delta, changed)
}

/// The new times of samples that stand still, those with the same ones together.
#[derive(Default)]
struct Grouping {
    groups: Vec<Group>,
    known: HashMap<Set, usize>,
    last: usize,
    /// The number of samples that stand still.
    still: usize,
}

/// Each new time, and the places of the times that have it.
type Set = Vec<(u64, Vec<u32>)>;

struct Group {
    set: Set,
    of: Ranges,
    samples: usize,
}

impl Grouping {
    fn add(&mut self, index: usize, before: &[u64], now: &[u64]) {
        self.still = self.still.saturating_add(1);
        let moved = || {
            let pairs = before.iter().zip(now).enumerate().filter(|(_, (before, now))| before != now);
            pairs.map(|(place, (_, now))| (u32::try_from(place).unwrap_or(u32::MAX), *now))
        };
        if moved().next().is_none() {
            return;
        }
        // The common case: as the one before it.
        let is_as_last = self.groups.get(self.last).is_some_and(|group| {
            let set = || group.set.iter().flat_map(|(time, places)| places.iter().map(move |place| (*place, *time)));
            moved().all(|moved| set().any(|set| set == moved)) && moved().count() == set().count()
        });
        if !is_as_last {
            let mut set = Set::new();
            for (place, time) in moved() {
                match set.iter_mut().find(|(same, _)| *same == time) {
                    Some((_, places)) => places.push(place),
                    None => set.push((time, vec![place])),
                }
            }
            let next = self.groups.len();
            self.last = *self.known.entry(set.clone()).or_insert(next);
            if self.last == next {
                self.groups.push(Group { set, of: Ranges::default(), samples: 0 });
            }
        }
        if let Some(group) = self.groups.get_mut(self.last) {
            group.of.push(index);
            group.samples = group.samples.saturating_add(1);
        }
    }

    /// Returns the groups. The largest is that of all others, where no sample that stands still is in none.
    fn into_times(self) -> Vec<Times> {
        let all = self.groups.iter().map(|group| group.samples).sum::<usize>() == self.still;
        let largest = self.groups.iter().enumerate().max_by_key(|(_, group)| group.samples).map(|(index, _)| index);
        let default = largest.filter(|_| all);
        let of =
            |(index, group): (usize, Group)| Times { set: group.set, of: (default != Some(index)).then_some(group.of) };
        let mut times: Vec<Times> = self.groups.into_iter().enumerate().map(of).collect();
        // The others are exceptions from it.
        times.sort_by_key(|times| times.of.is_some());
        times
    }
}
