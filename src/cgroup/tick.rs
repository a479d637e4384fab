//! One tick over all control groups.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use super::group::{Group, PulseFile};
use super::limits::EffectiveLimits;
use super::reading::{Files, Gone, has_averages, take_pulse};
use super::tree::{Tree, is_gone, parent};
use super::{ControlGroupFields, ControlGroupLimits, ControlGroupSample};
use crate::process::ProcFs;
use crate::process::reclaim::Reclaim;
use crate::{Cancel, Monotonic, Reading, Result, Snapshot, Text};

/// What a source keeps from tick to tick.
#[derive(Debug)]
pub(super) struct Scan {
    tree: Tree,
    fields: ControlGroupFields,
    max_age: Duration,
    walk_every: Duration,
    max_fds: usize,
    tick: u64,
    /// When the last tick was, for how many are to be renewed now.
    last: Option<Monotonic>,
    /// Whose turn it is to be renewed, and to have its averages renewed.
    renewed: Turn,
    averaged: Turn,
    /// How many groups are to be renewed soon, since memory was reclaimed.
    hurried: usize,
    reclaim: Option<Reclaim>,
    /// The files in which not all that moved was read, so that it is not enough that a group above stands still.
    forced: [bool; 6],
    /// The files that no group has.
    nowhere: [bool; 6],
}

/// The group that had its turn last.
#[derive(Debug, Default)]
struct Turn(Option<Text>);

impl Turn {
    /// The next so many groups, which begin again behind the last one.
    fn take(&mut self, tree: &Tree, turns: usize) -> Vec<Text> {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = self.0.take().map_or(Unbounded, Excluded);
        let next = tree.groups.range((after, Unbounded)).chain(&tree.groups).take(turns.min(tree.groups.len()));
        let next: Vec<Text> = next.map(|(path, _)| path.clone()).collect();
        self.0 = next.last().cloned();
        next
    }
}

/// The outcome of reading a file of a group.
enum Outcome {
    Moved,
    Still,
    Gone,
}

impl Scan {
    pub(super) fn new(
        tree: Tree,
        fields: ControlGroupFields,
        max_age: Duration,
        walk_every: Duration,
        max_fds: usize,
    ) -> Self {
        let reclaim = ProcFs::new("/proc").ok().map(|procfs| Reclaim::new(&procfs));
        let (renewed, averaged) = (Turn::default(), Turn::default());
        let (tick, last, hurried, forced, nowhere) = (0, None, 0, [true; 6], [false; 6]);
        Self {
            tree,
            fields,
            max_age,
            walk_every,
            max_fds,
            tick,
            last,
            renewed,
            averaged,
            hurried,
            reclaim,
            forced,
            nowhere,
        }
    }

    pub(super) fn tick(&mut self, snapshot: &mut Snapshot<ControlGroupSample>, cancel: &Cancel) -> Result<()> {
        self.tick = self.tick.saturating_add(1);
        let now = Monotonic::now();
        self.tree.update(now, self.walk_every, cancel)?;
        let mut gone = BTreeSet::new();
        self.read_new(now, &mut gone, cancel)?;
        for file in PulseFile::ALL {
            if self.fields.contains(file.field()) {
                self.pulse(file, &mut gone, cancel)?;
            }
        }
        self.renew(now);
        self.read_due(now, &mut gone, cancel)?;
        for path in &gone {
            self.tree.is_gone(path);
        }
        if !gone.is_empty() {
            // Another can have the path of one that is gone.
            self.tree.list_due(cancel)?;
            let mut again = BTreeSet::new();
            self.read_new(now, &mut again, cancel)?;
            for path in &again {
                self.tree.is_gone(path);
            }
        }
        self.find_limits();
        self.last = Some(now);
        self.report(snapshot, now);
        snapshot.skipped.vanished = u64::try_from(gone.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    fn report(&self, snapshot: &mut Snapshot<ControlGroupSample>, now: Monotonic) {
        let mut missing = 0_u64;
        for group in self.tree.groups.values().filter(|group| group.is_selected) {
            // One that was found at the end of the tick, and is gone already.
            if group.due.all {
                continue;
            }
            missing = missing.saturating_add(group.sample.missing_fields());
            snapshot.samples.push(ControlGroupSample { at: now, ..group.sample.clone() });
        }
        snapshot.skipped = self.tree.skipped();
        snapshot.skipped.fields = missing;
        snapshot.complete_at = self.tree.walked_at;
    }

    /// Reads everything of the groups that were not read before.
    fn read_new(&mut self, now: Monotonic, gone: &mut BTreeSet<Text>, cancel: &Cancel) -> Result<()> {
        let new: Vec<Text> = self
            .tree
            .groups
            .iter()
            .filter(|(_, group)| group.is_wanted && group.due.all)
            .map(|(path, _)| path.clone())
            .collect();
        if !new.is_empty() {
            self.nowhere = [false; 6];
        }
        for path in new {
            cancel.check()?;
            let mut is_gone = false;
            for file in PulseFile::ALL {
                if self.fields.contains(file.field()) {
                    is_gone |= matches!(self.read_alone(&path, file), Outcome::Gone);
                }
            }
            if let Some(group) = self.tree.groups.get_mut(&path) {
                (group.due.usage, group.due.limits) = (true, true);
                group.read_in = self.tick;
            }
            if is_gone || self.read_rest(&path, now).is_err() {
                gone.insert(path);
            } else if let Some(group) = self.tree.groups.get_mut(&path) {
                group.due.all = false;
            }
        }
        Ok(())
    }

    /// Reads a file from the root on, and goes below a group only where its total moved: it contains that of the groups below.
    fn pulse(&mut self, file: PulseFile, gone: &mut BTreeSet<Text>, cancel: &Cancel) -> Result<()> {
        if self.nowhere.get(file as usize).is_none_or(|nowhere| *nowhere) {
            return Ok(());
        }
        let Some(forced) = self.forced.get_mut(file as usize) else { return Ok(()) };
        // Until all was read, the groups above could stand still while one below moved.
        let is_forced = std::mem::replace(forced, true);
        let (mut is_complete, mut is_anywhere) = (true, false);
        let mut stack = vec![self.tree.root.clone()];
        while let Some(path) = stack.pop() {
            cancel.check()?;
            let Some(group) = self.tree.groups.get_mut(&path) else { continue };
            if !group.is_wanted {
                continue;
            }
            let is_new = group.read_in == self.tick;
            let is_absent = group.pulse(file).is_none_or(|pulse| pulse.is_absent);
            is_anywhere |= !is_absent;
            // Who comes makes an event; a group without processes does not run, nor wait. What it wrote goes to the device later.
            let is_empty = group.states_are_watched && group.sample.populated == Reading::Value(false);
            if is_empty && file != PulseFile::Io && !is_new {
                continue;
            }
            let has_moved = group.pulse(file).is_some_and(|pulse| std::mem::take(&mut pulse.has_moved));
            let outcome = if is_new || is_absent { Outcome::Moved } else { self.read_pulse(&path, file) };
            let Some(group) = self.tree.groups.get_mut(&path) else { continue };
            is_complete &= match file {
                PulseFile::Cpu => group.sample.cpu != Reading::Skipped,
                PulseFile::Io => group.sample.io != Reading::Skipped,
                PulseFile::CpuPressure => group.pressure.cpu != Reading::Skipped,
                PulseFile::MemoryPressure => group.pressure.memory != Reading::Skipped,
                PulseFile::IoPressure => group.pressure.io != Reading::Skipped,
                PulseFile::IrqPressure => group.pressure.irq != Reading::Skipped,
            };
            match outcome {
                Outcome::Gone => {
                    gone.insert(path);
                    continue;
                }
                // The root's totals are the machine's, which the kernel counts in another way: by clock ticks, and I/O at its end.
                Outcome::Still if group.depth == 0 && self.tree.hierarchy.is_whole => {}
                Outcome::Still if !is_forced && !has_moved => continue,
                Outcome::Still => {}
                // Whoever ran has allocated, forked, and ended.
                Outcome::Moved if file == PulseFile::Cpu && !is_new && !is_absent => group.due.usage = true,
                Outcome::Moved => {}
            }
            stack.extend(group.children.iter().cloned());
        }
        if let Some(nowhere) = self.nowhere.get_mut(file as usize) {
            *nowhere = !is_anywhere;
        }
        if is_complete && let Some(forced) = self.forced.get_mut(file as usize) {
            *forced = false;
        }
        Ok(())
    }

    /// Reads a file of one group out of its turn. What it moved by is then known, and the groups below are still to be read: the next tick
    /// comes by, since the groups above will have moved by the same.
    fn read_alone(&mut self, path: &Text, file: PulseFile) -> Outcome {
        let outcome = self.read_pulse(path, file);
        if let Some(pulse) = self.tree.groups.get_mut(path).and_then(|group| group.pulse(file)) {
            pulse.has_moved |= matches!(outcome, Outcome::Moved);
        }
        outcome
    }

    fn read_pulse(&mut self, path: &Text, file: PulseFile) -> Outcome {
        let mut outcome = self.try_pulse(path, file);
        if let Some(Err(Errno::MFILE | Errno::NFILE)) = outcome {
            // Those that are kept open for speed are in the way now.
            self.tree.close_all();
            outcome = self.try_pulse(path, file);
        }
        match outcome {
            None => Outcome::Gone,
            Some(Ok(false)) => Outcome::Still,
            Some(Ok(true) | Err(_)) => Outcome::Moved,
        }
    }

    /// `None` where the group is gone; an error that it is marked with already.
    fn try_pulse(&mut self, path: &Text, file: PulseFile) -> Option<rustix::io::Result<bool>> {
        let Tree { groups, hierarchy, buffer, open, .. } = &mut self.tree;
        let group = groups.get_mut(path)?;
        if let Some(kept) = group.pulse(file)?.file.take() {
            match buffer.load(&kept) {
                Ok(()) => {
                    group.pulse(file)?.file = Some(kept);
                    return Some(Ok(take_pulse(group, file, Ok(buffer.last()))));
                }
                Err(_) => *open = open.saturating_sub(1),
            }
        }
        let is_off = file == PulseFile::Io && !group.sample.info.has("io") && group.depth > 0;
        if is_off {
            group.sample.io = Reading::NotApplicable;
            group.pulse(file)?.is_absent = true;
            return Some(Ok(true));
        }
        let opened = hierarchy.place(path).and_then(|(place, id, _)| {
            if id == group.sample.id { hierarchy.open_file(&place, file.name()) } else { Err(Errno::NODEV) }
        });
        let is_file_missing = |errno: Errno| errno == Errno::NOENT && hierarchy.place(path).is_ok();
        let loaded = opened.and_then(|opened| buffer.load(&opened).map(|()| opened));
        group.pulse(file)?.is_absent = false;
        match loaded {
            Ok(opened) => {
                if *open < self.max_fds {
                    *open = open.saturating_add(1);
                    group.pulse(file)?.file = Some(opened);
                }
                Some(Ok(take_pulse(group, file, Ok(buffer.last()))))
            }
            Err(errno) if is_gone(errno) && !is_file_missing(errno) => None,
            Err(errno) => {
                group.pulse(file)?.is_absent = matches!(errno, Errno::NOENT | Errno::OPNOTSUPP);
                take_pulse(group, file, Err(errno));
                Some(Err(errno))
            }
        }
    }

    /// Marks the groups whose turn it is to be read though they stand still.
    fn renew(&mut self, now: Monotonic) {
        /// What is hurried is due in this part of the usual time.
        const HURRY: u32 = 5;
        /// The averages of a group that no longer waits fall by themselves.
        const AVERAGES: Duration = Duration::from_secs(10);
        let count = self.tree.groups.len();
        let elapsed = self.last.and_then(|last| now.since(last)).unwrap_or_default();
        let look = Duration::from_secs(5).min(self.max_age.checked_div(HURRY).unwrap_or_default());
        if self.fields.contains(ControlGroupFields::MEMORY)
            && self.reclaim.as_mut().is_none_or(|reclaim| reclaim.was_seen(look, now))
        {
            self.hurried = count;
        }
        let within = if self.hurried > 0 { self.max_age.checked_div(HURRY).unwrap_or_default() } else { self.max_age };
        let turns_of = |within| turns(count, elapsed, within);
        let (turns, turns_of_averages) = (turns_of(within), turns_of(AVERAGES));
        self.hurried = self.hurried.saturating_sub(turns);
        for path in self.renewed.take(&self.tree, turns) {
            if let Some(group) = self.tree.groups.get_mut(&path)
                && group.is_wanted
                && group.read_in != self.tick
            {
                (group.due.usage, group.due.limits, group.due.pulses) = (true, true, true);
            }
        }
        if !self.fields.contains(ControlGroupFields::PRESSURE) {
            return;
        }
        for path in self.averaged.take(&self.tree, turns_of_averages) {
            if let Some(group) = self.tree.groups.get_mut(&path)
                && group.is_selected
            {
                group.due.averages |= has_averages(&group.pressure);
            }
        }
    }

    /// Reads what is due of the groups that are known.
    fn read_due(&mut self, now: Monotonic, gone: &mut BTreeSet<Text>, cancel: &Cancel) -> Result<()> {
        let due = |group: &Group| group.is_wanted && group.due.is_any();
        let due: Vec<Text> =
            self.tree.groups.iter().filter(|(_, group)| due(group)).map(|(path, _)| path.clone()).collect();
        for path in due {
            cancel.check()?;
            if gone.contains(&path) {
                continue;
            }
            let due = self.tree.groups.get(&path).map(|group| group.due).unwrap_or_default();
            for file in PulseFile::ALL {
                let is_due = due.pulses || (due.averages && file.field() == ControlGroupFields::PRESSURE);
                if is_due && self.fields.contains(file.field()) {
                    // That it is gone is found by what is read next.
                    self.read_alone(&path, file);
                }
            }
            if let Some(group) = self.tree.groups.get_mut(&path) {
                (group.due.pulses, group.due.averages) = (std::mem::take(&mut group.due.pulses_again), false);
            }
            if self.read_rest(&path, now).is_err() {
                gone.insert(path);
            }
        }
        Ok(())
    }

    /// Reads what is due of a group, but for the pulses; fails where it is gone.
    fn read_rest(&mut self, path: &Text, now: Monotonic) -> std::result::Result<(), Gone> {
        let fields = self.fields;
        let Tree { groups, hierarchy, buffer, limits_changed, .. } = &mut self.tree;
        let Some(group) = groups.get_mut(path) else { return Err(Gone) };
        let wants_limits = group.due.limits && fields.contains(ControlGroupFields::LIMITS);
        let wants_usage = group.due.usage && group.is_selected;
        (group.due.limits, group.due.usage) = (false, false);
        if !wants_limits && !wants_usage {
            return Ok(());
        }
        let place: OwnedFd = match hierarchy.place(path) {
            Ok((place, id, _)) if id == group.sample.id => place,
            Ok(_) => return Err(Gone),
            Err(errno) if is_gone(errno) => return Err(Gone),
            Err(_) => {
                (group.due.limits, group.due.usage) = (wants_limits, wants_usage);
                return Ok(());
            }
        };
        let info = Arc::clone(&group.sample.info);
        let is_root = group.depth == 0 && hierarchy.is_whole;
        let mut files = Files { hierarchy, place: &place, buffer, info: &info, is_root, starved: false };
        if wants_usage {
            group.sample.memory = files.memory(fields)?;
            group.sample.pids = files.pids(fields)?;
            group.sample.read_at = now;
        }
        if wants_limits {
            let limits = files.limits()?;
            if limits != group.limits {
                (group.limits, *limits_changed) = (limits, true);
            }
        }
        let starved = files.starved;
        group.due.usage |= starved;
        if starved {
            self.tree.close_all();
        }
        Ok(())
    }

    /// Finds the limits that hold, where any changed.
    fn find_limits(&mut self) {
        if !self.fields.contains(ControlGroupFields::LIMITS) || !std::mem::take(&mut self.tree.limits_changed) {
            return;
        }
        let Tree { groups, hierarchy, root, .. } = &mut self.tree;
        let found: Vec<(Text, ControlGroupLimits)> = groups
            .iter()
            .filter(|(_, group)| group.is_selected)
            .map(|(path, group)| {
                let mut chain = vec![path.clone()];
                while let Some(above) = chain.last().filter(|path| *path != root).and_then(parent) {
                    chain.push(above);
                }
                let chain = chain.iter().rev().filter_map(|path| Some((path, &groups.get(path)?.limits)));
                let effective = EffectiveLimits::of(chain, hierarchy.is_whole);
                (path.clone(), ControlGroupLimits { effective, ..group.limits.clone() })
            })
            .collect();
        for (path, limits) in found {
            if let Some(group) = groups.get_mut(&path)
                && group.sample.limits.value().is_none_or(|before| **before != limits)
            {
                group.sample.limits = Reading::Value(Arc::new(limits));
            }
        }
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }
}

/// How many of `count` have their turn after `elapsed`, so that all have it `within` a time.
fn turns(count: usize, elapsed: Duration, within: Duration) -> usize {
    if within.is_zero() {
        return count;
    }
    let share = elapsed.as_nanos().saturating_mul(u128::try_from(count).unwrap_or(u128::MAX));
    let turns = share.checked_div(within.as_nanos()).unwrap_or(0);
    usize::try_from(turns).unwrap_or(usize::MAX).saturating_add(usize::from(!elapsed.is_zero())).min(count)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::hierarchy::Hierarchy;
    use super::super::selection::Selection;
    use super::*;

    fn usage(directory: &Path, usage_usec: u64) {
        let text = format!("usage_usec {usage_usec}\nuser_usec {usage_usec}\nsystem_usec 0\n");
        std::fs::write(directory.join("cpu.stat"), text).unwrap();
    }

    #[test]
    fn a_group_that_was_read_out_of_its_turn_hides_nothing_below_it() {
        let directory = tempfile::tempdir().unwrap();
        let [root, a, b] = ["", "a", "a/b"].map(|path| directory.path().join(path));
        std::fs::create_dir_all(&b).unwrap();
        for place in [&root, &a, &b] {
            std::fs::write(place.join("cgroup.controllers"), "").unwrap();
            usage(place, 1);
        }
        let hierarchy = Hierarchy::open(Some(directory.path())).unwrap();
        let tree = Tree::new(hierarchy, Selection::default(), 0, false);
        let day = Duration::from_secs(86_400);
        let mut scan = Scan::new(tree, ControlGroupFields::CPU, day, day, 100);
        let tick = |scan: &mut Scan| {
            let mut snapshot = Snapshot::default();
            scan.tick(&mut snapshot, &Cancel::new()).unwrap();
            let of = |sample: &ControlGroupSample| sample.cpu.value().unwrap().usage_ns / 1000;
            snapshot.samples.iter().map(of).collect::<Vec<u64>>()
        };
        assert_eq!(tick(&mut scan), [1, 1, 1]);
        for place in [&root, &a, &b] {
            usage(place, 5);
        }
        // As where it runs between the pulse and the renewal of a tick.
        scan.read_alone(&"/a".into(), PulseFile::Cpu);
        assert_eq!(tick(&mut scan), [5, 5, 5]);
    }

    #[test]
    fn all_have_their_turn() {
        let second = Duration::from_secs(1);
        assert_eq!(turns(1000, second, second * 10), 101);
        assert_eq!(turns(1000, Duration::ZERO, second), 0, "the first tick has read all");
        assert_eq!(turns(1000, second, Duration::ZERO), 1000);
        assert_eq!(turns(1000, second * 20, second), 1000);
        assert_eq!(turns(3, second, Duration::MAX), 1);
        assert_eq!(turns(usize::MAX, Duration::MAX, second), usize::MAX);
    }
}
