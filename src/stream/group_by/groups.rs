//! The groups of one host, their totals, and what they owe.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::book::{Book, Counts, MAJOR, MINOR, SYSTEM, TOTAL, USER};
use super::sample::{GroupCpu, GroupKey, GroupSample};
use crate::process::Faults;
use crate::{Monotonic, ProcessSample};

/// The number of distinct groups, and whether those without members are kept.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) by: Option<Arc<str>>,
    pub(super) max_groups: usize,
    pub(super) keep_empty: bool,
}

/// For how many ticks a group without members is shown when such are not kept: until what is owed to it came, or will not.
const EMPTY_FOR: u32 = 3;

#[derive(Debug)]
pub(super) struct Groups<K> {
    /// By their numbers, which are used again.
    list: Vec<Option<Group<K>>>,
    by_key: HashMap<K, u32>,
    other: Option<u32>,
    /// Some are in the group of all others for want of room.
    is_crowded: bool,
    free: Vec<u32>,
    /// The numbers in the order of the keys.
    order: Vec<u32>,
    is_sorted: bool,
}

#[derive(Debug)]
struct Group<K> {
    sample: GroupSample<K>,
    totals: Counts,
    inferred: Counts,
    /// What was credited to it and turned out to be credited already: what comes next pays that first, so that totals never fall.
    debt: Counts,
    /// Whether any I/O of it could be read.
    has_io: bool,
    empty_for: u32,
}

impl<K> Default for Groups<K> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            by_key: HashMap::new(),
            other: None,
            is_crowded: false,
            free: Vec::new(),
            order: Vec::new(),
            is_sorted: true,
        }
    }
}

impl<K: Ord + Hash + Clone> Groups<K> {
    /// Whether another key can have a group of its own.
    fn has_room(&self, settings: &Settings) -> bool {
        self.by_key.len() < settings.max_groups
    }

    /// The group of all others, where there are some in it for want of room, and there is room now: they are to be asked for again.
    pub(super) fn crowded(&mut self, settings: &Settings) -> Option<u32> {
        let is_over = self.is_crowded && self.has_room(settings);
        self.is_crowded &= !is_over;
        self.other.filter(|_| is_over)
    }

    /// Begins a tick: nobody is there until seen.
    pub(super) fn begin(&mut self, at: Monotonic) {
        for group in self.list.iter_mut().flatten() {
            let sample = &mut group.sample;
            (sample.alive, sample.threads, sample.io_unknown) = (0, 0, 0);
            sample.memory = crate::process::Memory::default();
            sample.at = at;
        }
    }

    /// The group of a key, that of all others for none; a new one counts from `since`.
    pub(super) fn of(&mut self, key: Option<K>, since: Monotonic, settings: &Settings) -> u32 {
        if let Some(key) = key {
            if let Some(number) = self.by_key.get(&key) {
                return *number;
            }
            if self.has_room(settings) {
                let number = self.add(GroupKey::Key(key.clone()), since, settings);
                self.by_key.insert(key, number);
                return number;
            }
            self.is_crowded = true;
        }
        let number = self.other.unwrap_or_else(|| self.add(GroupKey::Other, since, settings));
        self.other = Some(number);
        number
    }

    fn add(&mut self, key: GroupKey<K>, since: Monotonic, settings: &Settings) -> u32 {
        let mut sample = GroupSample::new(key, since);
        sample.by.clone_from(&settings.by);
        let group = Group {
            sample,
            totals: Counts::default(),
            inferred: Counts::default(),
            debt: Counts::default(),
            has_io: false,
            empty_for: 0,
        };
        let number = self.free.pop().unwrap_or_else(|| {
            self.list.push(None);
            u32::try_from(self.list.len().saturating_sub(1)).unwrap_or(u32::MAX)
        });
        if let Some(place) = self.list.get_mut(index(number)) {
            *place = Some(group);
        }
        self.order.push(number);
        self.is_sorted = false;
        number
    }

    fn get(&mut self, number: u32) -> Option<&mut Group<K>> {
        self.list.get_mut(index(number))?.as_mut()
    }

    /// A process is one of its members now.
    pub(super) fn join(&mut self, number: u32) {
        if let Some(group) = self.get(number) {
            group.sample.seen = group.sample.seen.saturating_add(1);
        }
    }

    /// One of its members ended.
    pub(super) fn exit(&mut self, number: u32) {
        if let Some(group) = self.get(number) {
            group.sample.exited = group.sample.exited.saturating_add(1);
        }
    }

    /// A member is there.
    pub(super) fn show(&mut self, number: u32, process: &ProcessSample, book: &Book) {
        let Some(group) = self.get(number) else { return };
        let sample = &mut group.sample;
        sample.alive = sample.alive.saturating_add(1);
        sample.threads = sample.threads.saturating_add(process.threads.into());
        let (memory, more) = (&mut sample.memory, &process.memory);
        memory.rss_bytes = memory.rss_bytes.saturating_add(more.rss_bytes);
        memory.virtual_bytes = memory.virtual_bytes.saturating_add(more.virtual_bytes);
        sample.at = sample.at.max(process.at);
        sample.io_unknown = sample.io_unknown.saturating_add(book.io_unknown.into());
        group.has_io |= process.io.value().is_some();
    }

    /// Adds to the totals of a group, less what it owes.
    pub(super) fn credit(&mut self, number: u32, counts: &Counts, inferred: bool) {
        let Some(group) = self.get(number) else { return };
        for counter in Counts::counters() {
            let owed = group.debt.get(counter).min(counts.get(counter));
            group.debt.take_from(counter, owed);
            let paid = counts.get(counter).saturating_sub(owed);
            group.totals.add_to(counter, paid);
            if inferred {
                group.inferred.add_to(counter, paid);
            }
        }
    }

    /// It was credited with what was credited already.
    pub(super) fn owe(&mut self, number: u32, counts: &Counts) {
        if let Some(group) = self.get(number) {
            group.debt.add(counts);
        }
    }

    /// Nobody got what members used that ended.
    pub(super) fn lose(&mut self, number: u32, nanos: u64) {
        if let Some(group) = self.get(number) {
            group.sample.unrecovered_ns = group.sample.unrecovered_ns.saturating_add(nanos);
        }
    }

    /// Ends a tick: gives the samples in the order of their keys, and forgets groups that have had no members for a while.
    pub(super) fn end(&mut self, settings: &Settings) -> Vec<GroupSample<K>> {
        let list = &mut self.list;
        if !std::mem::replace(&mut self.is_sorted, true) {
            let key = |number: &u32| list.get(index(*number)).and_then(Option::as_ref).map(|group| &group.sample.key);
            self.order.sort_by(|a, b| key(a).cmp(&key(b)));
        }
        let mut samples = Vec::with_capacity(self.order.len());
        let mut forgotten = Vec::new();
        for number in &self.order {
            let Some(group) = list.get_mut(index(*number)).and_then(Option::as_mut) else { continue };
            group.empty_for = if group.sample.alive > 0 { 0 } else { group.empty_for.saturating_add(1) };
            if group.empty_for > EMPTY_FOR && !settings.keep_empty {
                forgotten.push(*number);
                continue;
            }
            samples.push(group.sample());
        }
        for number in &forgotten {
            let group = list.get_mut(index(*number)).and_then(Option::take);
            match group.map(|group| group.sample.key) {
                Some(GroupKey::Key(key)) => drop(self.by_key.remove(&key)),
                _ => self.other = None,
            }
            self.free.push(*number);
        }
        if !forgotten.is_empty() {
            self.order.retain(|number| !forgotten.contains(number));
        }
        samples
    }
}

impl<K: Clone> Group<K> {
    fn sample(&self) -> GroupSample<K> {
        let cpu = |counts: &Counts| GroupCpu {
            total_ns: counts.get(TOTAL),
            user_ns: counts.get(USER),
            system_ns: counts.get(SYSTEM),
        };
        let mut sample = self.sample.clone();
        sample.cpu = cpu(&self.totals);
        sample.inferred = cpu(&self.inferred);
        sample.faults = Faults { minor: self.totals.get(MINOR), major: self.totals.get(MAJOR) };
        if self.has_io {
            sample.io = self.totals.io();
        }
        sample
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
