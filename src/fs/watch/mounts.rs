//! Where something is mounted: no watch tells of that.

use std::collections::HashSet;
use std::path::PathBuf;

use crate::fs::mounts::{DeviceId, Mount};
use crate::fs::table::Watched;

/// The mount table, asked whether it changed.
#[derive(Debug)]
pub(super) struct Mounts {
    /// None without /proc: then nothing is known of mounts.
    table: Option<Watched>,
    known: HashSet<(u32, DeviceId, PathBuf)>,
    /// Whether it changed and could not be read.
    stale: bool,
}

impl Mounts {
    /// The table of now.
    pub(super) fn new() -> Self {
        let mut mounts = Self { table: Watched::open().ok(), known: HashSet::new(), stale: true };
        mounts.changes();
        mounts
    }

    /// Where something was mounted or unmounted since the last time.
    pub(super) fn changes(&mut self) -> Vec<PathBuf> {
        let Some(table) = &mut self.table else { return Vec::new() };
        self.stale |= table.has_changed();
        if !self.stale {
            return Vec::new();
        }
        let Ok(now) = table.list() else { return Vec::new() };
        self.stale = false;
        let tell = |mount: Mount| (mount.id, mount.device, mount.mount_point.to_path_buf());
        let old = std::mem::replace(&mut self.known, now.into_iter().map(tell).collect());
        old.symmetric_difference(&self.known).map(|(.., place)| place.clone()).collect()
    }
}
