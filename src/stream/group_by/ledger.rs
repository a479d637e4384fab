//! The accounts of the groups of one host.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::audit::Audit;
use super::book::{Book, Counts, Grain, TOTAL};
use super::groups::{Groups, Settings};
use super::sample::GroupSample;
use crate::process::ProcessId;
use crate::time::clock_ticks_per_second;
use crate::{Lives, Monotonic, Notice, ProcessSample, Snapshot, Text};

/// For how many ticks less may come from children than they were credited with, before that is given up.
const PATIENCE: u32 = 2;

/// How long it may take from the start of a process, as it is shown, until it can be seen: as long as a source looks for it.
const BIRTH: Duration = Duration::from_millis(200);

/// For how many ticks a process is remembered that is not in the snapshots and did not end.
const REMEMBERED: u64 = 60;

/// What each group used, kept from snapshot to snapshot.
///
/// A process's growth is its group's. What a process that waits for children gets from them, less what those were credited with, is
/// what nobody saw: their last moments, and lives between two ticks. It is credited to the group of the one that waited. What control
/// groups used by the kernel's account stands above both where it is one group's.
#[derive(Debug)]
pub(super) struct Ledger<K> {
    /// The number and the time of the last snapshot.
    last: Option<(u64, Monotonic)>,
    tick: u64,
    /// In the order of the ids.
    books: Vec<Book>,
    groups: Groups<K>,
    audit: Audit,
    grain: Grain,
    /// What may have gone to somebody else than it is accounted for at.
    unsure: Vec<Inheritance>,
    // Of the tick: who is new, who is not there any more, who has something to settle, and what is to be credited.
    new: Vec<Book>,
    missing: Vec<ProcessId>,
    open: Vec<ProcessId>,
    growth: Vec<Growth>,
}

/// What is to be credited to a group, and for which control group.
#[derive(Debug)]
struct Growth {
    group: u32,
    path: Option<Text>,
    counts: Counts,
    inferred: bool,
}

/// Where the snapshots' processes get their groups from.
pub(super) struct Keys<'a, K> {
    /// `None` for one that is in no group of its own: it is in that of all others.
    key: &'a mut dyn FnMut(&ProcessSample) -> Option<K>,
    settings: &'a Settings,
    /// From when on a group counts that is new.
    since: Monotonic,
    /// Whether all are to be asked for, and not only those that changed.
    all_again: bool,
}

impl<'a, K> Keys<'a, K> {
    pub(super) fn new(key: &'a mut dyn FnMut(&ProcessSample) -> Option<K>, settings: &'a Settings) -> Self {
        Self { key, settings, since: Monotonic::default(), all_again: false }
    }

    pub(super) fn all_again(mut self, all: bool) -> Self {
        self.all_again = all;
        self
    }
}

/// A process that ended.
struct Ended {
    id: ProcessId,
    /// Who waited for it, where that is known.
    reaper: Option<ProcessId>,
}

/// What whoever waited for a process got from it.
#[derive(Debug)]
struct Inheritance {
    all: Counts,
    reaper: ProcessId,
    /// When the process was missing first.
    tick: u64,
}

impl<K> Default for Ledger<K> {
    fn default() -> Self {
        Self {
            last: None,
            tick: 0,
            books: Vec::new(),
            groups: Groups::default(),
            audit: Audit::default(),
            grain: Grain::new(),
            unsure: Vec::new(),
            new: Vec::new(),
            missing: Vec::new(),
            open: Vec::new(),
            growth: Vec::new(),
        }
    }
}

impl<K: Ord + Hash + Clone> Ledger<K> {
    /// The groups of a snapshot.
    pub(super) fn tick<T: AsRef<ProcessSample>>(
        &mut self,
        mut snapshot: Snapshot<T>,
        mut keys: Keys<'_, K>,
    ) -> Snapshot<GroupSample<K>> {
        let lives = snapshot.lives.take();
        let follows = self.last.is_none_or(|(seq, _)| seq.checked_add(1) == Some(snapshot.seq));
        self.tick = self.tick.saturating_add(1);
        keys.since = self.last.map_or(snapshot.at, |(_, at)| at);
        // What began shortly before the last snapshot, and was not in that, could not be seen yet.
        let born_after = self.last.map(|(_, at)| at.minus(BIRTH));
        self.last = Some((snapshot.seq, snapshot.at));

        let mut samples: Vec<&ProcessSample> = snapshot.samples.iter().map(AsRef::as_ref).collect();
        if !samples.is_sorted_by(|a, b| a.id < b.id) {
            samples.sort_by_key(|sample| sample.id);
            samples.dedup_by_key(|sample| sample.id);
        }
        self.groups.begin(snapshot.at);
        self.read(&samples, born_after, &mut keys);
        for reaper in lives.iter().flat_map(|lives| &lives.reapers) {
            self.with(reaper.id, |book| book.read_reaper(reaper));
        }
        let ended = self.ended(lives.as_deref().filter(|_| follows));
        self.inherit(&ended, lives.is_some());
        self.settle(lives.is_none());
        if let Some(lives) = &lives {
            self.audit.read(&lives.control_groups);
        }
        for Growth { group, path, counts, inferred } in self.growth.drain(..) {
            let counts = self.audit.attribute(path.as_ref(), group, counts);
            self.groups.credit(group, &counts, inferred);
        }
        self.audit.settle(&mut self.groups);
        self.forget(&ended);

        let groups = self.groups.end(keys.settings);
        if lives.is_none() && !snapshot.notices.contains(&Notice::NoLives) {
            snapshot.notices.push(Notice::NoLives);
        }
        snapshot.lives = lives.map(|mut lives| {
            if !lives.control_groups.is_empty() {
                self.audit.say(&mut Arc::make_mut(&mut lives).control_groups);
            }
            lives
        });
        snapshot.with_samples(|_| groups)
    }

    /// Takes over what the samples have, and notes what is to be credited.
    fn read(&mut self, samples: &[&ProcessSample], born_after: Option<Monotonic>, keys: &mut Keys<'_, K>) {
        let tick = self.tick;
        let (groups, audit) = (&mut self.groups, &mut self.audit);
        self.open.clear();
        self.missing.clear();
        // Where there is room for more groups, those in the group of all others are asked again.
        let asked_again = groups.crowded(keys.settings);
        let mut at = 0_usize;
        for sample in samples {
            while let Some(book) = self.books.get(at).filter(|book| book.id < sample.id) {
                self.missing.push(book.id);
                at = at.saturating_add(1);
            }
            let mut new = None;
            let book = match self.books.get_mut(at).filter(|book| book.id == sample.id) {
                Some(book) => {
                    at = at.saturating_add(1);
                    book
                }
                None => {
                    let book = new.insert(Book::new(sample, born_after.is_some_and(|after| began(sample) >= after)));
                    book.parent = parent(samples, sample);
                    book
                }
            };
            book.seen = tick;
            if book.ppid != sample.ppid {
                book.ppid = sample.ppid;
                book.parent = parent(samples, sample);
                book.is_orphan = false;
                book.is_news = true;
            }
            if !Arc::ptr_eq(&book.info, &sample.info) {
                // One that came over a wire is another one of the same content.
                book.is_news |= book.info != sample.info;
                if let (Some(group), Some(path)) = (book.group, book.info.cgroup.value())
                    && book.is_news
                {
                    audit.leave(path, group);
                    if let Some(path) = sample.info.cgroup.value() {
                        audit.join(path, group);
                    }
                }
                book.info = Arc::clone(&sample.info);
            }
            let mut moved = false;
            if std::mem::take(&mut book.is_news)
                || book.group.is_none()
                || keys.all_again
                || (asked_again.is_some() && book.group == asked_again)
            {
                let group = groups.of((keys.key)(sample), keys.since, keys.settings);
                if book.group != Some(group) {
                    if let Some(path) = book.info.cgroup.value() {
                        if let Some(before) = book.group {
                            audit.leave(path, before);
                        }
                        audit.join(path, group);
                    }
                    moved = book.group.is_some();
                    book.group = Some(group);
                    groups.join(group);
                }
            }
            let Some(group) = book.group else { continue };
            if new_or_read(book, sample) {
                let counts = book.read(sample);
                if !counts.is_zero() {
                    let path = book.info.cgroup.value().cloned();
                    self.growth.push(Growth { group, path, counts, inferred: moved });
                }
            }
            groups.show(group, sample, book);
            if book.open {
                self.open.push(book.id);
            }
            self.new.extend(new);
        }
        self.missing.extend(self.books.iter().skip(at).map(|book| book.id));
        if !self.new.is_empty() {
            self.books.append(&mut self.new);
            self.books.sort_by_key(|book| book.id);
        }
    }

    fn find(&self, id: ProcessId) -> Option<&Book> {
        let at = self.books.binary_search_by_key(&id, |book| book.id).ok()?;
        self.books.get(at)
    }

    /// Changes the book of a process that is there; it is settled then.
    fn with(&mut self, id: ProcessId, change: impl FnOnce(&mut Book)) {
        let Ok(at) = self.books.binary_search_by_key(&id, |book| book.id) else { return };
        let Some(book) = self.books.get_mut(at).filter(|book| book.seen == self.tick) else { return };
        let was_open = book.open;
        change(book);
        if book.open && !was_open {
            self.open.push(id);
        }
    }

    /// Who ended: as it is known, else all who are not there any more.
    fn ended(&mut self, lives: Option<&Lives>) -> Vec<Ended> {
        let Some(lives) = lives else {
            return self.missing.iter().map(|id| Ended { id: *id, reaper: None }).collect();
        };
        let ended = lives.exits.iter().filter(|exit| self.missing.binary_search(&exit.id).is_ok());
        ended.map(|exit| Ended { id: exit.id, reaper: exit.reaper }).collect()
    }

    /// What was credited for those that ended comes to who waited for them, and is accounted for there.
    ///
    /// With lives (`has_lives`), who is in the snapshot is there after all others ended.
    fn inherit(&mut self, ended: &[Ended], has_lives: bool) {
        let ids: HashSet<ProcessId> = ended.iter().map(|ended| ended.id).collect();
        for ended in ended {
            let Some(book) = self.find(ended.id) else { continue };
            let (mut all, parent, group, is_orphan) = (book.all(), book.parent, book.group, book.is_orphan);
            if let Some(group) = group {
                self.groups.exit(group);
            }
            let known = ended.reaper.map(|reaper| (reaper, true));
            // Without lives a parent that looks alive may have ended before its child did, after it was read.
            let guessed = || {
                let (reaper, is_parent) = self.heir(parent, &ids)?;
                Some((reaper, has_lives && is_parent && !is_orphan))
            };
            let Some((reaper, is_sure)) = known.or_else(guessed) else { continue };
            self.with(reaper, |book| book.inherit(&all));
            // What it may not have got itself is looked for on its own.
            for unsure in self.unsure.iter_mut().filter(|unsure| unsure.reaper == ended.id) {
                unsure.reaper = reaper;
                all.subtract(&unsure.all);
            }
            if !is_sure && all.get(TOTAL) > self.grain.of(TOTAL) {
                self.unsure.push(Inheritance { all, reaper, tick: self.tick });
            }
        }
        self.look_elsewhere(has_lives);
        if !ids.is_empty() {
            self.adopt(&ids);
        }
    }

    /// What did not come to who most likely waited for a process is accounted for at a further ancestor that has as much from nobody.
    fn look_elsewhere(&mut self, has_lives: bool) {
        let mut unsure = std::mem::take(&mut self.unsure);
        // The largest first: where they went is the clearest.
        unsure.sort_by_key(|inheritance| std::cmp::Reverse(inheritance.all.get(TOTAL)));
        unsure.retain(|Inheritance { all, reaper, tick }| {
            if self.find(*reaper).is_none_or(|book| book.short(TOTAL, self.grain) == 0) {
                // It came.
                return false;
            }
            if let Some(other) = self.other_heir(*reaper, all) {
                self.with(*reaper, |book| book.disinherit(all));
                self.with(other, |book| book.inherit(all));
                return false;
            }
            // Without lives, whoever got it may have been read before: the next snapshot has it.
            !has_lives && self.tick.saturating_sub(*tick) < u64::from(PATIENCE)
        });
        self.unsure = unsure;
    }

    /// Who was read before its parent ended has another one by now, and may end before that is seen.
    fn adopt(&mut self, ended: &HashSet<ProcessId>) {
        for at in 0..self.books.len() {
            let Some(book) = self.books.get(at) else { return };
            if book.seen == self.tick
                && let Some(parent) = book.parent
                && ended.contains(&parent)
            {
                let heir = self.heir(Some(parent), ended).map(|(heir, _)| heir);
                if let Some(book) = self.books.get_mut(at) {
                    (book.parent, book.is_orphan) = (heir, true);
                }
            }
        }
    }

    /// The nearest ancestor that is there, and whether it is the parent itself, and lives: one that ended and was not waited for yet
    /// cannot wait for others.
    fn heir(&self, parent: Option<ProcessId>, ended: &HashSet<ProcessId>) -> Option<(ProcessId, bool)> {
        let mut at = parent?;
        for generation in 0..=ended.len() {
            let book = self.find(at)?;
            if book.seen == self.tick {
                return Some((at, generation == 0 && !book.is_zombie));
            }
            if !ended.contains(&at) {
                return None;
            }
            at = book.parent?;
        }
        None
    }

    /// A further ancestor, up to the first process, that got so much from somebody it did not wait for: it was left to that one.
    fn other_heir(&self, reaper: ProcessId, all: &Counts) -> Option<ProcessId> {
        let got_it = |id: ProcessId| {
            let over = self.find(id).filter(|book| book.seen == self.tick).map_or(0, |book| book.over(TOTAL));
            over.saturating_add(self.grain.of(TOTAL)) >= all.get(TOTAL)
        };
        let mut at = reaper;
        for _ in 0..self.books.len() {
            let Some(parent) = self.find(at).and_then(|book| book.parent) else { break };
            if got_it(parent) {
                return Some(parent);
            }
            at = parent;
        }
        None
    }

    /// Credits what came from children and nobody has, and sees to what did not come.
    fn settle(&mut self, wait: bool) {
        for id in std::mem::take(&mut self.open) {
            let Ok(at) = self.books.binary_search_by_key(&id, |book| book.id) else { continue };
            let Some(book) = self.books.get_mut(at) else { continue };
            let Some(group) = book.group else { continue };
            let info = Arc::clone(&book.info);
            let path = info.cgroup.value();
            let counts = book.settle(wait);
            if !counts.is_zero() {
                self.growth.push(Growth { group, path: path.cloned(), counts, inferred: true });
            }
            let owed = book.take_back(self.grain);
            if !owed.is_zero() {
                let owed = self.audit.take_back(path, group, owed);
                self.groups.owe(group, &owed);
            }
            if book.is_short(self.grain) {
                if book.short_for() > PATIENCE {
                    let lost = book.write_off(self.grain);
                    self.groups.lose(group, lost);
                }
            } else {
                book.is_even();
            }
            book.open = !book.is_settled(self.grain);
        }
    }

    /// Closes the books of those that ended, and of those that are away for long.
    fn forget(&mut self, ended: &[Ended]) {
        for id in &self.missing {
            let Ok(at) = self.books.binary_search_by_key(id, |book| book.id) else { continue };
            // It is in no group while it is away.
            if let Some(book) = self.books.get_mut(at)
                && let Some(group) = book.group.take()
                && let Some(path) = book.info.cgroup.value()
            {
                self.audit.leave(path, group);
            }
        }
        self.audit.forget();
        if self.missing.is_empty() {
            return;
        }
        let ids: HashSet<ProcessId> = ended.iter().map(|ended| ended.id).collect();
        let tick = self.tick;
        self.books.retain(|book| {
            book.seen == tick || (!ids.contains(&book.id) && tick.saturating_sub(book.seen) < REMEMBERED)
        });
    }
}

/// Whether a process was read since its book was written.
fn new_or_read(book: &Book, sample: &ProcessSample) -> bool {
    book.read_at != sample.read_at || book.total_ns != sample.cpu.total_ns
}

/// When a process began; the beginning of time for one that began before it.
fn began(sample: &ProcessSample) -> Monotonic {
    Monotonic::from_nanos(u64::try_from(sample.id.start_ns(clock_ticks_per_second())).unwrap_or(0))
}

/// The parent of a process, where it is there.
fn parent(samples: &[&ProcessSample], of: &ProcessSample) -> Option<ProcessId> {
    // The first of that pid; there are others only where a snapshot is not what any source makes.
    let at = samples.partition_point(|sample| sample.id.pid < of.ppid);
    let parent = samples.get(at)?.id;
    (parent.pid == of.ppid && parent.may_be_parent_of(of.id)).then_some(parent)
}
