//! The usage of the trees, as a scan reports it.

use std::time::Duration;

use super::nodes::NodeId;
use super::roots::{Root, RootPlace};
use super::tree::Tree;
use super::watched::{Mode, Reason};
use crate::fs::walk::{Partial, ScanErrors, Totals, Usage, path_of};
use crate::{Error, Result};

/// The errors of each tree.
#[derive(Debug)]
pub(super) struct Failures(Vec<ScanErrors>);

impl Failures {
    pub(super) fn new(roots: usize) -> Self {
        Self(vec![ScanErrors::default(); roots])
    }

    /// Collects them again, if they changed.
    pub(super) fn update(&mut self, tree: &mut Tree) {
        if !std::mem::take(&mut tree.failures_changed) {
            return;
        }
        self.0.fill(ScanErrors::default());
        for id in &tree.failed {
            let Some(node) = tree.nodes.get(*id) else { continue };
            let Some(errors) = self.0.get_mut(node.root as usize) else { continue };
            for fault in &node.faults {
                errors.push(path_of(&tree.nodes.way(*id), fault.name.as_deref()), fault.errno);
            }
        }
    }
}

/// Returns by tree the same usage as a scan made now.
pub(super) fn usage(tree: &Tree, failures: &Failures, took: Duration) -> Vec<Result<Usage>> {
    let usage = |(root, index): (&Root, usize)| {
        let totals = match root.place {
            RootPlace::Missing(errno) => Err(errno),
            RootPlace::Same => Ok(Totals::default()),
            RootPlace::File(entry) if entry.links < 2 => {
                let mut totals = Totals::default();
                totals.count(&entry);
                Ok(totals)
            }
            RootPlace::File(_) => {
                let mut totals = tree.links.totals(index);
                totals.count_name();
                Ok(totals)
            }
            RootPlace::Directory(_, node) => directory(tree, node, index),
        };
        let totals = totals.map_err(|errno| Error::os(errno).at(&root.path))?;
        let errors = failures.0.get(index).cloned().unwrap_or_default();
        let partial = (errors.count > 0).then_some(Partial::Errors);
        Ok(Usage { errors, partial, took, ..totals.usage() })
    };
    tree.roots.all.iter().zip(0_usize..).map(usage).collect()
}

fn directory(tree: &Tree, node: NodeId, root: usize) -> std::result::Result<Totals, rustix::io::Errno> {
    let own = tree.nodes.get(node);
    let fault = own.and_then(|node| node.faults.iter().find(|fault| fault.name.is_none()));
    if let (Some(fault), Some(0)) = (fault, own.map(|node| node.entries)) {
        return Err(fault.errno);
    }
    let mut totals = tree.counts.get(root).copied().unwrap_or_default().totals;
    totals.add(&tree.links.totals(root));
    Ok(totals)
}

/// Returns by tree how many files can change without an event, and their bytes.
pub(super) fn uncertain(tree: &Tree) -> Vec<(u64, u64)> {
    tree.counts.iter().zip(0_usize..).map(|(counts, root)| counts.sparse_and(tree.links.uncertain(root))).collect()
}

/// Returns whether events report all changes.
pub(super) fn mode(tree: &Tree, is_late: bool) -> Mode {
    if is_late {
        Mode::Degraded(Reason::Overflow)
    } else if tree.refused > 0 {
        Mode::Degraded(Reason::Watches)
    } else if tree.unmounted {
        Mode::Degraded(Reason::Unmounted)
    } else {
        Mode::Incremental
    }
}
