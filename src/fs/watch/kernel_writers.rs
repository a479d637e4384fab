//! Files that the kernel may write to without an event, for a device or an asynchronous call.
//!
//! No event reports such writes, and the file need not be sparse nor become longer (a loop device that discards). So the
//! writers are searched for: loop devices by their counters, and files that processes with asynchronous contexts have open.
//! The files are identified by their paths in this mount namespace. Verification finds the changes of a file that is open by
//! a path of another namespace, of another mount of the same directory, or by a name that was removed since, and those of
//! other kinds of writers: a target of NVMe over a network, the cache of a network file system, and on kernels before 6.5 an
//! overlay with the file in its upper layer.

mod contexts;
mod loops;

use std::path::PathBuf;

use crate::{Cancel, Monotonic, Result};
use contexts::Contexts;
use loops::Loops;

/// The state of the search, kept from refresh to refresh.
#[derive(Debug, Default)]
pub(super) struct KernelWriters {
    loops: Loops,
    contexts: Contexts,
}

impl KernelWriters {
    /// Returns the files that may have been written to since the last call. Files of asynchronous calls are checked in turn,
    /// some hundred of them at a time.
    pub(super) fn files(&mut self, now: Monotonic, cancel: &Cancel) -> Result<Vec<PathBuf>> {
        let mut files = self.loops.written();
        self.contexts.open_files(&mut files, now, cancel)?;
        Ok(files)
    }
}
