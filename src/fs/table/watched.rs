//! The mount table of this process, read when the kernel reports that it changed.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::fs::mounts::{self, Mount};
use crate::{Error, Result};

/// The mounts of this process, to which its paths lead.
const TABLE: &str = "/proc/self/mountinfo";

/// Returns the current mounts.
pub(super) fn list() -> Result<Vec<Mount>> {
    let bytes = std::fs::read(TABLE).map_err(|error| Error::io(error).at(TABLE))?;
    Ok(mounts::parse(&bytes).collect())
}

/// The table, and a descriptor by which the kernel reports changes.
#[derive(Debug)]
pub(crate) struct WatchedTable {
    file: File,
    buffer: Vec<u8>,
    /// The bytes of the last reading.
    earlier: Vec<u8>,
    /// Whether the last reading may be inconsistent: it is to be repeated.
    torn: bool,
}

impl WatchedTable {
    pub(crate) fn open() -> Result<Self> {
        let file = File::open(TABLE).map_err(|error| Error::io(error).at(TABLE))?;
        Ok(Self { file, buffer: Vec::new(), earlier: Vec::new(), torn: false })
    }

    /// Returns the open file: polled for `POLLPRI`, it is ready after a mount or unmount.
    pub(in crate::fs) fn into_file(self) -> File {
        self.file
    }

    /// Whether a mount or unmount was made since the last call, or since the file was opened; or the table changed during the
    /// last reading.
    pub(crate) fn has_changed(&self) -> bool {
        // Both are evaluated, as polling clears the report of the kernel.
        self.is_signalled() | self.torn
    }

    /// Whether the table differs from the last reading, with or without a mount: the kernel does not report the rename of a
    /// directory that is mounted elsewhere.
    pub(crate) fn is_other(&mut self) -> bool {
        std::mem::swap(&mut self.buffer, &mut self.earlier);
        // A failure counts as a difference, so that the table is read later.
        self.fill().is_err() || self.buffer != self.earlier
    }

    /// Whether the table changed during the last reading.
    pub(crate) fn is_torn(&self) -> bool {
        self.torn
    }

    fn is_signalled(&self) -> bool {
        let mut fds = [PollFd::new(&self.file, PollFlags::PRI)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // If polling fails the table is read.
        rustix::event::poll(&mut fds, Some(&now)).map_or(true, |ready| ready > 0)
    }

    /// Reads the mounts.
    pub(crate) fn list(&mut self) -> Result<Vec<Mount>> {
        self.list_while(Self::is_signalled)
    }

    fn list_while(&mut self, mut has_changed: impl FnMut(&Self) -> bool) -> Result<Vec<Mount>> {
        /// After this number of attempts a table that keeps changing is used as it is, and read again at the next opportunity.
        const TRIES: usize = 8;
        self.torn = true;
        for _ in 0..TRIES {
            self.fill().map_err(|error| Error::io(error).at(TABLE))?;
            // The table is read in pieces, and may have changed in between.
            if !has_changed(self) {
                self.torn = false;
                break;
            }
        }
        Ok(mounts::parse(&self.buffer).collect())
    }

    fn fill(&mut self) -> io::Result<()> {
        const PIECE: usize = 16 << 10;
        let mut filled = 0_usize;
        loop {
            if self.buffer.len() < filled.saturating_add(PIECE) {
                self.buffer.resize(filled.saturating_add(PIECE), 0);
            }
            let Some(free) = self.buffer.get_mut(filled..) else { return Ok(()) };
            match self.file.read_at(free, filled as u64) {
                Ok(0) => break,
                Ok(count) => filled = filled.saturating_add(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.buffer.truncate(filled);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_never_stood_still_has_changed() {
        let mut watched = WatchedTable::open().unwrap();
        let mut tries = 0;
        watched
            .list_while(|_| {
                tries += 1;
                true
            })
            .unwrap();
        assert_eq!(tries, 8);
        assert!(watched.has_changed() && watched.has_changed(), "until it is read");
        let mut tries = 0;
        watched
            .list_while(|_| {
                tries += 1;
                tries < 3
            })
            .unwrap();
        assert!(!watched.torn);
    }
}
