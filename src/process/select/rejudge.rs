//! Decides again about the processes that changed, and those below them as far as that changes anything.

use std::collections::{HashMap, HashSet};

use super::Select;
use super::ancestry::{Family, parent};
use super::branch::Branch;
use super::decide::Evaluation;
use super::expression::Tree;
use super::judge::Verdict;
use super::pid_file::PidFiles;
use crate::{Cancel, Result};

/// How many generations are decided about one by one: each takes a pass over all processes. After these all are decided about at
/// once.
const GENERATIONS: usize = 8;

/// How many ancestors that started in the same clock tick are looked at: only those can be in a cycle.
const SAME_START: usize = 64;

impl Select {
    /// Decides about the processes that `changed`, and about those below them where that changes something; about the children of
    /// those that `left` too. `kept` is the decision about every other process. The result is that of [`judge`](Self::judge); `None`
    /// where that is the cheaper way, or the only one.
    pub(crate) fn rejudge<'v>(
        &self,
        family: &impl Family,
        changed: &[usize],
        left: &[u32],
        kept: impl Fn(usize) -> &'v Verdict,
        pid_files: &PidFiles,
        cancel: &Cancel,
    ) -> Result<Option<Vec<(usize, Verdict)>>> {
        let trees = self.0.trees();
        let mut decided: HashMap<usize, Verdict> = HashMap::with_capacity(changed.len());
        // Whether another decision about one is another one about its children.
        let mut moved: HashSet<u32> = left.iter().copied().collect();
        let mut due = changed.to_vec();
        for generation in 0..GENERATIONS {
            let Some(order) = parents_first(family, &due, generation == 0, cancel)? else { return Ok(None) };
            for (nth, parent) in order {
                cancel.check()?;
                let Some(subject) = family.subject(nth) else { continue };
                let pid = subject.id.pid;
                let mut branches: Vec<Branch> = Vec::with_capacity(trees.len());
                let above = parent.map(|parent| decided.get(&parent).unwrap_or_else(|| kept(parent)));
                if above.is_some_and(|above| above.branches.len() != trees.len()) {
                    return Ok(None);
                }
                for Tree { number, function, operand } in trees.iter().copied() {
                    let operand = operand.decide(&Evaluation::new(subject, &branches, pid_files, cancel))?;
                    let above = above.and_then(|above| above.branches.get(*number));
                    branches.push(Branch::below(above, operand, *function));
                }
                let selected = self.0.root.decide(&Evaluation::new(subject, &branches, pid_files, cancel))?;
                let before = decided.get(&nth).unwrap_or_else(|| kept(nth));
                // Another process of that pid can have the same branches, and children that are not its own.
                if generation == 0 || before.branches != branches {
                    moved.insert(pid);
                }
                decided.insert(nth, Verdict { selected, branches });
            }
            if moved.is_empty() {
                return Ok(Some(decided.into_iter().collect()));
            }
            let done: HashSet<usize> = due.into_iter().collect();
            due = Vec::new();
            for (nth, parent) in family.parents() {
                if moved.contains(&parent) && !done.contains(&nth) {
                    due.push(nth);
                }
            }
            cancel.check()?;
            if due.is_empty() {
                return Ok(Some(decided.into_iter().collect()));
            }
            moved.clear();
        }
        Ok(None)
    }
}

/// A process, and its parent.
type WithParent = (usize, Option<usize>);

/// Some processes with their parents, each after its parent; `None` where there may be a cycle.
fn parents_first(
    family: &impl Family,
    some: &[usize],
    are_new: bool,
    cancel: &Cancel,
) -> Result<Option<Vec<WithParent>>> {
    let mut waiting: HashSet<usize> = some.iter().copied().collect();
    let mut order = Vec::with_capacity(some.len());
    let mut way: Vec<WithParent> = Vec::new();
    for first in some {
        let mut next = Some(*first);
        while let Some(nth) = next
            && waiting.remove(&nth)
            && let Some(subject) = family.subject(nth)
        {
            cancel.check()?;
            next = parent(family, &subject);
            way.push((nth, next));
            if are_new && may_be_in_a_cycle(family, nth) {
                return Ok(None);
            }
        }
        order.extend(way.drain(..).rev());
    }
    Ok(Some(order))
}

/// Whether a process may be its own ancestor. All in a cycle started in the same clock tick, as none started after its child.
fn may_be_in_a_cycle(family: &impl Family, nth: usize) -> bool {
    let mut below = nth;
    for _ in 0..SAME_START {
        let Some(subject) = family.subject(below) else { return false };
        let Some(above) = parent(family, &subject) else { return false };
        if !family.subject(above).is_some_and(|above| subject.id.may_be_parent_of(above.id)) {
            return false;
        }
        if above == nth {
            return true;
        }
        below = above;
    }
    true
}
