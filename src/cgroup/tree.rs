//! The control groups that exist: found by listing, by events of the kernel, and by the number of links.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::event::ControlGroupEventKind;
use super::group::Group;
use super::hierarchy::Hierarchy;
use super::keyed::numbers;
use super::memory::MemoryEvents;
use super::selection::Selection;
use super::watches::{Noticed, Watches};
use super::{ControlGroupInfo, ControlGroupSample};
use crate::number::words;
use crate::process::file::{Buffer, unavailable};
use crate::snapshot::Skipped;
use crate::{Cancel, Monotonic, Reading, Result, Text};

/// All control groups, as far as they can be seen.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) hierarchy: Hierarchy,
    pub(super) groups: BTreeMap<Text, Group>,
    pub(super) root: Text,
    select: Selection,
    watches: Watches,
    pub(super) buffer: Buffer,
    /// The groups that are to be listed again.
    unlisted: BTreeSet<Text>,
    has_lost_events: bool,
    pub(super) walked_at: Option<Monotonic>,
    /// What could not be opened or listed, and whether for want of permission.
    unreachable: BTreeMap<Text, bool>,
    /// Kept where events are asked for.
    happened: Option<Vec<Happened>>,
    /// How many births the kernel reported by path, and whether a birth was the first it reported of it.
    born: BTreeMap<Text, (usize, bool)>,
    /// The groups that the last listing found before their birth was reported.
    awaited: BTreeSet<Text>,
    is_first: bool,
    /// Something of the limits changed, so those that hold are to be found again.
    pub(super) limits_changed: bool,
    /// Files that are open.
    pub(super) open: usize,
}

/// Something that happened to a selected group.
#[derive(Debug)]
pub(super) struct Happened {
    pub(super) path: Text,
    pub(super) id: Option<u64>,
    pub(super) info: Arc<ControlGroupInfo>,
    pub(super) kind: ControlGroupEventKind,
}

impl Tree {
    pub(super) fn new(hierarchy: Hierarchy, select: Selection, max_watches: usize, with_events: bool) -> Self {
        Self {
            root: hierarchy.root_path(),
            hierarchy,
            groups: BTreeMap::new(),
            select,
            watches: Watches::new(max_watches),
            buffer: Buffer::new(),
            unlisted: BTreeSet::new(),
            has_lost_events: false,
            walked_at: None,
            unreachable: BTreeMap::new(),
            happened: with_events.then(Vec::new),
            born: BTreeMap::new(),
            awaited: BTreeSet::new(),
            is_first: true,
            limits_changed: true,
            open: 0,
        }
    }

    pub(super) fn watches(&self) -> &Watches {
        &self.watches
    }

    /// Takes what happened.
    pub(super) fn take_happened(&mut self) -> Vec<Happened> {
        self.happened.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// How many selected groups have no watch, or not all.
    pub(super) fn unwatched(&self) -> u64 {
        let is_unwatched = |group: &&Group| !group.is_watched || !group.states_are_watched;
        u64::try_from(self.groups.values().filter(is_unwatched).count()).unwrap_or(u64::MAX)
    }

    pub(super) fn skipped(&self) -> Skipped {
        let mut skipped = Skipped::default();
        for is_denied in self.unreachable.values() {
            let count = if *is_denied { &mut skipped.denied } else { &mut skipped.failed };
            *count = count.saturating_add(1);
        }
        skipped
    }

    /// Finds which groups there are now, and in which state.
    pub(super) fn update(&mut self, now: Monotonic, walk_every: Duration, cancel: &Cancel) -> Result<()> {
        let age = self.walked_at.and_then(|at| now.since(at));
        let is_due = age.is_none_or(|age| age >= walk_every);
        if is_due {
            self.watches.retry();
        }
        self.drain();
        if self.groups.is_empty() {
            let (place, id, _) = self.hierarchy.place(&self.root).map_err(|errno| self.hierarchy.error(errno))?;
            self.add(self.root.clone(), &place, id);
        }
        if is_due || std::mem::take(&mut self.has_lost_events) {
            // Until it is done.
            self.walked_at = None;
            self.list_from(vec![self.root.clone()], true, cancel)?;
            self.walked_at = Some(now);
            self.unlisted.clear();
        } else {
            self.list_due(cancel)?;
        }
        self.unseen_lives();
        self.read_states(cancel)?;
        if self.is_first {
            self.is_first = false;
            self.take_happened();
        }
        Ok(())
    }

    /// Lists what is to be listed again.
    pub(super) fn list_due(&mut self, cancel: &Cancel) -> Result<()> {
        for (path, group) in &self.groups {
            // One for each group in it, and two; on some file systems that are not the kernel's always one.
            if !group.is_watched && self.select.goes_below(group.depth) {
                let is_same = self.hierarchy.links(path).is_ok_and(|links| links == group.links && links > 1);
                if !is_same {
                    self.unlisted.insert(path.clone());
                }
            }
        }
        while let Some(path) = self.unlisted.first().cloned() {
            self.list_from(vec![path.clone()], false, cancel)?;
            self.unlisted.remove(&path);
        }
        Ok(())
    }

    /// A group turned out to be gone: another can have its path by now.
    pub(super) fn is_gone(&mut self, path: &Text) {
        if let Some(parent) = parent(path) {
            self.unlisted.insert(parent);
        }
        self.remove(path);
    }

    fn drain(&mut self) {
        let Self { watches, groups, unlisted, has_lost_events, born, happened, .. } = self;
        let mut of_cpus = Vec::new();
        let mut of_controllers = Vec::new();
        watches.drain(|noticed| match noticed {
            Noticed::Overflow => *has_lost_events = true,
            Noticed::Child { path, name, is_birth } => {
                if groups.contains_key(path) {
                    unlisted.insert(path.clone());
                }
                if happened.is_some() {
                    let (births, _) = born.entry(child(path, name)).or_insert((0, is_birth));
                    *births = births.saturating_add(usize::from(is_birth));
                }
            }
            Noticed::File { path, name } => {
                let Some(group) = groups.get_mut(path) else { return };
                match name {
                    b"cgroup.events" => group.due.states = true,
                    b"cgroup.procs" | b"cgroup.threads" => group.due.usage = true,
                    b"cgroup.subtree_control" => of_controllers.extend(group.children.iter().cloned()),
                    b"memory.events" | b"memory.events.local" => (group.due.kills, group.due.usage) = (true, true),
                    b"cpu.max" | b"cpu.weight" | b"cpu.weight.nice" | b"cpu.idle" | b"memory.max" | b"memory.high"
                    | b"memory.swap.max" | b"pids.max" => group.due.limits = true,
                    name if name.starts_with(b"cpuset.") => of_cpus.push(path.clone()),
                    _ => {}
                }
            }
        });
        for path in of_controllers {
            if let Some(group) = groups.get_mut(&path) {
                group.due.controllers = true;
            }
        }
        // The groups below have the CPUs of those above.
        while let Some(path) = of_cpus.pop() {
            if let Some(group) = groups.get_mut(&path) {
                group.due.limits = true;
                of_cpus.extend(group.children.iter().cloned());
            }
        }
        if self.has_lost_events {
            for group in self.groups.values_mut() {
                let due = &mut group.due;
                (due.states, due.kills, due.controllers, due.limits, due.usage) = (true, true, true, true, true);
            }
        }
    }

    /// Lists these groups, and those that are found in them; with `all` those in them that are known too.
    fn list_from(&mut self, mut stack: Vec<Text>, all: bool, cancel: &Cancel) -> Result<()> {
        while let Some(path) = stack.pop() {
            cancel.check()?;
            self.list(&path, all, &mut stack)?;
        }
        Ok(())
    }

    fn list(&mut self, path: &Text, all: bool, stack: &mut Vec<Text>) -> Result<()> {
        let Some(group) = self.groups.get(path) else { return Ok(()) };
        let is_root = *path == self.root;
        let (place, links) = match self.hierarchy.place(path) {
            Ok((place, id, links)) if id == group.sample.id => (place, links),
            Ok(_) if !is_root => {
                self.is_gone(path);
                return Ok(());
            }
            Err(errno) if !is_root && is_gone(errno) => {
                self.is_gone(path);
                return Ok(());
            }
            Ok(_) => return Err(self.hierarchy.error(Errno::NODEV)),
            Err(errno) if is_root => return Err(self.hierarchy.error(errno)),
            Err(errno) => {
                self.is_unreachable(path.clone(), errno);
                return Ok(());
            }
        };
        if !group.is_watched {
            self.watch(path, &place);
        }
        let Some(group) = self.groups.get_mut(path) else { return Ok(()) };
        if !self.select.goes_below(group.depth) {
            return Ok(());
        }
        let found = match names(&place) {
            Ok(found) => found,
            Err(errno) if is_root => return Err(self.hierarchy.error(errno)),
            Err(errno) if is_gone(errno) => {
                self.is_gone(path);
                return Ok(());
            }
            Err(errno) => {
                self.is_unreachable(path.clone(), errno);
                return Ok(());
            }
        };
        self.unreachable.remove(path);
        group.links = links;
        let found: BTreeMap<Text, u64> = found.into_iter().map(|(name, id)| (child(path, &name), id)).collect();
        let known: Vec<Text> = group.children.iter().cloned().collect();
        for known in known {
            let id = self.groups.get(&known).map(|group| group.sample.id);
            // Beside the kernel's own, there are file systems whose listings have other numbers.
            let is_same = |listed: &u64| {
                Some(*listed) == id || self.hierarchy.place(&known).is_ok_and(|(_, now, _)| Some(now) == id)
            };
            if !found.get(&known).is_some_and(is_same) {
                self.remove(&known);
            }
        }
        self.unreachable.retain(|other, _| parent(other).as_ref() != Some(path) || found.contains_key(other));
        for path in found.into_keys() {
            if self.groups.contains_key(&path) {
                if all {
                    stack.push(path);
                }
                continue;
            }
            match self.hierarchy.place(&path) {
                Ok((place, id, _)) => {
                    self.add(path.clone(), &place, id);
                    stack.push(path);
                }
                Err(errno) if is_gone(errno) => {}
                Err(errno) => self.is_unreachable(path, errno),
            }
        }
        Ok(())
    }

    fn is_unreachable(&mut self, path: Text, errno: Errno) {
        self.unreachable.insert(path, matches!(errno, Errno::ACCESS | Errno::PERM));
    }

    /// A group that was found. It is watched before it is listed, so that no birth in it is missed.
    fn add(&mut self, path: Text, place: &OwnedFd, id: u64) {
        let above = parent(&path).filter(|_| path != self.root);
        let parent = above.as_ref().and_then(|above| self.groups.get(above));
        let depth = parent.map_or(0, |parent| parent.depth.saturating_add(1));
        let info = ControlGroupInfo::new(&path, self.controllers(place));
        let parent = above.as_ref().and_then(|above| self.groups.get(above));
        let is_selected =
            self.select.includes(path.as_bytes(), depth, &info, parent.map(|parent| &*parent.sample.info));
        let mut group = Group::new(path.clone(), id, depth, info);
        (group.is_selected, group.is_wanted) = (is_selected, is_selected);
        if let Some(parent) = above.as_ref().and_then(|above| self.groups.get_mut(above)) {
            parent.children.insert(path.clone());
        }
        if is_selected {
            let mut above = above;
            while let Some(group) = above.as_ref().and_then(|above| self.groups.get_mut(above)) {
                if std::mem::replace(&mut group.is_wanted, true) {
                    break;
                }
                group.due.all = true;
                let next = parent_in(&group.sample, &self.root);
                above = next;
            }
        }
        self.unreachable.remove(&path);
        self.groups.insert(path.clone(), group);
        self.watch(&path, place);
        self.limits_changed = true;
        self.note(&path, ControlGroupEventKind::Created {});
    }

    fn watch(&mut self, path: &Text, place: &OwnedFd) {
        let Some(group) = self.groups.get_mut(path) else { return };
        group.is_watched = group.is_watched || self.watches.watch(path, place, None);
        if !group.is_selected || (group.depth == 0 && self.hierarchy.is_whole) {
            group.states_are_watched = true;
            return;
        }
        group.states_are_watched = group.states_are_watched || self.watches.watch(path, place, Some("cgroup.events"));
        // In a kernel that has only the second, it has the kills of the groups below too.
        if group.sample.info.has("memory") && !group.kills_are_watched {
            group.kills_are_watched = self.watches.watch(path, place, Some("memory.events.local"))
                || self.watches.watch(path, place, Some("memory.events"));
        }
    }

    /// Forgets a group, and those below it: the innermost first.
    fn remove(&mut self, path: &Text) {
        if *path == self.root {
            return;
        }
        if let Some(parent) = parent(path).and_then(|parent| self.groups.get_mut(&parent)) {
            parent.children.remove(path);
        }
        let (mut stack, mut all) = (vec![path.clone()], Vec::new());
        while let Some(path) = stack.pop() {
            if let Some(group) = self.groups.get(&path) {
                stack.extend(group.children.iter().cloned());
                all.push(path);
            }
        }
        for path in all.into_iter().rev() {
            self.note(&path, ControlGroupEventKind::Removed {});
            if let Some(mut group) = self.groups.remove(&path) {
                self.open = self.open.saturating_sub(group.close());
            }
            self.unlisted.remove(&path);
        }
    }

    /// The lives that were over before they could be listed: more births were reported than found.
    fn unseen_lives(&mut self) {
        let (born, awaited) = (std::mem::take(&mut self.born), std::mem::take(&mut self.awaited));
        let Some(mut happened) = self.happened.take() else { return };
        let is_created = |one: &Happened| one.kind == ControlGroupEventKind::Created {};
        // How often each of these was found, and at which place the last time.
        let mut found: BTreeMap<&Text, (usize, usize)> = BTreeMap::new();
        for (at, one) in happened.iter().enumerate().filter(|(_, one)| is_created(one)) {
            if let Some((path, _)) = born.get_key_value(&one.path) {
                let (count, last) = found.entry(path).or_default();
                (*count, *last) = (count.saturating_add(1), at);
            }
        }
        let mut lives: BTreeMap<usize, Vec<Happened>> = BTreeMap::new();
        for (path, (births, is_first)) in &born {
            // The report of one that was found already comes first; after a death it is of another one.
            let known = usize::from(*is_first && awaited.contains(path));
            let (found, at) = found.get(path).copied().unwrap_or((0, happened.len()));
            let unseen = births.saturating_sub(known).saturating_sub(found);
            let parent = parent(path).and_then(|parent| self.groups.get(&parent));
            let Some(parent) = parent.filter(|_| unseen > 0 && !self.unreachable.contains_key(path)) else { continue };
            let info = Arc::new(ControlGroupInfo::new(path, Vec::new()));
            let depth = parent.depth.saturating_add(1);
            if !self.select.includes(path.as_bytes(), depth, &info, Some(&parent.sample.info)) {
                continue;
            }
            // Before the one that is there now.
            let lives = lives.entry(at).or_default();
            for _ in 0..unseen {
                for kind in [ControlGroupEventKind::Created {}, ControlGroupEventKind::Removed {}] {
                    lives.push(Happened { path: path.clone(), id: None, info: Arc::clone(&info), kind });
                }
            }
        }
        if !lives.is_empty() {
            let mut all = Vec::new();
            for (at, one) in std::mem::take(&mut happened).into_iter().enumerate() {
                all.extend(lives.remove(&at).into_iter().flatten());
                all.push(one);
            }
            all.extend(lives.into_values().flatten());
            happened = all;
        }
        let is_reported = |path: &Text| born.get(path).is_some_and(|(births, _)| *births > 0);
        let created = happened.iter().filter(|one| is_created(one) && !is_reported(&one.path));
        self.awaited = created.map(|one| one.path.clone()).collect();
        self.happened = Some(happened);
    }

    /// Reads the state of the groups in which it may have changed.
    fn read_states(&mut self, cancel: &Cancel) -> Result<()> {
        let wants_kills = self.happened.is_some();
        let is_due = |group: &Group| {
            group.is_wanted && group.due.controllers
                || group.is_selected
                    && (group.due.states
                        || !group.states_are_watched
                        || wants_kills
                            && (group.due.kills || !group.kills_are_watched)
                            && group.sample.info.has("memory"))
        };
        let due: Vec<Text> =
            self.groups.iter().filter(|(_, group)| is_due(group)).map(|(path, _)| path.clone()).collect();
        for path in due {
            cancel.check()?;
            if self.read_state(&path, wants_kills).is_err() {
                self.is_gone(&path);
            }
        }
        Ok(())
    }

    /// Fails where the group is gone.
    fn read_state(&mut self, path: &Text, wants_kills: bool) -> std::result::Result<(), Errno> {
        let Some(group) = self.groups.get(path) else { return Ok(()) };
        let (due, is_root, id) = (group.due, group.depth == 0, group.sample.id);
        let place = match self.hierarchy.place(path) {
            Ok((place, now, _)) if now == id => place,
            Ok(_) => return Err(Errno::NODEV),
            Err(errno) if is_gone(errno) => return Err(errno),
            // Another time.
            Err(_) => return Ok(()),
        };
        if due.controllers {
            let controllers = self.controllers(&place);
            let info = ControlGroupInfo::new(path, controllers);
            if let Some(group) = self.groups.get_mut(path) {
                group.due.controllers = false;
                if info != *group.sample.info {
                    group.sample.info = Arc::new(info);
                    group.due.all = true;
                }
            }
            self.watch(path, &place);
        }
        let states = self.states(&place, is_root)?;
        let kills = if wants_kills { self.kills(&place) } else { None };
        let Some(group) = self.groups.get_mut(path) else { return Ok(()) };
        (group.due.states, group.due.kills) = (false, false);
        let before = (group.sample.populated, group.sample.frozen);
        (group.sample.populated, group.sample.frozen) = states;
        let kills_before = group.oom_kills;
        group.oom_kills = kills.or(kills_before);
        let is_changed = |before: Reading<bool>, now: Reading<bool>| {
            // A new group is empty and thawed.
            (now.value() != before.value() && (now == Reading::Value(true) || before == Reading::Value(true)))
                .then_some(now == Reading::Value(true))
        };
        let populated = is_changed(before.0, states.0);
        let frozen = is_changed(before.1, states.1);
        // Whoever came and left between two ticks changes no state, and ran.
        // Of a new group all is read.
        let is_reported = due.states && !due.all;
        group.due.usage |= populated.is_some() || is_reported;
        (group.due.pulses, group.due.pulses_again) = (group.due.pulses | is_reported, is_reported);
        if let Some(is) = populated {
            self.note(path, if is { ControlGroupEventKind::Populated {} } else { ControlGroupEventKind::Emptied {} });
        }
        if let Some(is) = frozen {
            self.note(path, if is { ControlGroupEventKind::Frozen {} } else { ControlGroupEventKind::Thawed {} });
        }
        let grown = kills.and_then(|now| now.checked_sub(kills_before.unwrap_or(0))).unwrap_or(0);
        if grown > 0 {
            self.note(path, ControlGroupEventKind::OomKilled { count: grown });
        }
        Ok(())
    }

    /// Whether a group is populated, and frozen; `Err` where it is gone.
    fn states(&mut self, place: &OwnedFd, is_root: bool) -> rustix::io::Result<(Reading<bool>, Reading<bool>)> {
        let opened = self.hierarchy.open_file(place, "cgroup.events");
        let file = match opened.and_then(|file| self.buffer.read(file)) {
            Ok(file) => file,
            Err(Errno::NODEV) => return Err(Errno::NODEV),
            Err(Errno::NOENT) if is_root => return Ok((Reading::NotApplicable, Reading::NotApplicable)),
            Err(errno) => return Ok((unavailable(errno), unavailable(errno))),
        };
        let flag = |wanted: &[u8]| {
            let found = numbers(file).find(|(name, _)| *name == wanted);
            found.map_or(Reading::Unsupported, |(_, number)| Reading::Value(number != 0))
        };
        Ok((flag(b"populated"), flag(b"frozen")))
    }

    /// How many processes of its own the OOM killer killed.
    fn kills(&mut self, place: &OwnedFd) -> Option<u64> {
        ["memory.events.local", "memory.events"].into_iter().find_map(|name| {
            let file = self.hierarchy.open_file(place, name).ok()?;
            Some(MemoryEvents::parse(self.buffer.read(file).ok()?)?.oom_kill)
        })
    }

    fn controllers(&mut self, place: &OwnedFd) -> Vec<Text> {
        let file = self.hierarchy.open_file(place, "cgroup.controllers");
        let file = file.and_then(|file| self.buffer.read(file));
        file.map(|file| words(file).map(Text::from).collect()).unwrap_or_default()
    }

    fn note(&mut self, path: &Text, kind: ControlGroupEventKind) {
        if let (Some(happened), Some(group)) = (&mut self.happened, self.groups.get(path))
            && group.is_selected
        {
            let info = Arc::clone(&group.sample.info);
            happened.push(Happened { path: path.clone(), id: Some(group.sample.id), info, kind });
        }
    }

    /// Closes all files.
    pub(super) fn close_all(&mut self) {
        self.groups.values_mut().for_each(|group| {
            group.close();
        });
        self.open = 0;
    }
}

/// The group above; `None` of the root of all.
pub(super) fn parent(path: &Text) -> Option<Text> {
    let path = path.as_bytes();
    let slash = path.iter().rposition(|byte| *byte == b'/')?;
    match path.split_at_checked(slash)? {
        (b"", b"/") => None,
        (b"", _) => Some("/".into()),
        (parent, _) => Some(parent.into()),
    }
}

fn parent_in(sample: &ControlGroupSample, root: &Text) -> Option<Text> {
    parent(&sample.path).filter(|_| sample.path != *root)
}

fn child(path: &Text, name: &[u8]) -> Text {
    let above = path.as_bytes();
    let slash: &[u8] = if above == b"/" { b"" } else { b"/" };
    [above, slash, name].concat().into()
}

/// The names and ids of the groups in a group.
fn names(place: &OwnedFd) -> rustix::io::Result<Vec<(Vec<u8>, u64)>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(place, c".", flags, Mode::empty())?;
    let mut found = Vec::new();
    for entry in Dir::new(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." && entry.file_type() == FileType::Directory {
            found.push((name.to_vec(), entry.ino()));
        }
    }
    Ok(found)
}

pub(super) fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NODEV | Errno::NOTDIR | Errno::LOOP)
}
