//! A mounted file system from tick to tick: its last answer, and its sample.

use std::ffi::CString;

use rustix::fs::{StatVfs, StatVfsMountFlags};
use rustix::io::Errno;

use super::plan::Target;
use super::prober::{ProbeResult, Prober};
use super::sample::{FileSystemSample, Inodes, Stalled};
use super::shut::Shut;
use super::state::FileSystemStatus;
use crate::{Monotonic, Reading, Skipped};

/// The state of a mount, kept from tick to tick.
pub(super) struct MountedEntry {
    pub(super) target: Target,
    pub(super) path: CString,
    pub(super) shut: Shut,
    /// The thread that asks a mount that may hang.
    pub(super) prober: Option<Prober>,
    pub(super) answer: Option<ProbeResult>,
    /// Whether the last answer showed that another file system is mounted there.
    pub(super) is_new: bool,
}

impl MountedEntry {
    pub(super) fn status(&self) -> FileSystemStatus {
        FileSystemStatus {
            name: self.target.name.clone(),
            mount_point: self.target.mount.mount_point.to_path_buf(),
            has_data: false,
        }
    }

    /// Whether it is the mount of a target: numbers are used again, so types and sources are compared too.
    pub(super) fn is_of(&self, target: &Target) -> bool {
        let (a, b) = (&self.target.mount, &target.mount);
        (a.id, a.device, &a.root, &a.mount_point) == (b.id, b.device, &b.root, &b.mount_point)
            && (&a.fs_type, &a.source, self.target.safe) == (&b.fs_type, &b.source, target.safe)
            && a.unique_id.zip(b.unique_id).is_none_or(|(a, b)| a == b)
    }

    /// Stores the answer of its prober; returns when it was asked.
    pub(super) fn take(&mut self, answer: ProbeResult) -> Option<Monotonic> {
        let mount = &mut self.target.mount;
        let is_other = |old: Option<u64>, new: Option<u64>| matches!((old, new), (Some(old), Some(new)) if old != new);
        let fsid = |answer: &ProbeResult| answer.figures.as_ref().ok().map(|stat| stat.f_fsid);
        self.is_new |=
            is_other(mount.unique_id, answer.unique_id) || is_other(self.answer.as_ref().and_then(fsid), fsid(&answer));
        mount.unique_id = answer.unique_id.or(mount.unique_id);
        self.answer = Some(answer);
        self.prober.as_mut()?.since.take()
    }

    pub(super) fn has_prober(&self, number: u64) -> bool {
        self.prober.as_ref().is_some_and(|prober| prober.number() == number)
    }

    /// Whether it has an unanswered question.
    pub(super) fn is_silent(&self) -> bool {
        self.prober.as_ref().is_some_and(|prober| prober.since.is_some())
    }

    pub(super) fn has_figures(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.figures.is_ok())
    }

    /// Returns the mounts of this file system, if it has not answered.
    pub(super) fn stalled_mounts(&self) -> &[u32] {
        if self.is_silent() { &self.target.mounts } else { &[] }
    }

    /// Whether it has a sample: it has a size, and could be asked, or has not answered yet.
    pub(super) fn is_reported(&self, skipped: &mut Skipped) -> bool {
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

    /// Returns its sample, without the parts. All fields are set, as those of a default would be created and dropped.
    pub(super) fn sample(&self) -> FileSystemSample {
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
            stalled: self.prober.as_ref().and_then(|prober| prober.since).map(|since| Stalled { since }),
            overcommitted: false,
            parts: Vec::new(),
            at: None,
        };
        if let Some(ProbeResult { at, figures: Ok(stat), .. }) = &self.answer {
            sample.at = Some(*at);
            measure(&mut sample, stat);
            // A mount that may hang is asked only for its figures.
            let can_ask = self.target.safe || !matches!(self.shut, Shut::Status);
            sample.read_only |= can_ask && self.shut.is_shut(&self.path, mount, stat);
        }
        sample
    }
}

/// Sets the figures. Blocks are counted in fragments; `f_bsize` is only the preferred size of a read.
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

/// Returns the inodes. A file system that creates them as needed reports 0, or a huge number.
fn inodes(total: u64, free: u64, available: u64) -> Reading<Inodes> {
    if total == 0 || total == u64::MAX || available == u64::MAX {
        return Reading::NotApplicable;
    }
    let free = free.min(total);
    Reading::Value(Inodes { total, used: total.saturating_sub(free), free: available.min(free) })
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
        // Figures of some network file systems.
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
}
