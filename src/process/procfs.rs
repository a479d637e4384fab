//! A mounted /proc, as a value.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom};

use super::status::Status;
use super::{file, restrictions};
use crate::number::decimal;
use crate::{BootId, Cancel, Error, Notice, Result};

/// A mounted proc file system: `/proc`, that of a host at `/host/proc`, or a directory that looks like one.
///
/// Cloning shares it. Nothing is process-wide: several roots can be read side by side.
///
/// ```
/// use appmon::ProcFs;
///
/// let procfs = ProcFs::new("/proc")?;
/// assert!(procfs.pids()?.contains(&std::process::id()));
/// let me = procfs.process(std::process::id())?;
/// assert!(me.stat()?.num_threads >= 1);
/// # Ok::<(), appmon::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ProcFs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    dir: OwnedFd,
    boot_id: BootId,
    ticks_per_second: u64,
    page_bytes: u64,
    pulse: bool,
}

impl ProcFs {
    /// Opens the proc file system at `root`.
    ///
    /// # Errors
    ///
    /// When `root` is no directory that can be opened: [`Error::is_not_found`], [`Error::is_denied`].
    pub fn new(root: impl Into<PathBuf>) -> Result<Self> {
        let path = root.into();
        let dir = rustix::fs::open(&path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::os(errno).at(&path))?;
        let boot_id = boot_id(&dir);
        let pulse = has_pulse(&dir);
        Ok(Self(Arc::new(Inner {
            path,
            dir,
            boot_id,
            ticks_per_second: crate::time::clock_ticks_per_second(),
            page_bytes: u64::try_from(rustix::param::page_size()).unwrap_or(4096),
            pulse,
        })))
    }

    /// Returns where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Returns the boot id of its machine: `sys/kernel/random/boot_id`, or that of this machine where it has none.
    #[must_use]
    pub fn boot_id(&self) -> BootId {
        self.0.boot_id
    }

    /// Returns the limits of everything that the calling thread can read here now: `hidepid`, `subset=pid`, or that only full readings
    /// work.
    ///
    /// It is looked up at each call, in some tens of microseconds: the mount options change with a remount, and who is exempt
    /// from `hidepid` with the groups, the capabilities and the user namespace of a thread. Each snapshot has that of its own
    /// tick.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        let mut notices = restrictions::of(self.dir());
        notices.extend(self.no_pulse());
        notices
    }

    /// Returns the pids of all processes that are visible, in order.
    ///
    /// # Errors
    ///
    /// When the directory cannot be listed.
    pub fn pids(&self) -> Result<Vec<u32>> {
        let mut listing = Listing::open(self)?;
        let mut pids = Vec::new();
        listing.list(&Cancel::new(), |pid, _| pids.push(pid))?;
        pids.sort_unstable();
        Ok(pids)
    }

    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.0.dir.as_fd()
    }

    pub(crate) fn ticks_per_second(&self) -> u64 {
        self.0.ticks_per_second
    }

    pub(crate) fn page_bytes(&self) -> u64 {
        self.0.page_bytes
    }

    /// Whether this process can read the CPU clocks of the processes in here.
    pub(crate) fn has_pulse(&self) -> bool {
        self.0.pulse
    }

    /// The notice that the CPU clocks cannot be read, where that is so.
    pub(crate) fn no_pulse(&self) -> Option<Notice> {
        (!self.has_pulse()).then_some(Notice::NoPulse)
    }

    /// Whether all processes of the machine are in here: this is the /proc of the first pid namespace.
    pub(crate) fn is_of_first_namespace(&self) -> bool {
        /// The inode number of the first pid namespace, the same on every machine (`PROC_PID_INIT_INO`).
        const FIRST: u64 = 0xefff_fffc;
        self.has_pulse()
            && rustix::fs::statat(self.dir(), c"self/ns/pid", AtFlags::empty()).is_ok_and(|stat| stat.st_ino == FIRST)
    }

    /// How many links its root directory has: one for each directory in it, and one for each process of the machine. The kernel counts
    /// those at each call.
    #[allow(clippy::useless_conversion, reason = "32 bits on other machines")]
    pub(crate) fn links(&self) -> Option<u64> {
        rustix::fs::fstat(self.dir()).ok().map(|stat| u64::from(stat.st_nlink))
    }
}

/// Lists the processes, again and again, by one open directory and one buffer.
#[derive(Debug)]
pub(crate) struct Listing {
    procfs: ProcFs,
    dir: OwnedFd,
    buffer: Vec<u8>,
}

impl Listing {
    /// The buffer for getdents64: 32 KiB hold more than a thousand processes.
    const SIZE: usize = 32 << 10;

    pub(crate) fn open(procfs: &ProcFs) -> Result<Self> {
        // Opened again and not duplicated: a duplicate would share its position with other listings.
        let dir =
            rustix::fs::openat(procfs.dir(), c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| Error::os(errno).at(procfs.path()))?;
        Ok(Self { procfs: procfs.clone(), dir, buffer: Vec::with_capacity(Self::SIZE) })
    }

    /// Calls `found` with each pid and the inode number of its directory. Returns how many other directories there are, `.`
    /// and `..` too.
    pub(crate) fn list(&mut self, cancel: &Cancel, mut found: impl FnMut(u32, u64)) -> Result<u64> {
        let failed = |errno| Error::os(errno).at(self.procfs.path());
        rustix::fs::seek(&self.dir, SeekFrom::Start(0)).map_err(failed)?;
        let mut entries = RawDir::new(&self.dir, self.buffer.spare_capacity_mut());
        let mut others = 0_u64;
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            // A pid has no leading zeros: `007` would be a second name of 7.
            if let Some(pid) = decimal(name).filter(|_| name.first() != Some(&b'0')) {
                found(pid, entry.ino());
            } else if entry.file_type() == FileType::Directory {
                others = others.saturating_add(1);
            }
            if entries.is_buffer_empty() {
                cancel.check()?;
            }
        }
        Ok(others)
    }
}

fn boot_id(dir: &OwnedFd) -> BootId {
    file::read(dir, c"sys/kernel/random/boot_id")
        .map_or_else(BootId::current, |text| BootId::parse(&text).unwrap_or_default())
}

/// Whether pids mean in this proc file system the same as in our own system calls.
///
/// `NSpid` in `self/status` lists our pid in the namespace of the mount and in each one below it: exactly one entry
/// means that the mount's namespace is ours. The bare number would not do, since pids of two namespaces can be equal.
fn has_pulse(dir: &OwnedFd) -> bool {
    let me = std::process::id();
    file::is_proc(dir)
        && file::read(dir, c"self/status")
            .and_then(|text| Status::parse(&text).ok())
            .is_some_and(|status| status.pid == me && status.ns_pid == [me])
        && super::pulse::pulse(me).is_some()
}
