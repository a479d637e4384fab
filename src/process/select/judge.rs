//! Which of all processes are selected.

use super::Select;
use super::ancestry::{Family, Order, parents_first};
use super::branch::Branch;
use super::decide::Evaluation;
use super::expression::Node;
use super::pid_file::PidFiles;
use super::subject::Subject;
use crate::{Cancel, Result};

/// The decision about a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Whether it is selected; `None` when a field that decides it is not there yet.
    pub(crate) selected: Option<bool>,
    /// For each function over trees, inner ones first.
    pub(super) branches: Vec<Branch>,
}

/// The decisions about all processes.
#[derive(Debug)]
pub(crate) struct Verdicts {
    selected: Vec<Option<bool>>,
    /// For each process, and in that for each function over trees.
    branches: Vec<Branch>,
    width: usize,
    has_cycle: bool,
}

impl Verdicts {
    /// Whether some processes are below themselves.
    pub(crate) fn has_cycle(&self) -> bool {
        self.has_cycle
    }

    /// Whether a process is selected.
    pub(crate) fn selected(&self, nth: usize) -> Option<bool> {
        self.selected.get(nth).copied().flatten()
    }

    /// Keeps the decision about a process, for the next time.
    pub(crate) fn keep(&self, nth: usize, verdict: &mut Verdict) {
        verdict.selected = self.selected(nth);
        verdict.branches.clear();
        verdict.branches.extend_from_slice(self.branches(nth));
    }

    fn branches(&self, nth: usize) -> &[Branch] {
        let begin = nth.saturating_mul(self.width);
        self.branches.get(begin..begin.saturating_add(self.width)).unwrap_or_default()
    }

    fn branch_mut(&mut self, nth: usize, tree: usize) -> Option<&mut Branch> {
        self.branches.get_mut(nth.saturating_mul(self.width).saturating_add(tree))
    }
}

impl Select {
    /// Whether a process is selected by an expression that has no functions over trees; `None` when a field that decides
    /// it is not there yet.
    pub(crate) fn matches(&self, subject: Subject<'_>, pid_files: &PidFiles, cancel: &Cancel) -> Result<Option<bool>> {
        self.0.root.decide(&Evaluation::new(subject, &[], pid_files, cancel))
    }

    /// Decides about all processes at once, in a time that grows with their number and not with how deep they are below each other: any
    /// user can make them deep. `earlier` is the earlier decision about a process, where no field of its own that a condition could read
    /// changed since: it is not evaluated again.
    pub(crate) fn judge<'v>(
        &self,
        family: &impl Family,
        earlier: impl Fn(usize) -> Option<&'v Verdict>,
        pid_files: &PidFiles,
        cancel: &Cancel,
    ) -> Result<Verdicts> {
        let (trees, count) = (self.0.trees(), family.count());
        let Order { parents_first: order, has_cycle } = parents_first(family, cancel)?;
        let width = trees.len();
        let mut verdicts = Verdicts {
            selected: vec![None; count],
            branches: vec![Branch::default(); count.saturating_mul(width)],
            width,
            has_cycle,
        };
        // Whether the conditions evaluated so far have the same values as before.
        let mut same: Vec<bool> =
            (0..count).map(|nth| earlier(nth).is_some_and(|earlier| earlier.branches.len() == width)).collect();
        let earlier = |nth: usize, same: &[bool]| {
            let is_same = same.get(nth).copied().unwrap_or(false);
            is_same.then(|| earlier(nth)).flatten()
        };
        let ask = |node: &Node, nth: usize, verdicts: &Verdicts| match family.subject(nth) {
            Some(subject) => node.decide(&Evaluation::new(subject, verdicts.branches(nth), pid_files, cancel)),
            None => Ok(None),
        };
        // From the oldest ancestors down, each function over trees keeps what it saw above. Inner ones come first, so that
        // outer ones find their value.
        for tree in &trees {
            for (nth, parent) in &order {
                cancel.check()?;
                let before = earlier(*nth, &same).and_then(|earlier| earlier.branches.get(tree.number));
                let operand = match before {
                    Some(before) => before.operand,
                    None => ask(&tree.operand, *nth, &verdicts)?,
                };
                let above = parent.and_then(|parent| verdicts.branches(parent).get(tree.number));
                let branch = Branch::below(above, operand, tree.function);
                if before.is_none_or(|before| before.value != branch.value)
                    && let Some(same) = same.get_mut(*nth)
                {
                    *same = false;
                }
                if let Some(slot) = verdicts.branch_mut(*nth, tree.number) {
                    *slot = branch;
                }
            }
        }
        for (nth, _) in &order {
            cancel.check()?;
            let selected = match earlier(*nth, &same) {
                Some(earlier) => earlier.selected,
                None => ask(&self.0.root, *nth, &verdicts)?,
            };
            if let Some(slot) = verdicts.selected.get_mut(*nth) {
                *slot = selected;
            }
        }
        Ok(verdicts)
    }
}

#[cfg(test)]
mod tests;
