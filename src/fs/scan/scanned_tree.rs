//! One of several directories that were scanned together.

use super::tree_totals::Top;
use crate::fs::walk::{Partial, Usage};
use crate::{Error, WirePath};

/// The result for one of the trees of a [`Scan`](crate::fs::Scan).
///
/// See [`Scan::run_each`](crate::fs::Scan::run_each).
#[derive(Debug)]
#[non_exhaustive]
pub struct ScannedTree {
    /// Its path.
    pub path: WirePath,
    /// Its usage without the trees inside of it. An error when its root could not be opened.
    pub usage: Result<Usage, Error>,
    /// The index of the tree that it is directly inside of, if any.
    pub inside: Option<usize>,
    /// The index of an earlier tree that is the same directory, if any. Then its own `usage` is empty.
    pub same_as: Option<usize>,
    pub(super) top: Top,
}

impl ScannedTree {
    /// Returns the usage of tree `index` with those of `parts` that are inside of it: the same as a scan of it alone, except for
    /// hard links to files that count for another tree.
    ///
    /// `None` when it could not be read, or there is no such index.
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
                    // Trees that could not be read are missing.
                    Err(_) => usage.partial = usage.partial.or(Some(Partial::Errors)),
                }
            }
        }
        Some(usage)
    }

    /// Returns the total of all; the error of one is that of all.
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

/// Adds another tree.
fn add(usage: &mut Usage, top: &mut Top, other: &Usage, other_top: Top) {
    usage.add(other);
    top.add(other_top);
    usage.largest = top.files();
}
