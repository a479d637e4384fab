//! Births, deaths and changes of control groups, as a source.

use std::fmt;

use super::config::{Config, notices};
use super::event::ControlGroupEvent;
use super::tree::{Happened, Tree};
use crate::{Cancel, Monotonic, Result, Snapshot, Source};

/// The events of control groups, as a [`Source`]: each snapshot has what happened since the last one, in the order in which it was found. The
/// first one has none. It is made by [`ControlGroups::events`](super::ControlGroups::events), with the settings of that source.
///
/// [`watch`](Self::watch) makes a stream of it that yields when the kernel reports something, some milliseconds later; as a source it is read
/// when it is asked. Either way it can be forwarded.
///
/// Where watches run out ([`Notice::UnwatchedControlGroups`](crate::snapshot::Notice::UnwatchedControlGroups)), states are compared instead:
/// a change that was undone meanwhile is not reported then. A group that was made and removed in between is reported as long as the group it
/// was in still exists.
///
/// # Errors
///
/// Those of [`ControlGroups`](super::ControlGroups). What happened until it is read again is not reported then.
///
/// # Examples
///
/// ```no_run
/// use appmon::ControlGroups;
/// use appmon::cgroup::ControlGroupEventKind;
/// use futures::TryStreamExt;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> appmon::Result<()> {
/// let mut events = ControlGroups::new().services(true).events().watch()?;
/// while let Some(snapshot) = events.try_next().await? {
///     for event in &snapshot {
///         if let ControlGroupEventKind::OomKilled { count, .. } = event.kind {
///             println!("{}: {count} processes killed", event.path);
///         }
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a source reads nothing by itself: collect from it, or make it a stream with `watch` or `every`"]
pub struct ControlGroupEvents {
    config: Config,
    tree: Option<Tree>,
    next: u64,
}

impl ControlGroupEvents {
    pub(super) fn new(config: Config) -> Self {
        Self { config, tree: None, next: 0 }
    }

    pub(super) fn tree(&self) -> Option<&Tree> {
        self.tree.as_ref()
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }
}

/// Of the settings: the clone has read nothing.
impl Clone for ControlGroupEvents {
    fn clone(&self) -> Self {
        Self::new(self.config.clone())
    }
}

impl fmt::Debug for ControlGroupEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlGroupEvents").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Source for ControlGroupEvents {
    type Sample = ControlGroupEvent;

    fn fill(&mut self, snapshot: &mut Snapshot<ControlGroupEvent>, cancel: &Cancel) -> Result<()> {
        let tree = match &mut self.tree {
            Some(tree) => tree,
            None => self.tree.insert(self.config.open(true)?),
        };
        let now = Monotonic::now();
        if let Err(error) = tree.update(now, self.config.walk_every, cancel) {
            if !error.is_cancelled() {
                self.tree = None;
            }
            return Err(error);
        }
        for happened in tree.take_happened() {
            let Happened { path, id, info, kind } = happened;
            snapshot.samples.push(ControlGroupEvent { number: self.next, path, id, info, at: now, kind });
            self.next = self.next.saturating_add(1);
        }
        snapshot.skipped = tree.skipped();
        snapshot.complete_at = tree.walked_at;
        notices(tree, &mut snapshot.notices);
        Ok(())
    }
}
