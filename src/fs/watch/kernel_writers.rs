//! Files that the kernel may write to without an event, for a device or an asynchronous call.
//!
//! No event reports it, and the file need not be sparse nor become longer (a loop device that discards). So the writers are
//! looked for: loop devices by their counters, and files that processes with asynchronous contexts have open. They are known
//! by their paths in this mount namespace; a file that is open by a path of another one, of another mount of the same
//! directory, or by a name that was removed since, is left to verification, as are writers of other kinds: a target of NVMe over a network, the cache of a network
//! file system, and on kernels before 6.5 an overlay with the file in its upper layer.

mod contexts;
mod loops;

use std::path::PathBuf;

use crate::{Cancel, Monotonic, Result};
use contexts::Contexts;
use loops::Loops;

/// What is known of them from refresh to refresh.
#[derive(Debug, Default)]
pub(super) struct KernelWriters {
    loops: Loops,
    contexts: Contexts,
}

impl KernelWriters {
    /// The files that may have been written to since the last time. Those of asynchronous calls are looked at in turn, some
    /// hundred of them at a time.
    pub(super) fn files(&mut self, now: Monotonic, cancel: &Cancel) -> Result<Vec<PathBuf>> {
        let mut files = self.loops.written();
        self.contexts.open_files(&mut files, now, cancel)?;
        Ok(files)
    }
}
