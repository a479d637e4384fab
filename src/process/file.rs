//! Reading files of /proc into a buffer that is used again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::Reading;

/// Most files of /proc are smaller than this; a larger one grows the buffer.
const FIRST_SIZE: usize = 4096;

/// Where to stop growing: no file that is read here comes near it, and a hostile tree could hold anything.
const LAST_SIZE: usize = 16 << 20;

/// A buffer for one file at a time.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    filled: usize,
}

impl Buffer {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; FIRST_SIZE], filled: 0 }
    }

    /// The contents loaded last.
    pub(crate) fn last(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }

    /// Loads a file that the kernel writes in one piece, from its start: a read that does not fill the buffer was all
    /// of it, and all of it is of one instant.
    pub(crate) fn load(&mut self, fd: impl AsFd) -> rustix::io::Result<()> {
        self.filled = 0;
        loop {
            let read = rustix::io::retry_on_intr(|| rustix::io::pread(fd.as_fd(), self.bytes.as_mut_slice(), 0))?;
            if read < self.bytes.len() {
                self.filled = read;
                return Ok(());
            }
            self.grow()?;
        }
    }

    /// Loads a file that may come in several pieces (the memory of another process, a regular file) to its end.
    pub(crate) fn load_to_end(&mut self, fd: impl AsFd) -> rustix::io::Result<()> {
        self.load_to_end_within(fd, usize::MAX)
    }

    /// The same of a file of `most` bytes; fails as soon as it turns out to have more.
    pub(crate) fn load_to_end_within(&mut self, fd: impl AsFd, most: usize) -> rustix::io::Result<()> {
        self.filled = 0;
        loop {
            let Some(rest) = self.bytes.get_mut(self.filled..) else { return Ok(()) };
            let read = rustix::io::retry_on_intr(|| rustix::io::read(fd.as_fd(), &mut *rest))?;
            self.filled = self.filled.saturating_add(read);
            if read == 0 {
                return Ok(());
            }
            if self.filled > most {
                return Err(Errno::FBIG);
            }
            if self.filled == self.bytes.len() {
                self.grow()?;
            }
        }
    }

    /// Loads a file as [`load`](Self::load) does, and returns its contents.
    pub(crate) fn read(&mut self, fd: impl AsFd) -> rustix::io::Result<&[u8]> {
        self.load(fd)?;
        Ok(self.last())
    }

    /// Loads a file as [`load_to_end`](Self::load_to_end) does, and returns its contents.
    pub(crate) fn read_to_end(&mut self, fd: impl AsFd) -> rustix::io::Result<&[u8]> {
        self.load_to_end(fd)?;
        Ok(self.last())
    }

    /// Fails where a file is larger than any that is read here: a cut-off copy is not the content of the file.
    fn grow(&mut self) -> rustix::io::Result<()> {
        let size = self.bytes.len().saturating_mul(4).min(LAST_SIZE);
        if size <= self.bytes.len() {
            return Err(Errno::FBIG);
        }
        self.bytes.resize(size, 0);
        Ok(())
    }
}

/// The meaning of a failed call on a file while its process exists.
pub(crate) fn unavailable<T>(errno: Errno) -> Reading<T> {
    match errno {
        Errno::ACCESS | Errno::PERM => Reading::Denied,
        Errno::NOENT | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => Reading::Unsupported,
        // The process has no memory, so it has none of the values in the file.
        Errno::SRCH => Reading::NotApplicable,
        // Another time it may do.
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::INTR | Errno::CANCELED => Reading::Skipped,
        _ => Reading::Failed,
    }
}

/// Whether this is in a proc file system.
pub(crate) fn is_proc(dir: impl AsFd) -> bool {
    rustix::fs::fstatfs(dir).is_ok_and(|stat| stat.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

/// Opens a file of a process, or of a directory that looks like a /proc, for reading. Never waits for anything.
pub(crate) fn open(dir: impl AsFd, path: impl Arg + Copy) -> rustix::io::Result<OwnedFd> {
    if is_proc(&dir) { open_as_it_is(dir, path) } else { open_regular(dir, path) }
}

/// The same for callers that may wait: a FIFO is opened as it is.
pub(crate) fn open_waiting(dir: impl AsFd, path: impl Arg + Copy) -> rustix::io::Result<OwnedFd> {
    if !is_proc(&dir) {
        let stat = rustix::fs::statat(&dir, path, AtFlags::empty())?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Fifo {
            return open_regular(dir, path);
        }
    }
    rustix::fs::openat(dir, path, READ.difference(OFlags::NONBLOCK), Mode::empty())
}

/// Opens a file of a proc file system itself, and none that was mounted over it: lxcfs mounts files of its own over some, with different
/// contents, and its daemon may hang.
pub(crate) fn open_of_proc(dir: impl AsFd, path: impl Arg + Copy) -> rustix::io::Result<OwnedFd> {
    if !is_proc(&dir) {
        return Err(Errno::XDEV);
    }
    match rustix::fs::openat2(&dir, path, READ, Mode::empty(), ResolveFlags::NO_XDEV) {
        // Before Linux 5.6, or in a sandbox that does not know this call.
        Err(Errno::NOSYS | Errno::PERM) => {
            let file = open_as_it_is(dir, path)?;
            if is_proc(&file) { Ok(file) } else { Err(Errno::XDEV) }
        }
        opened => opened,
    }
}

/// All of a file; `None` where there is none, or it cannot be read.
pub(crate) fn read(dir: impl AsFd, path: impl Arg + Copy) -> Option<Vec<u8>> {
    Buffer::new().read_to_end(open(dir, path).ok()?).ok().map(<[u8]>::to_vec)
}

/// For files of /proc, `NONBLOCK` and `NOCTTY` change nothing; for others they do, see [`open_regular`].
const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

fn open_as_it_is(dir: impl AsFd, path: impl Arg) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(dir, path, READ, Mode::empty())
}

/// Opens a file where any user may have put anything by that name: a FIFO would wait for a writer, and a device acts when it is opened. So
/// these are not opened; one that takes the place of a file in this very moment does not make the caller wait.
fn open_regular(dir: impl AsFd, path: impl Arg + Copy) -> rustix::io::Result<OwnedFd> {
    let check = |stat: Stat| match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::NXIO),
    };
    check(rustix::fs::statat(&dir, path, AtFlags::empty())?)?;
    let file = open_as_it_is(dir, path)?;
    check(rustix::fs::fstat(&file)?)?;
    Ok(file)
}

/// Opens files; holds some descriptors back for when there is no other left.
#[derive(Debug)]
pub(crate) struct Opener {
    reserve: Vec<OwnedFd>,
    /// Whether it opens files of the kernel's.
    of_proc: bool,
    /// Set when the reserve was needed: time to close descriptors that are kept open for speed.
    pub(crate) starved: bool,
}

/// The descriptors that the reading of one process has open at a time: its directory, the list of its threads, one of those, and in it a
/// file or a directory.
const RESERVE: usize = 4;

impl Opener {
    /// Takes the reserve: further descriptors of `of`.
    pub(crate) fn new(of: BorrowedFd<'_>) -> Self {
        let mut opener = Self { reserve: Vec::with_capacity(RESERVE), of_proc: is_proc(of), starved: false };
        opener.restore(of);
        opener
    }

    /// Opens a file for reading.
    pub(crate) fn open(&mut self, dir: impl AsFd, path: impl Arg + Copy) -> rustix::io::Result<OwnedFd> {
        let of_proc = self.of_proc;
        self.open_by(|| if of_proc { open_as_it_is(dir.as_fd(), path) } else { open_regular(dir.as_fd(), path) })
    }

    /// Opens a directory as a place only: files opened from it are of the same process, or fail.
    pub(crate) fn open_place(&mut self, dir: impl AsFd, path: impl Arg + Copy) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.open_by(|| rustix::fs::openat(dir.as_fd(), path, flags, Mode::empty()))
    }

    fn open_by(&mut self, open: impl Fn() -> rustix::io::Result<OwnedFd>) -> rustix::io::Result<OwnedFd> {
        loop {
            let opened = rustix::io::retry_on_intr(&open);
            match opened {
                Err(Errno::MFILE | Errno::NFILE) => {
                    self.starved = true;
                    // Another thread can be faster to take the descriptor released here.
                    if self.reserve.pop().is_none() {
                        return opened;
                    }
                }
                opened => return opened,
            }
        }
    }

    /// Gives the reserve up, for others to use.
    pub(crate) fn release(&mut self) {
        self.reserve.clear();
    }

    /// Takes the reserve back after a reading that may have used it.
    pub(crate) fn restore(&mut self, of: BorrowedFd<'_>) {
        while self.reserve.len() < RESERVE
            && let Ok(fd) = rustix::io::fcntl_dupfd_cloexec(of, 0)
        {
            self.reserve.push(fd);
        }
    }
}

/// Who owns a directory of /proc (the effective user and group of the process), and its inode number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) ino: u64,
}

/// The owner of `path` in `dir`, or of `dir` itself for an empty path.
pub(crate) fn owner(dir: impl AsFd, path: impl Arg) -> rustix::io::Result<Owner> {
    // fstatat and not statx: rustix requests more from statx than is needed here, and this has everything.
    let stat = rustix::fs::statat(dir, path, AtFlags::EMPTY_PATH)?;
    Ok(Owner { uid: stat.st_uid, gid: stat.st_gid, ino: stat.st_ino })
}

/// A pid, or a file of a process, as a path: without an allocation.
#[derive(Clone, Copy)]
pub(crate) struct PidPath {
    bytes: [u8; 32],
    start: usize,
    end: usize,
}

/// Where the digits end: a pid has ten at most.
const DIGITS: usize = 10;

impl PidPath {
    /// The directory of a process.
    pub(crate) fn new(pid: u32) -> Self {
        let mut path = Self { bytes: [0; 32], start: DIGITS, end: DIGITS };
        let mut rest = pid;
        loop {
            path.start = path.start.saturating_sub(1);
            if let Some(digit) = path.bytes.get_mut(path.start) {
                // A digit: below 10.
                *digit = b'0'.wrapping_add((rest % 10) as u8);
            }
            rest /= 10;
            if rest == 0 {
                return path;
            }
        }
    }

    /// A file in that directory; the directory itself for a name of more than twenty bytes, which no file here has.
    pub(crate) fn join(mut self, name: &std::ffi::CStr) -> Self {
        let name = name.to_bytes();
        let end = self.end.saturating_add(1).saturating_add(name.len());
        // One byte is left for the zero at the end.
        if end < self.bytes.len()
            && let Some((slash, rest)) = self.bytes.get_mut(self.end..end).and_then(<[u8]>::split_first_mut)
        {
            *slash = b'/';
            rest.copy_from_slice(name);
            self.end = end;
        }
        self
    }

    pub(crate) fn as_c_str(&self) -> &std::ffi::CStr {
        let bytes = self.bytes.get(self.start..=self.end).unwrap_or_default();
        std::ffi::CStr::from_bytes_with_nul(bytes).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_is_a_path() {
        for pid in [0, 7, 10, 1_234, u32::MAX] {
            assert_eq!(PidPath::new(pid).as_c_str().to_str().unwrap(), pid.to_string());
            assert_eq!(
                PidPath::new(pid).join(c"smaps_rollup").as_c_str().to_str().unwrap(),
                format!("{pid}/smaps_rollup")
            );
        }
    }

    #[test]
    fn a_file_larger_than_the_buffer_is_read_whole() {
        let mut file = tempfile::tempfile().unwrap();
        let content = vec![b'x'; FIRST_SIZE * 9 + 1];
        std::io::Write::write_all(&mut file, &content).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        assert_eq!(Buffer::new().read_to_end(&file).unwrap(), content);
        assert_eq!(Buffer::new().read(&file).unwrap(), content);
    }
}
