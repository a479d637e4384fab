//! A mounted /proc, as a value.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom};

use super::file::Buffer;
use super::status::Status;
use crate::fs::{DeviceId, Mount, mounts};
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
    notices: Vec<Notice>,
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
        let mut notices = restrictions(&dir);
        if !pulse {
            notices.push(Notice::NoPulse);
        }
        Ok(Self(Arc::new(Inner {
            path,
            dir,
            boot_id,
            ticks_per_second: crate::time::clock_ticks_per_second(),
            page_bytes: u64::try_from(rustix::param::page_size()).unwrap_or(4096),
            pulse,
            notices,
        })))
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Which start of the machine it tells of: `sys/kernel/random/boot_id`, or that of this machine where it has none.
    #[must_use]
    pub fn boot_id(&self) -> BootId {
        self.0.boot_id
    }

    /// What limits all that can be read here: `hidepid`, `subset=pid`, or that only full readings work.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.0.notices
    }

    /// The pids of all processes that are visible, in order.
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

    /// Whether the CPU clocks this process can ask are those of the processes in here.
    pub(crate) fn has_pulse(&self) -> bool {
        self.0.pulse
    }

    /// Whether there are processes that are not listed: those of others.
    pub(crate) fn hides_processes(&self) -> bool {
        self.0.notices.iter().any(|notice| matches!(notice, Notice::HidePid { .. }))
    }

    /// Whether all processes of the machine are in here: this is the /proc of the first pid namespace.
    pub(crate) fn is_of_first_namespace(&self) -> bool {
        /// The inode number of the first pid namespace, the same on every machine (`PROC_PID_INIT_INO`).
        const FIRST: u64 = 0xefff_fffc;
        self.has_pulse()
            && rustix::fs::statat(self.dir(), c"self/ns/pid", AtFlags::empty()).is_ok_and(|stat| stat.st_ino == FIRST)
    }

    /// How many links its root directory has: one for each directory in it, and one for each process of the machine. The
    /// kernel counts those when it is asked.
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
    /// What getdents64 is given: 32 KiB hold more than a thousand processes.
    const SIZE: usize = 32 << 10;

    pub(crate) fn open(procfs: &ProcFs) -> Result<Self> {
        // Opened anew and not duplicated: a duplicate would share its position with other listings.
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

fn read(dir: &OwnedFd, path: &str) -> Option<Vec<u8>> {
    let file = rustix::fs::openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    Buffer::new().read_to_end(file).ok().map(<[u8]>::to_vec)
}

fn boot_id(dir: &OwnedFd) -> BootId {
    read(dir, "sys/kernel/random/boot_id").map_or_else(BootId::current, |text| BootId::parse(&text).unwrap_or_default())
}

fn is_proc(dir: &OwnedFd) -> bool {
    rustix::fs::fstatfs(dir).is_ok_and(|stat| stat.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

/// Whether pids mean in this proc file system what they mean to our own system calls.
///
/// `NSpid` in `self/status` lists our pid in the namespace of the mount and in each one below it: exactly one entry
/// means that the mount's namespace is ours. The bare number would not do, since pids of two namespaces can be equal.
fn has_pulse(dir: &OwnedFd) -> bool {
    let me = std::process::id();
    is_proc(dir)
        && read(dir, "self/status")
            .and_then(|text| Status::parse(&text).ok())
            .is_some_and(|status| status.pid == me && status.ns_pid == [me])
        && super::pulse::pulse(me).is_some()
}

/// What the mount options hide from us.
fn restrictions(dir: &OwnedFd) -> Vec<Notice> {
    let mut notices = Vec::new();
    let Some(mount) = is_proc(dir).then(|| mount_of(dir)).flatten() else { return notices };
    let option = |name: &[u8]| {
        mount
            .super_options
            .as_bytes()
            .split(|byte| *byte == b',')
            .find_map(|option| option.strip_prefix(name)?.strip_prefix(b"="))
    };
    if let Some(hidepid) = option(b"hidepid") {
        // The kernel takes the group of root where none is named.
        let gid = Some(option(b"gid").map_or(0, |gid| decimal::<u32>(gid).unwrap_or(0)));
        let open = hidepid == b"0" || hidepid == b"off";
        let group_counts = hidepid != b"4" && hidepid != b"ptraceable";
        if !open && !is_exempt(dir, gid.filter(|_| group_counts)) {
            notices.push(Notice::HidePid { hidepid: String::from_utf8_lossy(hidepid).into_owned() });
        }
    }
    if option(b"subset") == Some(b"pid") {
        notices.push(Notice::SubsetPid);
    }
    notices
}

/// Whether `hidepid` does not apply to us: by the right to trace every process, or by the group it names.
fn is_exempt(dir: &OwnedFd, gid: Option<u32>) -> bool {
    /// Bit of `CAP_SYS_PTRACE` in the capability masks.
    const SYS_PTRACE: u64 = 1 << 19;
    let Some(status) = read(dir, "self/status").and_then(|text| Status::parse(&text).ok()) else { return false };
    status.cap_eff.is_some_and(|mask| mask & SYS_PTRACE != 0)
        || gid.is_some_and(|gid| {
            status.gid.is_some_and(|own| own.effective == gid)
                || status.groups.is_some_and(|groups| groups.contains(&gid))
        })
}

/// The mount `dir` is the root of.
fn mount_of(dir: &OwnedFd) -> Option<Mount> {
    let stat = rustix::fs::fstat(dir).ok()?;
    let device = DeviceId { major: rustix::fs::major(stat.st_dev), minor: rustix::fs::minor(stat.st_dev) };
    // Our own table, in our own mount namespace: that is where the path was resolved.
    let table = read(dir, "self/mountinfo").or_else(|| std::fs::read("/proc/self/mountinfo").ok())?;
    mounts::parse(&table).find(|mount| mount.device == device)
}
