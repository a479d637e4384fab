//! One of several directories that were scanned together.

use super::tree_totals::Top;
use crate::fs::walk::{Partial, Usage};
use crate::{Error, WirePath};

/// One of the directories of a [`Scan`](crate::fs::Scan), told apart from the others.
///
/// See [`Scan::run_each`](crate::fs::Scan::run_each).
#[derive(Debug)]
#[non_exhaustive]
pub struct ScannedTree {
    /// Where it is.
    pub path: WirePath,
    /// What is in it and in none of the others that are inside of it. An error when it could not be read at all.
    pub usage: Result<Usage, Error>,
    /// Which of the directories it is directly inside of, if any: the number in the order they were given in.
    pub inside: Option<usize>,
    /// Which of the directories before it is the same, if any. Then its own `usage` is nothing.
    pub same_as: Option<usize>,
    pub(super) top: Top,
}

impl ScannedTree {
    /// All that is in directory number `index`, with those of `parts` that are inside of it: what a scan of it alone would
    /// tell, but for hard links to files that count elsewhere.
    ///
    /// `None` when it could not be read, or there is no such number.
    #[must_use]
    pub fn inclusive(parts: &[Self], index: usize) -> Option<Usage> {
        let index = parts.get(index)?.same_as.unwrap_or(index);
        let mut usage = parts.get(index)?.usage.as_ref().ok()?.clone();
        // By steps from the inside out, no more than there are parts: mounts can put one inside of the other and back.
        let is_inside = |part: &Self| {
            let mut outer = part.inside;
            for _ in parts {
                match outer {
                    Some(outer) if outer == index => return true,
                    Some(other) => outer = parts.get(other).and_then(|part| part.inside),
                    None => return false,
                }
            }
            false
        };
        let mut top = parts.get(index)?.top.clone();
        for (part, number) in parts.iter().zip(0_usize..) {
            if number != index && part.same_as.is_none() && is_inside(part) {
                match &part.usage {
                    Ok(other) => add(&mut usage, &mut top, other, part.top.clone()),
                    // What could not be read is missing.
                    Err(_) => usage.partial = usage.partial.or(Some(Partial::Errors)),
                }
            }
        }
        Some(usage)
    }

    /// All of them together; an error of one is that of all.
    pub(super) fn sum(parts: Vec<Self>) -> Result<Usage, Error> {
        let mut sum: Option<(Usage, Top)> = None;
        for part in parts {
            let usage = part.usage?;
            match &mut sum {
                None => sum = Some((usage, part.top)),
                Some((all, top)) => add(all, top, &usage, part.top),
            }
        }
        Ok(sum.unwrap_or_default().0)
    }
}

/// Adds another directory.
fn add(usage: &mut Usage, top: &mut Top, other: &Usage, other_top: Top) {
    usage.add(other);
    top.add(other_top);
    usage.largest = top.files();
}
