//! The settings of a source of control groups.

use std::path::PathBuf;
use std::time::Duration;

use super::ControlGroupFields;
use super::hierarchy::Hierarchy;
use super::selection::Selection;
use super::tree::Tree;
use crate::Result;
use crate::inotify::most_watches;
use crate::snapshot::Notice;

/// The settings.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) root: Option<PathBuf>,
    pub(super) select: Selection,
    pub(super) fields: ControlGroupFields,
    pub(super) max_age: Duration,
    pub(super) walk_every: Duration,
    pub(super) max_watches: Option<usize>,
    pub(super) max_fds: Option<usize>,
}

impl Config {
    /// Fails where a setting cannot be meant: at the first tick, since setters do not fail.
    pub(super) fn open(&self, with_events: bool) -> Result<Tree> {
        self.select.check("ControlGroups")?;
        let hierarchy = Hierarchy::open(self.root.as_deref())?;
        let max_watches = self.max_watches.unwrap_or_else(|| most_watches() / 4);
        Ok(Tree::new(hierarchy, self.select.clone(), max_watches, with_events))
    }
}

/// The limits of what a tree can see.
pub(super) fn notices(tree: &Tree, notices: &mut Vec<Notice>) {
    if !tree.hierarchy.elsewhere.is_empty() {
        notices.push(Notice::ControllersInVersion1 { controllers: tree.hierarchy.elsewhere.clone() });
    }
    let count = tree.unwatched();
    if count > 0 {
        notices.push(Notice::UnwatchedControlGroups { count });
    }
}
