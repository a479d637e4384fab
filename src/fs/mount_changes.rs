//! A stream of mounts and unmounts, as they happen.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::FusedStream;
use serde::{Deserialize, Serialize};

use super::mount_alarm::MountAlarm;
use super::mounts::Mount;
use super::table::{Table, WatchedTable};
use crate::Result;

/// One change of the mount table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "change")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum MountChange {
    /// It was mounted.
    Mounted(Mount),
    /// It was unmounted.
    Unmounted(Mount),
    /// It was moved, or remounted with other options, or the directory that it shows was renamed. Without the unique ids of
    /// mounts (before Linux 6.8, and on file systems that may hang when they are asked), a moved mount yields an `Unmounted`
    /// and a `Mounted`.
    Changed(Mount),
}

/// A stream of [`MountChange`]s, reported by the kernel as they happen: nothing is read until something is mounted or
/// unmounted. A thread of its own sleeps until then, and ends with the stream; no runtime is needed.
///
/// A mount that is unmounted again before the table is read is not reported. The changes found by one reading of the table
/// are yielded together, unmounts first.
///
/// # Errors
///
/// An item is an error when the table cannot be read; it is read again after the next change.
///
/// # Cancel safety
///
/// Polling is cancel safe, and dropping the stream ends it.
///
/// # Examples
///
/// ```no_run
/// use appmon::fs::{MountChange, MountChanges};
/// use futures::TryStreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> appmon::Result<()> {
/// let mut changes = MountChanges::new()?;
/// while let Some(change) = changes.try_next().await? {
///     if let MountChange::Mounted(mount) = change {
///         println!("{} at {}", mount.fs_type, mount.mount_point.display());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "streams do nothing unless polled"]
pub struct MountChanges {
    alarm: MountAlarm,
    watched: WatchedTable,
    known: BTreeMap<u32, Mount>,
    pending: VecDeque<MountChange>,
    /// Whether the table is to be read again though the kernel reported no change.
    yielded: bool,
}

impl MountChanges {
    /// Creates a stream of the changes from now on.
    ///
    /// # Errors
    ///
    /// When `/proc/self/mountinfo` cannot be read, or no thread can be started.
    pub fn new() -> Result<Self> {
        // Created before the table is read, so that changes meanwhile are reported.
        let alarm = MountAlarm::new()?;
        let mut watched = WatchedTable::open()?;
        let known = identified(&mut watched)?;
        Ok(Self { alarm, watched, known, pending: VecDeque::new(), yielded: false })
    }

    /// Returns the mounts as of the last change that was yielded, in the order of their ids.
    pub fn mounts(&self) -> impl Iterator<Item = &Mount> {
        self.known.values()
    }

    /// Reads the table, and queues the differences.
    fn refresh(&mut self) -> Result<()> {
        let new = identified(&mut self.watched)?;
        for (id, old) in &self.known {
            if new.get(id).is_none_or(|new| !same_mount(old, new)) {
                self.pending.push_back(MountChange::Unmounted(old.clone()));
            }
        }
        for (id, mount) in &new {
            match self.known.get(id) {
                Some(old) if same_mount(old, mount) && is_as_before(old, mount) => {}
                Some(old) if same_mount(old, mount) => self.pending.push_back(MountChange::Changed(mount.clone())),
                _ => self.pending.push_back(MountChange::Mounted(mount.clone())),
            }
        }
        self.known = new;
        Ok(())
    }
}

/// Returns the current mounts by their ids, with their unique ids.
fn identified(watched: &mut WatchedTable) -> Result<BTreeMap<u32, Mount>> {
    let mut table = Table::of(watched.list()?);
    table.identify();
    Ok(table.into_mounts().into_iter().map(|mount| (mount.id, mount)).collect())
}

/// Whether it is the same mount, and not another one with a reused id. Without unique ids, a mount at another place or of
/// another source is taken for another one: the old mount point is free in both cases.
fn same_mount(old: &Mount, new: &Mount) -> bool {
    (old.device, &old.fs_type) == (new.device, &new.fs_type)
        && match (old.unique_id, new.unique_id) {
            // The mounted directory may have been renamed.
            (Some(old), Some(new)) => old == new,
            _ => (&old.root, &old.mount_point, &old.source) == (&new.root, &new.mount_point, &new.source),
        }
}

/// Whether all fields are equal, except for a unique id that only one of them has.
fn is_as_before(old: &Mount, new: &Mount) -> bool {
    Mount { unique_id: old.unique_id, ..new.clone() } == *old
}

impl Stream for MountChanges {
    type Item = Result<MountChange>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(change) = this.pending.pop_front() {
                return Poll::Ready(Some(Ok(change)));
            }
            // A table that may be inconsistent is read again without another report, as the kernel has reported the change already.
            // Other tasks run before.
            if this.watched.is_torn() && !std::mem::replace(&mut this.yielded, true) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !std::mem::take(&mut this.yielded) && this.alarm.poll_changed(cx).is_pending() {
                return Poll::Pending;
            }
            if let Err(error) = this.refresh() {
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

impl FusedStream for MountChanges {
    fn is_terminated(&self) -> bool {
        false
    }
}

impl fmt::Debug for MountChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MountChanges").field("mounts", &self.known.len()).finish_non_exhaustive()
    }
}
