//! File systems as a source.

use std::ffi::CString;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{StatVfs, StatVfsMountFlags};
use rustix::io::Errno;

use super::directory::Directory;
use super::file_system::FileSystem;
use super::guard::{Answer, Answers, Guard};
use super::parts;
use super::plan::{self, Discovery, Target};
use super::registry::Registry;
use super::sample::{FileSystemSample, Inodes, Stalled};
use super::shut::Shut;
use super::state::{Present, Shared};
use super::table::{Table, Watched};
use crate::process::Pattern;
use crate::time::Deadline;
use crate::{BootId, Cancel, Error, Monotonic, Notice, Reading, Result, Skipped, Snapshot, Source};

/// File systems, and what directories hold of them, as a [`Source`].
///
/// A tick asks each file system for its figures (`statvfs(3)`) and puts together what its total is made of: each registered
/// [`Directory`], what else is used, what is free, what is reserved. These parts sum to the total, always. Scanning a
/// directory takes long, so what it found is kept for a while: see [`Directory`].
///
/// ```text
/// mount table, if it changed ──► scans that are due, beside ──► statvfs ──► parts ──► snapshot
/// ```
///
/// [`new`](Self::new) tells the file systems that are registered, [`mounted`](Self::mounted) all that are mounted, as they
/// come and go. Samples come in the order of their mount points.
///
/// A directory belongs to the mount it really is on, whatever leads there: symbolic links are followed, and a bind mount is
/// told from what it shows. A link of /proc that leads elsewhere than its text says, such as `/proc/PID/root` of a process in
/// another mount namespace, is an error. What is mounted in a directory is not in it
/// ([`Part::excluded_mounts`](crate::fs::Part::excluded_mounts)): it can be registered by itself.
///
/// What lies in two registered directories counts for the inner one, and what is registered by two paths that lead to the
/// same directory, for one of them; a file with names in several directories that are scanned together counts once, for the
/// innermost. A hard link between two that are not in one another counts in both, as `du` of each does.
///
/// A mount that does not answer, as that of a server that is away, holds up nothing: what needs a server or a program to
/// answer is asked by a thread of its own, never twice at a time. So is what stands on such a one, as an image on a loop
/// device; and where that cannot be found out: every overlay but that of `/`, since nothing shows where its layers are by now,
/// and an image that was set up in another mount namespace. The sample then says so ([`FileSystemSample::stalled`]) and keeps the last figures, until it answers. An automount is
/// never touched.
///
/// # Errors
///
/// [`collect`](Source::collect) fails when the mount table cannot be read, and when what was registered with the source
/// itself is wrong ([`Error::is_config`]): a file system that is not mounted, a directory that does not exist or is on a file
/// system that is not registered; unless they are optional ([`FileSystem::optional`], [`Directory::optional`]). What is
/// unmounted or removed later has no sample or part while it is away. A mount that
/// cannot be asked is counted in [`Snapshot::skipped`].
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use appmon::{Cancel, Directory, FileSystem, FileSystems, Snapshot, Source};
///
/// let mut disks = FileSystems::new()
///     .register(FileSystem::new("main", "/"))
///     .directory(Directory::new("etc", "/etc").ttl(Duration::from_secs(600)));
/// let mut snapshot = Snapshot::default();
/// disks.collect(&mut snapshot, &Cancel::new())?;
/// for part in &snapshot.samples[0].parts {
///     println!("{} {:?} {} bytes", part.name, part.kind, part.bytes);
/// }
/// # Ok::<(), appmon::Error>(())
/// ```
#[must_use = "a source reads nothing by itself: collect from it, or make it a stream with `every`"]
pub struct FileSystems {
    shared: Arc<Shared>,
    boot_id: BootId,
    budget: Duration,
    watched: Option<Watched>,
    table: Table,
    /// When the table was read.
    read_at: Option<Monotonic>,
    /// The generation of the registry that `mounted_entries` are of.
    generation: u64,
    /// Whether `mounted_entries` are of another mount table.
    stale: bool,
    /// Registered file systems that are not mounted.
    absent: u64,
    mounted_entries: Vec<MountedEntry>,
    /// Those that left while their mount had not answered: who comes back finds their thread.
    departed: Vec<MountedEntry>,
    answers: Answers,
}

/// The table is read so often though nothing was mounted or unmounted: options that a file system changed by itself are in
/// there, and are no change of it.
const RECHECK: Duration = Duration::from_secs(60);

/// What is kept of a mount from tick to tick.
struct MountedEntry {
    target: Target,
    path: CString,
    shut: Shut,
    /// For a mount that may hang.
    guard: Option<Guard>,
    answer: Option<Answer>,
    /// Whether something else was found mounted there by the last answer.
    is_new: bool,
}

impl FileSystems {
    /// None yet: [`register`](Self::register) them.
    pub fn new() -> Self {
        Self::with(None)
    }

    /// All file systems that are mounted and have a size, as they come and go.
    ///
    /// One for each file system, at the place where GNU `df` shows it: bind mounts are not told twice (nor are the
    /// subvolumes of btrfs, which are one file system with the same figures), and what is hidden below another mount
    /// is not told. What holds no files (proc, sysfs) is never asked.
    ///
    /// Those that are [registered](Self::register) too have their name, and are told however small they are.
    pub fn mounted() -> Self {
        Self::with(Some(Discovery::default()))
    }

    fn with(discovery: Option<Discovery>) -> Self {
        Self {
            shared: Shared::new(discovery),
            boot_id: BootId::current(),
            budget: Duration::from_millis(100),
            watched: None,
            table: Table::default(),
            read_at: None,
            generation: 0,
            stale: true,
            absent: 0,
            mounted_entries: Vec::new(),
            departed: Vec::new(),
            answers: Answers::new(),
        }
    }

    /// Adds a file system. Its name, and its mount point, must be the only ones.
    pub fn register(self, file_system: FileSystem) -> Self {
        let mut state = self.shared.lock();
        if let Err(error) = state.add_file_system(file_system) {
            state.fault.get_or_insert_with(|| error.to_string());
        }
        drop(state);
        self
    }

    /// Adds a directory, to be told as a part of the file system it is on. Its name must be the only one.
    pub fn directory(self, directory: Directory) -> Self {
        let mut state = self.shared.lock();
        if let Err(error) = state.add_directory(directory, None) {
            state.fault.get_or_insert_with(|| error.to_string());
        }
        drop(state);
        self
    }

    /// Of all that are mounted, takes only file systems of these types: globs such as `ext?` and `fuse.*`, as in
    /// [`Pattern::glob`]. Default: all types. No effect on those that are registered.
    ///
    /// This and the next three are for [`mounted`](Self::mounted) alone. In a source made by [`new`](Self::new) nothing is
    /// taken by itself, so there a glob is an error of its first tick, as one is that cannot be understood
    /// ([`Error::is_config`]).
    pub fn include_types(self, globs: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.patterns("include_types", globs, |discovery| &mut discovery.include_types)
    }

    /// Leaves out those of these types. Default: none.
    pub fn exclude_types(self, globs: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.patterns("exclude_types", globs, |discovery| &mut discovery.exclude_types)
    }

    /// Takes only those with these mount points: globs such as `/mnt/*` and `/srv{,/**}`. Default: all.
    pub fn include_paths(self, globs: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.patterns("include_paths", globs, |discovery| &mut discovery.include_paths)
    }

    /// Leaves out those with these mount points. Default: none.
    pub fn exclude_paths(self, globs: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.patterns("exclude_paths", globs, |discovery| &mut discovery.exclude_paths)
    }

    fn patterns(
        self,
        name: &str,
        globs: impl IntoIterator<Item = impl AsRef<str>>,
        list: impl Fn(&mut Discovery) -> &mut Vec<Pattern>,
    ) -> Self {
        let mut state = self.shared.lock();
        for glob in globs {
            match (Pattern::glob(glob.as_ref()), &mut state.discovery) {
                (Ok(pattern), Some(discovery)) => list(discovery).push(pattern),
                (Ok(_), None) => {
                    state.fault.get_or_insert_with(|| {
                        format!("`{name}` chooses among all that are mounted: it goes with `FileSystems::mounted()`")
                    });
                }
                (Err(error), _) => {
                    state.fault.get_or_insert_with(|| error.to_string());
                }
            }
        }
        drop(state);
        self
    }

    /// How long a tick waits for mounts that may hang, all together; how long it waits for a sign of life of a scan on one;
    /// and how long for what is [watched](Directory::watched) to be brought up to date. Default: 100 ms. Mounts that are
    /// known not to answer are not waited for.
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// How many directories are scanned at the same time at most. Default: 2. Those on mounts that may hang do not count:
    /// of them it is one on each mount. Nor does what is [watched](Directory::watched) count, after its first scan.
    pub fn scans(self, count: usize) -> Self {
        self.shared.lock().scans = count.max(1);
        self
    }

    /// How many threads a scan has. Default: as many as there are cores, 8 at most.
    pub fn scan_threads(self, count: usize) -> Self {
        self.shared.lock().settings.threads = Some(count.max(1));
        self
    }

    /// How many entries of directories a scan reads per second at most, to leave the disk to others. Default: no limit.
    pub fn entries_per_second(self, entries: u64) -> Self {
        self.shared.lock().settings.entries_per_second = Some(entries.max(1));
        self
    }

    /// How many directories are watched at most, in all of the [watched](Directory::watched) ones together. Default: a
    /// quarter of what the user may have (`/proc/sys/fs/inotify/max_user_watches`). With 0 none is, and all are read again
    /// when their TTL is over.
    pub fn max_watches(self, count: usize) -> Self {
        self.shared.lock().watched_trees.most = Some(count);
        self
    }

    /// The handle to what is registered, to be used while the stream runs.
    #[must_use]
    pub fn registry(&self) -> Registry {
        Registry::new(Arc::clone(&self.shared))
    }
}

impl FileSystems {
    /// Sees to it that there is an entry for each file system, and that each directory is known to be where it is.
    fn plan(&mut self, now: Monotonic) -> Result<()> {
        let watched = match &mut self.watched {
            Some(watched) => watched,
            None => self.watched.insert(Watched::open()?),
        };
        let changed = watched.has_changed();
        self.stale |= changed || self.read_at.is_none_or(|at| now >= at.plus(RECHECK));
        let state = self.shared.lock();
        if let Some(fault) = &state.fault {
            return Err(Error::config(fault.clone()));
        }
        let same = !self.stale && self.generation == state.generation;
        if same && !state.is_any_due(now) {
            return Ok(());
        }
        // Paths are looked at without the lock.
        let generation = state.generation;
        let (discovery, file_systems) = (state.discovery.clone(), state.file_systems.clone());
        let due = state.entries.iter().filter(|entry| !same || entry.is_to_be_looked_up(now));
        let directories: Vec<_> = due.map(|entry| (entry.id, entry.met, entry.directory.clone())).collect();
        drop(state);
        if !same {
            let stale = std::mem::replace(&mut self.stale, true);
            if stale {
                self.table = watched.read()?;
                self.read_at = Some(now);
                self.table.identify();
            }
            let (targets, met) = plan::targets(&self.table, discovery.as_ref(), &file_systems)?;
            self.absent = file_systems.len().saturating_sub(met.len()) as u64;
            self.mounted_entry(targets, &met);
        }
        let mut locations = Vec::with_capacity(directories.len());
        for (id, met, directory) in &directories {
            match plan::location(
                &self.table,
                self.mounted_entries.iter().map(|mounted_entry| &mounted_entry.target),
                directory,
            ) {
                Ok(location) => locations.push((*id, Some(location))),
                Err(_) if *met || directory.optional => locations.push((*id, None)),
                Err(error) => return Err(error),
            }
        }
        let mut state = self.shared.lock();
        for (id, location) in locations {
            if let Some(entry) = state.entries.iter_mut().find(|entry| entry.id == id) {
                entry.settle(location);
            }
        }
        (self.generation, self.stale) = (generation, false);
        Ok(())
    }

    /// Makes the mounted entries those of `targets`; what is known of a mount stays.
    fn mounted_entry(&mut self, targets: Vec<Target>, met: &[u64]) {
        let mut old = std::mem::take(&mut self.mounted_entries);
        old.append(&mut self.departed);
        for mut target in targets {
            let kept =
                old.iter().position(|mounted_entry| mounted_entry.is_of(&target)).map(|place| old.swap_remove(place));
            let path = CString::new(target.mount.mount_point.as_os_str().as_bytes()).unwrap_or_default();
            let (guard, answer) = match kept {
                Some(mounted_entry) => {
                    target.mount.unique_id = target.mount.unique_id.or(mounted_entry.target.mount.unique_id);
                    (mounted_entry.guard, mounted_entry.answer)
                }
                None => (None, None),
            };
            let shut = Shut::new(&target.mount, &self.table);
            self.mounted_entries.push(MountedEntry { target, path, shut, guard, answer, is_new: false });
        }
        self.departed = old;
        self.departed.retain(MountedEntry::is_silent);
        let mut state = self.shared.lock();
        state.present = self.mounted_entries.iter().map(MountedEntry::present).collect();
        for known in &mut state.file_systems {
            known.met |= met.contains(&known.id);
        }
    }

    /// Asks the mounts that may hang and have answered all so far, and waits for them within the budget.
    fn ask(&mut self, now: Monotonic, cancel: &Cancel) -> Result<()> {
        let (mounted_entries, departed) = (&mut self.mounted_entries, &mut self.departed);
        self.answers.drain(|number, answer| {
            departed.retain(|mounted_entry| !mounted_entry.is_guarded_by(number));
            take(mounted_entries, number, answer);
        });
        let mut missing = 0_usize;
        for mounted_entry in self.mounted_entries.iter_mut().filter(|mounted_entry| !mounted_entry.target.safe) {
            if mounted_entry.guard.is_none() {
                // Where no thread can be started the next tick tries again.
                mounted_entry.guard = self.answers.guard(mounted_entry.path.clone()).ok();
            }
            if mounted_entry.guard.as_mut().is_some_and(|guard| guard.ask(now)) {
                missing = missing.saturating_add(1);
            }
        }
        if missing > 0 {
            let (mounted_entries, departed) = (&mut self.mounted_entries, &mut self.departed);
            self.answers.wait(Deadline::after(self.budget), cancel, |number, answer| {
                departed.retain(|mounted_entry| !mounted_entry.is_guarded_by(number));
                // One of an earlier tick may come now.
                if take(mounted_entries, number, answer) == Some(now) {
                    missing = missing.saturating_sub(1);
                }
                missing == 0
            })?;
        }
        self.forget_replaced();
        Ok(())
    }

    /// What was scanned on a mount is forgotten when another one has its place.
    fn forget_replaced(&mut self) {
        let mut replaced = Vec::new();
        for mounted_entry in &mut self.mounted_entries {
            if std::mem::take(&mut mounted_entry.is_new) {
                replaced.extend_from_slice(&mounted_entry.target.mounts);
            }
        }
        if !replaced.is_empty() {
            self.shared.lock().forget_unseen_on(&replaced);
        }
    }
}

/// How long a tick relies on the mount table that it began with.
const LONG: Duration = Duration::from_millis(1);

/// Takes the answer of a guard; gives when it was asked.
fn take(mounted_entries: &mut [MountedEntry], number: u64, answer: Answer) -> Option<Monotonic> {
    // A guard may have left its entry meanwhile.
    let mounted_entry = mounted_entries.iter_mut().find(|mounted_entry| mounted_entry.is_guarded_by(number))?;
    let mount = &mut mounted_entry.target.mount;
    let is_other = |old: Option<u64>, new: Option<u64>| matches!((old, new), (Some(old), Some(new)) if old != new);
    let fsid = |answer: &Answer| answer.figures.as_ref().ok().map(|stat| stat.f_fsid);
    mounted_entry.is_new |= is_other(mount.unique_id, answer.unique_id)
        || is_other(mounted_entry.answer.as_ref().and_then(fsid), fsid(&answer));
    mount.unique_id = answer.unique_id.or(mount.unique_id);
    mounted_entry.answer = Some(answer);
    mounted_entry.guard.as_mut()?.since.take()
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
        // Where the figures do not come nothing else is tried.
        let stalled: Vec<u32> =
            self.mounted_entries.iter().flat_map(|mounted_entry| mounted_entry.stalled_mounts()).copied().collect();
        self.shared.scan(&stalled, self.budget, cancel)?;
        // Where the scans took long something may be mounted over what would be asked here.
        let took = Monotonic::now().since(began).unwrap_or_default();
        if took > LONG && self.watched.as_ref().is_some_and(Watched::has_changed) {
            self.stale = true;
            self.plan(began)?;
            self.ask(began, cancel)?;
        }
        // After the scans: that keeps them close together.
        let now = Monotonic::now();
        for mounted_entry in self.mounted_entries.iter_mut().filter(|mounted_entry| mounted_entry.target.safe) {
            cancel.check()?;
            let unique_id = mounted_entry.target.mount.unique_id;
            mounted_entry.answer =
                Some(Answer { at: now, figures: rustix::fs::statvfs(&*mounted_entry.path), unique_id });
        }

        let mut state = self.shared.lock();
        snapshot.skipped.vanished = self.absent.saturating_add(state.unresolved());
        snapshot.samples.reserve_exact(self.mounted_entries.len());
        for (place, mounted_entry) in self.mounted_entries.iter().enumerate() {
            if !mounted_entry.is_told(&mut snapshot.skipped) {
                continue;
            }
            let mut sample = mounted_entry.sample();
            let (slices, silent) = state.slices(place);
            if let Some(since) = silent {
                sample.stalled.get_or_insert(Stalled { since });
            }
            if sample.at.is_some() {
                parts::fill(&mut sample, &slices, now);
            }
            snapshot.samples.push(sample);
        }
        state.have_data(self.mounted_entries.iter().map(MountedEntry::has_figures));
        Ok(())
    }
}

impl MountedEntry {
    fn present(&self) -> Present {
        Present {
            name: self.target.name.clone(),
            mount_point: self.target.mount.mount_point.to_path_buf(),
            has_data: false,
        }
    }

    /// Whether it is of what a target is: not only at the same place, and with the same numbers, which are used again.
    fn is_of(&self, target: &Target) -> bool {
        let (a, b) = (&self.target.mount, &target.mount);
        (a.id, a.device, &a.root, &a.mount_point) == (b.id, b.device, &b.root, &b.mount_point)
            && (&a.fs_type, &a.source, self.target.safe) == (&b.fs_type, &b.source, target.safe)
            && a.unique_id.zip(b.unique_id).is_none_or(|(a, b)| a == b)
    }

    fn is_guarded_by(&self, number: u64) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.number() == number)
    }

    /// Whether it was asked what it has not answered.
    fn is_silent(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.since.is_some())
    }

    fn has_figures(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.figures.is_ok())
    }

    /// The mounts of this file system, if it has not answered.
    fn stalled_mounts(&self) -> &[u32] {
        if self.is_silent() { &self.target.mounts } else { &[] }
    }

    /// Whether it is told: it has a size, and could be asked, or has not answered yet.
    fn is_told(&self, skipped: &mut Skipped) -> bool {
        let count = match self.answer.as_ref().map(|answer| &answer.figures) {
            Some(Ok(stat)) => return stat.f_blocks > 0 || self.target.by_hand,
            None if self.is_silent() => return true,
            Some(Err(Errno::ACCESS | Errno::PERM)) => &mut skipped.denied,
            // Unmounted since the table was read.
            Some(Err(Errno::NOENT)) => &mut skipped.vanished,
            _ => &mut skipped.failed,
        };
        *count = count.saturating_add(1);
        false
    }

    /// What is known of it. All fields are given: those of a default would be made, and dropped.
    fn sample(&self) -> FileSystemSample {
        let mount = &self.target.mount;
        let mut sample = FileSystemSample {
            name: self.target.name.clone(),
            mount_point: mount.mount_point.clone(),
            device: mount.source.clone(),
            device_id: mount.device,
            mount_id: mount.unique_id,
            fsid: 0,
            fs_type: mount.fs_type.clone(),
            total_bytes: 0,
            used_bytes: 0,
            free_bytes: 0,
            reserved_bytes: 0,
            inodes: Reading::Skipped,
            read_only: mount.read_only(),
            stalled: self.guard.as_ref().and_then(|guard| guard.since).map(|since| Stalled { since }),
            overcommitted: false,
            parts: Vec::new(),
            at: None,
        };
        if let Some(Answer { at, figures: Ok(stat), .. }) = &self.answer {
            sample.at = Some(*at);
            measure(&mut sample, stat);
            // Where it may hang its figures are all that is asked for.
            let can_ask = self.target.safe || !matches!(self.shut, Shut::Status);
            sample.read_only |= can_ask && self.shut.is_shut(&self.path, mount, stat);
        }
        sample
    }
}

/// Blocks are counted in fragments; `f_bsize` is only what is good to read at once.
fn measure(sample: &mut FileSystemSample, stat: &StatVfs) {
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    let total = bytes(stat.f_blocks);
    let unused = bytes(stat.f_bfree).min(total);
    let free = bytes(stat.f_bavail).min(unused);
    sample.fsid = stat.f_fsid;
    sample.total_bytes = total;
    sample.used_bytes = total.saturating_sub(unused);
    sample.free_bytes = free;
    sample.reserved_bytes = unused.saturating_sub(free);
    sample.inodes = inodes(stat.f_files, stat.f_ffree, stat.f_favail);
    sample.read_only = stat.f_flag.contains(StatVfsMountFlags::RDONLY);
}

/// A file system that makes inodes as needed says that it has none, or no end of them.
fn inodes(total: u64, free: u64, available: u64) -> Reading<Inodes> {
    if total == 0 || total == u64::MAX || available == u64::MAX {
        return Reading::NotApplicable;
    }
    let free = free.min(total);
    Reading::Value(Inodes { total, used: total.saturating_sub(free), free: available.min(free) })
}

impl Default for FileSystems {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FileSystems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSystems")
            .field("shared", &self.shared)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

impl Drop for FileSystems {
    fn drop(&mut self) {
        self.shared.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(blocks: u64, free: u64, available: u64, fragment: u64) -> FileSystemSample {
        let stat = StatVfs {
            f_bsize: 1 << 20,
            f_frsize: fragment,
            f_blocks: blocks,
            f_bfree: free,
            f_bavail: available,
            f_files: 10,
            f_ffree: 4,
            f_favail: 4,
            f_fsid: 0,
            f_flag: StatVfsMountFlags::RDONLY,
            f_namemax: 255,
        };
        let mut sample = FileSystemSample::default();
        measure(&mut sample, &stat);
        sample
    }

    #[track_caller]
    fn check(sample: &FileSystemSample, total: u64, used: u64, free: u64, reserved: u64) {
        let found = (sample.total_bytes, sample.used_bytes, sample.free_bytes, sample.reserved_bytes);
        assert_eq!(found, (total, used, free, reserved));
    }

    #[test]
    fn figures_are_in_fragments_and_make_the_whole() {
        check(&stat(100, 30, 20, 512), 51_200, 35_840, 10_240, 5_120);
        assert!(stat(100, 30, 20, 512).read_only);
        // What some network file systems say.
        check(&stat(100, 30, 40, 1), 100, 70, 30, 0);
        check(&stat(100, 130, 120, 1), 100, 0, 100, 0);
        check(&stat(u64::MAX, u64::MAX, 1, 4096), u64::MAX, 0, 4096, u64::MAX - 4096);
    }

    #[test]
    fn inodes_that_are_not_counted_are_none() {
        assert_eq!(stat(1, 1, 1, 1).inodes, Reading::Value(Inodes { total: 10, used: 6, free: 4 }));
        assert_eq!(inodes(0, 0, 0), Reading::NotApplicable);
        assert_eq!(inodes(10, 4, u64::MAX), Reading::NotApplicable);
    }

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
        assert!(state.entries.iter().all(super::super::state::Entry::has_data));
        // At the beginning, before it waits, and after each of the three.
        assert!(state.looks <= 5, "{}", state.looks);
    }

    #[test]
    fn what_is_mounted_is_told() {
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
