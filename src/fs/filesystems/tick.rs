//! One tick of a source of file systems.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use super::FileSystems;
use crate::fs::mounted_entry::MountedEntry;
use crate::fs::parts;
use crate::fs::plan::{self, Target};
use crate::fs::prober::ProbeResult;
use crate::fs::sample::{FileSystemSample, Stalled};
use crate::fs::shut::Shut;
use crate::fs::table::{Table, WatchedTable};
use crate::time::Deadline;
use crate::{Cancel, Error, Monotonic, Notice, Result, Snapshot, Source};

/// How often the table is read even without a mount or unmount: the kernel reports no change when a file system changes
/// its options by itself.
const RECHECK: Duration = Duration::from_secs(60);

/// How long a tick trusts the mount table that it began with.
const LONG: Duration = Duration::from_millis(1);

impl FileSystems {
    /// Updates the entries of the file systems and the locations of the directories.
    fn plan(&mut self, now: Monotonic) -> Result<()> {
        self.look_up(now)?;
        // Renames of mounted directories are not reported: if the nesting depends on them, the table is compared.
        let depends = self.shared.lock().directories.depends_on_roots();
        if depends && self.watched.as_mut().is_some_and(WatchedTable::is_other) {
            self.stale = true;
            self.look_up(now)?;
        }
        Ok(())
    }

    fn look_up(&mut self, now: Monotonic) -> Result<()> {
        let watched = match &mut self.watched {
            Some(watched) => watched,
            None => self.watched.insert(WatchedTable::open()?),
        };
        let changed = watched.has_changed();
        self.stale |= changed || self.read_at.is_none_or(|at| now >= at.plus(RECHECK));
        let state = self.shared.lock();
        if let Some(fault) = &state.fault {
            return Err(Error::config(fault.clone()));
        }
        let same = !self.stale && self.generation == state.generation;
        if same && !state.directories.is_any_due(now) {
            return Ok(());
        }
        // Paths are resolved without the lock.
        let generation = state.generation;
        let (discovery, file_systems) = (state.discovery.clone(), state.file_systems.clone());
        let registered = state.directories.entries.iter().filter(|entry| entry.mounted_in.is_none());
        let due = registered.filter(|entry| !same || entry.is_to_be_looked_up(now));
        let directories: Vec<_> = due.map(|entry| (entry.id, entry.was_found, entry.directory.clone())).collect();
        drop(state);
        if !same {
            let stale = std::mem::replace(&mut self.stale, true);
            if stale {
                self.table = Table::of(watched.list()?);
                self.read_at = Some(now);
                self.table.identify();
            }
            let (targets, found) = plan::targets(&self.table, discovery.as_ref(), &file_systems)?;
            self.absent = file_systems.len().saturating_sub(found.len()) as u64;
            self.mounted_entry(targets, &found);
        }
        let targets: Vec<&Target> = self.mounted_entries.iter().map(|mounted_entry| &mounted_entry.target).collect();
        let mut locations = Vec::with_capacity(directories.len());
        for (id, was_found, directory) in &directories {
            match plan::location(&self.table, targets.iter().copied(), directory) {
                Ok(location) => {
                    let mounted = plan::mounted_in(&self.table, &targets, directory, &location);
                    locations.push((*id, Some(location), mounted));
                }
                Err(_) if *was_found || directory.optional => locations.push((*id, None, Vec::new())),
                Err(error) => return Err(error),
            }
        }
        let mut state = self.shared.lock();
        for (id, location, mounted) in locations {
            state.directories.set_location(id, location, mounted);
        }
        (self.generation, self.stale) = (generation, false);
        Ok(())
    }

    /// Makes the mounted entries those of `targets`; the state of a mount that stays is kept.
    fn mounted_entry(&mut self, targets: Vec<Target>, found: &[u64]) {
        let mut old = std::mem::take(&mut self.mounted_entries);
        old.append(&mut self.departed);
        for mut target in targets {
            let kept =
                old.iter().position(|mounted_entry| mounted_entry.is_of(&target)).map(|place| old.swap_remove(place));
            let path = CString::new(target.mount.mount_point.as_os_str().as_bytes()).unwrap_or_default();
            let (prober, answer) = match kept {
                Some(mounted_entry) => {
                    target.mount.unique_id = target.mount.unique_id.or(mounted_entry.target.mount.unique_id);
                    (mounted_entry.prober, mounted_entry.answer)
                }
                None => (None, None),
            };
            let shut = Shut::new(&target.mount, &self.table);
            self.mounted_entries.push(MountedEntry { target, path, shut, prober, answer, is_new: false });
        }
        self.departed = old;
        self.departed.retain(MountedEntry::is_silent);
        let mut state = self.shared.lock();
        state.statuses = self.mounted_entries.iter().map(MountedEntry::status).collect();
        for known in &mut state.file_systems {
            known.was_found |= found.contains(&known.id);
        }
    }

    /// Asks the mounts that may hang and have no unanswered question, and waits for them within the budget.
    fn ask(&mut self, now: Monotonic, cancel: &Cancel) -> Result<()> {
        let (mounted_entries, departed) = (&mut self.mounted_entries, &mut self.departed);
        self.probers.drain(|number, answer| {
            departed.retain(|mounted_entry| !mounted_entry.has_prober(number));
            take(mounted_entries, number, answer);
        });
        let mut missing = 0_usize;
        for mounted_entry in self.mounted_entries.iter_mut().filter(|mounted_entry| !mounted_entry.target.safe) {
            if mounted_entry.prober.is_none() {
                // If no thread can be started the next tick tries again.
                mounted_entry.prober = self.probers.start(mounted_entry.path.clone()).ok();
            }
            if mounted_entry.prober.as_mut().is_some_and(|prober| prober.ask(now)) {
                missing = missing.saturating_add(1);
            }
        }
        if missing > 0 {
            let (mounted_entries, departed) = (&mut self.mounted_entries, &mut self.departed);
            self.probers.wait(Deadline::after(self.config.budget), cancel, |number, answer| {
                departed.retain(|mounted_entry| !mounted_entry.has_prober(number));
                // The answer to a question of an earlier tick may arrive now.
                if take(mounted_entries, number, answer) == Some(now) {
                    missing = missing.saturating_sub(1);
                }
                missing == 0
            })?;
        }
        self.forget_replaced();
        Ok(())
    }

    /// Forgets the values of scans on mounts that were replaced by others.
    fn forget_replaced(&mut self) {
        let mut replaced = Vec::new();
        for mounted_entry in &mut self.mounted_entries {
            if std::mem::take(&mut mounted_entry.is_new) {
                replaced.extend_from_slice(&mounted_entry.target.mounts);
            }
        }
        if !replaced.is_empty() {
            self.shared.lock().directories.forget_unseen_on(&replaced);
        }
    }
}

/// Stores the answer of a prober; returns when it was asked.
fn take(mounted_entries: &mut [MountedEntry], number: u64, answer: ProbeResult) -> Option<Monotonic> {
    // The entry of the prober may have been removed meanwhile.
    mounted_entries.iter_mut().find(|mounted_entry| mounted_entry.has_prober(number))?.take(answer)
}

impl Source for FileSystems {
    type Sample = FileSystemSample;

    fn fill(&mut self, snapshot: &mut Snapshot<FileSystemSample>, cancel: &Cancel) -> Result<()> {
        snapshot.boot_id = self.boot_id;
        let began = snapshot.at;
        self.plan(began)?;
        if self.table.is_rootless {
            snapshot.notices.push(Notice::NoRootMount);
        }
        self.ask(began, cancel)?;
        // No scan is started on a mount whose figures are missing.
        let stalled: Vec<u32> =
            self.mounted_entries.iter().flat_map(|mounted_entry| mounted_entry.stalled_mounts()).copied().collect();
        self.shared.scan(&stalled, self.config.budget, cancel)?;
        // If the scans took long, another file system may be mounted over one that is asked here.
        let took = Monotonic::now().since(began).unwrap_or_default();
        if took > LONG && self.watched.as_ref().is_some_and(WatchedTable::has_changed) {
            self.stale = true;
            self.plan(began)?;
            self.ask(began, cancel)?;
        }
        // Read after the scans, so that the times of both are close together.
        let now = Monotonic::now();
        for mounted_entry in self.mounted_entries.iter_mut().filter(|mounted_entry| mounted_entry.target.safe) {
            cancel.check()?;
            let unique_id = mounted_entry.target.mount.unique_id;
            mounted_entry.answer =
                Some(ProbeResult { at: now, figures: rustix::fs::statvfs(&*mounted_entry.path), unique_id });
        }

        let mut state = self.shared.lock();
        snapshot.skipped.vanished = self.absent.saturating_add(state.directories.unresolved());
        snapshot.samples.reserve_exact(self.mounted_entries.len());
        for (place, mounted_entry) in self.mounted_entries.iter().enumerate() {
            if !mounted_entry.is_reported(&mut snapshot.skipped) {
                continue;
            }
            let mut sample = mounted_entry.sample();
            if let Some(since) = state.jobs.silent_since(&state.directories, place) {
                sample.stalled.get_or_insert(Stalled { since });
            }
            if sample.at.is_some() {
                parts::fill(&mut sample, &state.directories.slices(place), now);
            }
            snapshot.samples.push(sample);
        }
        state.have_data(self.mounted_entries.iter().map(MountedEntry::has_figures));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Directory;

    #[test]
    fn waiting_looks_for_scans_when_one_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let mut source = FileSystems::mounted().scans(1).entries_per_second(50);
        for name in ["a", "b", "c"] {
            let path = dir.path().join(name);
            std::fs::create_dir(&path).unwrap();
            for n in 0..10 {
                std::fs::write(path.join(n.to_string()), "").unwrap();
            }
            source = source.directory(Directory::new(name, path).wait());
        }
        source.collect(&mut Snapshot::default(), &Cancel::new()).unwrap();
        let state = source.shared.lock();
        assert!(state.directories.entries.iter().all(|entry| entry.has_data()));
        // One at the beginning, one before it waits, and one after each of the three.
        assert!(state.jobs.start_calls <= 5, "{}", state.jobs.start_calls);
        // One for each of the three, and spurious ones: it does not poll.
        assert!(state.wakes <= 10, "{}", state.wakes);
    }

    #[test]
    fn waiting_for_a_scan_sleeps_until_it_is_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..10 {
            std::fs::write(dir.path().join(n.to_string()), "").unwrap();
        }
        // The scan does not end within the time of the test.
        let slow = FileSystems::mounted().entries_per_second(1).directory(Directory::new("slow", dir.path()).wait());
        let (mut source, cancel) = (slow, Cancel::new());
        let (shared, other) = (std::sync::Arc::clone(&source.shared), cancel.clone());
        let waiting = std::thread::spawn(move || {
            let result = source.collect(&mut Snapshot::default(), &other);
            (result, source)
        });
        // The tick waits for it from when its scan is under way.
        while !shared.lock().directories.entries.iter().any(|entry| entry.flight.is_some()) {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(50));
        cancel.cancel();
        let (result, source) = waiting.join().unwrap();
        assert!(result.unwrap_err().is_cancelled());
        let wakes = source.shared.lock().wakes;
        assert!(wakes <= 5, "{wakes}");
    }

    #[test]
    fn mounted_file_systems_are_reported() {
        let mut snapshot = Snapshot::default();
        FileSystems::mounted().collect(&mut snapshot, &Cancel::new()).unwrap();
        assert!(snapshot.samples.iter().any(|fs| *fs.mount_point == *std::path::Path::new("/")));
        assert!(snapshot.samples.is_sorted_by_key(|fs| fs.mount_point.clone()));
        for fs in &snapshot {
            assert_eq!(fs.used_bytes + fs.free_bytes + fs.reserved_bytes, fs.total_bytes, "{fs:?}");
            assert_eq!(fs.parts.iter().map(|part| part.bytes).sum::<u64>(), fs.total_bytes, "{fs:?}");
        }
    }
}
