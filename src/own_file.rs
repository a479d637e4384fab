//! Files at a path that somebody set: opened without an effect on what else may be there, and never put over another file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{CWD, OFlags, RenameFlags};

/// Opens the regular file at this path for reading and writing; `None` if something else is there, a symbolic link too.
pub(crate) fn open_regular(path: &Path) -> io::Result<Option<File>> {
    // Checked before opening, since opening a device can have side effects.
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Ok(None);
    }
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)?;
    // It may be another one by now.
    Ok(file.metadata()?.is_file().then_some(file))
}

/// Whether the path leads to this file. It may have been moved or removed since it was opened.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let there = std::fs::symlink_metadata(path).map(|there| (there.dev(), there.ino()));
    let held = file.metadata().map(|held| (held.dev(), held.ino()));
    matches!((there, held), (Ok(there), Ok(held)) if there == held)
}

/// Renames a file; an error if the new name exists.
pub(crate) fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::io::Errno;
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some file systems do not support this.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        result => Ok(result?),
    }
}

/// Returns the folder that a file is in.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
