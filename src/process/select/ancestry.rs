//! All processes with their parents, each after its parent.

use super::subject::Subject;
use crate::{Cancel, Result};

/// All processes there are, by numbers from 0.
pub(crate) trait Family {
    /// How many numbers there are.
    fn count(&self) -> usize;

    /// The process of this number; `None` where there is none that could be decided about.
    fn subject(&self, nth: usize) -> Option<Subject<'_>>;

    /// The number of the process of a pid.
    fn find(&self, pid: u32) -> Option<usize>;

    /// The numbers of all that can be decided about, with the pids of their parents.
    fn parents(&self) -> impl Iterator<Item = (usize, u32)> {
        (0..self.count()).filter_map(|nth| Some((nth, self.subject(nth)?.ppid)))
    }
}

/// All processes in an order.
pub(super) struct Order {
    /// Each with its parent, and after it.
    pub(super) parents_first: Vec<(usize, Option<usize>)>,
    /// Some are below themselves.
    pub(super) has_cycle: bool,
}

/// All processes with their parents, each after its parent.
///
/// The data of a hostile tree may hold cycles. Those in one come twice, the first time as if it had a beginning: so each is
/// seen below all others.
pub(super) fn parents_first(family: &impl Family, cancel: &Cancel) -> Result<Order> {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Seen {
        No,
        /// It is on the way up from where this walk began, so many steps from there.
        After(usize),
        Yes,
    }
    let mut seen = vec![Seen::No; family.count()];
    let mut order = Vec::with_capacity(family.count());
    let mut has_cycle = false;
    let mut way: Vec<(usize, Option<usize>)> = Vec::new();
    for first in 0..family.count() {
        let mut next = Some(first);
        while let Some(nth) = next
            && let Some(mark @ Seen::No) = seen.get_mut(nth)
            && let Some(subject) = family.subject(nth)
        {
            cancel.check()?;
            *mark = Seen::After(way.len());
            next = parent(family, &subject);
            way.push((nth, next));
        }
        if let Some(Seen::After(begin)) = next.and_then(|next| seen.get(next)) {
            has_cycle = true;
            let cycle = way.get(*begin..).unwrap_or_default();
            // The last has the first as its parent.
            order.extend(cycle.last().map(|(nth, _)| (*nth, None)));
            order.extend(cycle.iter().rev().skip(1));
        }
        while let Some((nth, parent)) = way.pop() {
            cancel.check()?;
            order.push((nth, parent));
            if let Some(mark) = seen.get_mut(nth) {
                *mark = Seen::Yes;
            }
        }
    }
    Ok(Order { parents_first: order, has_cycle })
}

/// The number of a process's parent. One that started after its child is a stranger with the pid of a parent that is gone.
pub(super) fn parent(family: &impl Family, of: &Subject<'_>) -> Option<usize> {
    if of.ppid == 0 || of.ppid == of.id.pid {
        return None;
    }
    let nth = family.find(of.ppid)?;
    family.subject(nth).filter(|parent| parent.id.may_be_parent_of(of.id)).map(|_| nth)
}
