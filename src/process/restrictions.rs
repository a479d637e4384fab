//! The restrictions of a mounted /proc for the thread that reads it: at this moment, since mounts and credentials change.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::AtFlags;
use rustix::process::{Gid, Uid};
use rustix::thread::CapabilitySet;

use super::file;
use super::status::Status;
use crate::fs::{DeviceId, mounts};
use crate::number::decimal;
use crate::{Monotonic, Notice, Text};

/// The restrictions, kept up to date.
///
/// Mount options alone do not show whether processes are hidden: who is exempt depends on groups, capabilities and user namespaces of the
/// reading thread and of each process. The access of this thread to the first process decides it, for three calls at each tick. The options
/// are read when that changed, or the mount table did, or nothing else decides.
#[derive(Debug)]
pub(crate) struct Restrictions {
    /// Our mount table: it reports when it changes.
    table: Option<OwnedFd>,
    seen: Option<Seen>,
    looked_at: Option<Monotonic>,
    notices: Vec<Notice>,
}

/// By whom how much was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    access: Access,
    hides: bool,
    /// The effective user and group of the thread.
    by: (Uid, Gid),
}

/// The access of a thread to the processes of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// All of them, whatever the mount options are.
    All,
    /// The first process is hidden.
    NotAll,
    /// The first process is one of its own, which proves nothing about the others.
    Unclear,
}

/// How old the mount options get where no change was reported: `fsconfig(2)` changes them without an event.
const OPTIONS_LAST: Duration = Duration::from_secs(10);

impl Restrictions {
    pub(crate) fn new(dir: BorrowedFd<'_>) -> Self {
        Self { table: open_table(dir), seen: None, looked_at: None, notices: Vec::new() }
    }

    /// Reads them again. Returns whether the thread may see other processes than before, or more or less of them.
    pub(crate) fn look(&mut self, dir: BorrowedFd<'_>, now: Monotonic) -> bool {
        if !file::is_proc(dir) {
            return false;
        }
        let access = Access::of(dir);
        // Polled at every call, since polling makes the kernel forget the change.
        let changed = self.table.as_ref().is_none_or(table_has_changed);
        let before = self.seen;
        let lasts = self.looked_at.and_then(|at| now.since(at)).is_some_and(|age| age < OPTIONS_LAST);
        if access != Access::All || changed || !lasts || before.map(|seen| seen.access) != Some(access) {
            self.notices = notices(dir, self.table.as_ref(), access);
            self.looked_at = Some(now);
        }
        // Of the calling thread, as all of this is.
        let by = (rustix::process::geteuid(), rustix::process::getegid());
        let seen = Seen { access, hides: self.hide_processes(), by };
        self.seen = Some(seen);
        before.is_some_and(|before| before != seen)
    }

    /// Whether there may be processes that are not listed, or of which nothing is shown: those of others.
    pub(crate) fn hide_processes(&self) -> bool {
        self.notices.iter().any(|notice| matches!(notice, Notice::HidePid { .. }))
    }

    pub(crate) fn notices(&self) -> &[Notice] {
        &self.notices
    }
}

/// The restrictions of the calling thread now.
pub(crate) fn of(dir: BorrowedFd<'_>) -> Vec<Notice> {
    if file::is_proc(dir) { notices(dir, open_table(dir).as_ref(), Access::of(dir)) } else { Vec::new() }
}

impl Access {
    /// `hidepid` hides a process from threads that may not trace it, but for one group (not where it is `ptraceable`).
    fn of(dir: BorrowedFd<'_>) -> Self {
        if rustix::fs::statat(dir, c"1/stat", AtFlags::empty()).is_err() {
            return Self::NotAll;
        }
        if rustix::fs::readlinkat(dir, c"1/root", Vec::new()).is_err() {
            // It is shown, though not since it may be traced: nothing is hidden, or nothing from this group.
            return Self::All;
        }
        // The right to trace every process holds in the user namespace in which it was granted, and below. Whether all processes are in
        // there is known of the first one alone: the first process can be in another than those that entered later.
        let may_trace = rustix::thread::capabilities(None)
            .is_ok_and(|capabilities| capabilities.effective.contains(CapabilitySet::SYS_PTRACE));
        if may_trace && is_in_first_user_namespace() { Self::All } else { Self::Unclear }
    }
}

fn open_table(dir: BorrowedFd<'_>) -> Option<OwnedFd> {
    // Our own table, in our own mount namespace: that is where the path was resolved.
    file::open(dir, c"self/mountinfo").or_else(|_| file::open(rustix::fs::CWD, c"/proc/self/mountinfo")).ok()
}

/// Whether a mount table changed since it was last asked this.
pub(crate) fn table_has_changed(table: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(table, PollFlags::PRI)];
    rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).map_or(true, |ready| ready > 0)
}

fn notices(dir: BorrowedFd<'_>, table: Option<&OwnedFd>, access: Access) -> Vec<Notice> {
    let mut notices = Vec::new();
    let options = table.and_then(|table| options_of(dir, table));
    let option = |name: &[u8]| {
        let options = options.as_ref()?.as_bytes().split(|byte| *byte == b',');
        options.filter_map(|option| option.strip_prefix(name)?.strip_prefix(b"=")).next()
    };
    match (access, option(b"hidepid")) {
        (Access::All, _) | (_, Some(b"0" | b"off")) => {}
        (Access::Unclear, Some(hidepid)) => {
            // The kernel takes the group of root where none is named.
            let gid = option(b"gid").map_or(Some(0), decimal);
            let group_counts = hidepid != b"4" && hidepid != b"ptraceable";
            if !(group_counts && gid.is_some_and(is_in_group)) {
                notices.push(Notice::HidePid { hidepid: String::from_utf8_lossy(hidepid).into_owned() });
            }
        }
        (Access::NotAll, Some(hidepid)) => {
            notices.push(Notice::HidePid { hidepid: String::from_utf8_lossy(hidepid).into_owned() });
        }
        // The mount is in another mount namespace: its behaviour shows its options.
        (Access::NotAll, None) if options.is_none() && rustix::fs::statat(dir, c"self", AtFlags::empty()).is_ok() => {
            let is_listed = rustix::fs::statat(dir, c"1", AtFlags::empty()).is_ok();
            let hidepid = if is_listed { "noaccess" } else { "invisible" };
            notices.push(Notice::HidePid { hidepid: hidepid.to_owned() });
        }
        (Access::NotAll | Access::Unclear, None) => {}
    }
    if option(b"subset") == Some(b"pid") {
        notices.push(Notice::SubsetPid);
    }
    notices
}

fn is_in_first_user_namespace() -> bool {
    /// Its inode number, the same on every machine (`PROC_USER_INIT_INO`).
    const FIRST: u64 = 0xefff_fffd;
    rustix::fs::statat(rustix::fs::CWD, c"/proc/thread-self/ns/user", AtFlags::empty())
        .is_ok_and(|stat| stat.st_ino == FIRST)
}

/// Whether this thread is in the group of this number. The mount table has the number that the first user namespace has for
/// it: elsewhere it is not known which one that is.
fn is_in_group(gid: u32) -> bool {
    if !is_in_first_user_namespace() {
        return false;
    }
    // Not that of the process, which is its main thread's.
    let status = file::read(rustix::fs::CWD, c"/proc/thread-self/status");
    let Some(status) = status.and_then(|text| Status::parse(&text).ok()) else { return false };
    status.gid.is_some_and(|own| own.fs == gid) || status.groups.is_some_and(|groups| groups.contains(&gid))
}

/// The options of the file system that `dir` is the root of; `None` where our mount table does not have it.
fn options_of(dir: BorrowedFd<'_>, table: &OwnedFd) -> Option<Text> {
    let stat = rustix::fs::fstat(dir).ok()?;
    let device = DeviceId { major: rustix::fs::major(stat.st_dev), minor: rustix::fs::minor(stat.st_dev) };
    // Piece by piece: /proc is mounted early, and others may be by the thousand.
    let (mut text, mut piece, mut at) = (Vec::new(), [0; 4096], 0_u64);
    loop {
        let read = rustix::io::retry_on_intr(|| rustix::io::pread(table, &mut piece, at)).ok()?;
        at = at.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        text.extend_from_slice(piece.get(..read)?);
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end.saturating_add(1));
        if let Some(mount) = mounts::parse(text.get(..whole)?).find(|mount| mount.device == device) {
            return Some(mount.super_options);
        }
        if read == 0 {
            return None;
        }
        text.drain(..whole);
    }
}
