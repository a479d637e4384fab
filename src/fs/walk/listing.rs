//! The names in a directory, as the kernel lists them.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::fs::{RawDir, RawDirEntry};
use rustix::io::Errno;

/// Reads an open directory from its current offset to its end.
pub(in crate::fs) struct Listing<'buffer, Fd: AsFd>(RawDir<'buffer, Fd>);

/// One step through a directory.
#[derive(Debug)]
pub(in crate::fs) enum Step<'a> {
    /// An entry. Its inode number is that of the listing: at a mount point the number of the directory below the mount, and on
    /// an overlay it can differ from that of the entry.
    Entry(RawDirEntry<'a>),
    /// No entry in this step: the directory itself, its parent, or an interruption by a signal.
    Nothing,
    /// The end: there are no more entries, or the directory was removed.
    End,
    /// The rest cannot be read, because of this error.
    Failed(Errno),
}

impl<'buffer, Fd: AsFd> Listing<'buffer, Fd> {
    /// Reads `dir` through `buffer`, which the kernel fills in one call.
    pub(in crate::fs) fn new(dir: Fd, buffer: &'buffer mut [MaybeUninit<u8>]) -> Self {
        Self(RawDir::new(dir, buffer))
    }

    #[inline]
    pub(in crate::fs) fn next(&mut self) -> Step<'_> {
        match self.0.next() {
            Some(Ok(entry)) if is_dots(entry.file_name()) => Step::Nothing,
            Some(Ok(entry)) => Step::Entry(entry),
            Some(Err(Errno::INTR)) => Step::Nothing,
            Some(Err(Errno::NOENT)) | None => Step::End,
            Some(Err(errno)) => Step::Failed(errno),
        }
    }

    /// Whether the next step makes a system call.
    #[inline]
    pub(in crate::fs) fn is_buffer_empty(&self) -> bool {
        self.0.is_buffer_empty()
    }
}

#[inline]
fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}
