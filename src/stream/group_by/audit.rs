//! What control groups used, beside what their processes were credited with.

use std::collections::{HashMap, HashSet};

use super::book::{Counts, TOTAL};
use super::groups::Groups;
use crate::{ControlGroupUsage, Text};

/// For how many ticks a control group without processes is remembered: what it used then is whose it is afterwards.
const REMEMBERED: u32 = 60;

/// The accounts of the control groups.
#[derive(Debug, Default)]
pub(super) struct Audit {
    by_path: HashMap<Text, Account>,
    /// The paths that others are below.
    above: HashSet<Text>,
    /// Whether any usage was ever known.
    is_on: bool,
    /// Whether a process left since who left was forgotten, or there are control groups without any.
    left: bool,
}

#[derive(Debug, Default)]
struct Account {
    /// What it used by the kernel, and what of that was before counting began.
    usage_ns: Option<u64>,
    base_ns: u64,
    /// What of it others of its path used, that were removed.
    removed_ns: u64,
    /// What was credited for it to any group.
    paid_ns: u64,
    /// What its processes used, and their children.
    attributed_ns: u64,
    /// The groups its processes are in, and how many of them.
    members: Vec<(u32, u32)>,
    /// Others are below it, whose usage is in its own.
    has_below: bool,
    /// For how many ticks it has had no processes.
    empty_for: u32,
}

impl Account {
    /// The group that has all its processes, where the usage is that of no others.
    fn owner(&self) -> Option<u32> {
        match (self.usage_ns, self.has_below, self.members.as_slice()) {
            (Some(_), false, [(group, _)]) => Some(*group),
            _ => None,
        }
    }
}

impl Audit {
    /// A process of a group is in a control group now.
    pub(super) fn join(&mut self, path: &Text, group: u32) {
        let path = without_mark(path);
        if !self.by_path.contains_key(path) {
            self.know(path);
            let account = Account { has_below: self.above.contains(path), ..Account::default() };
            self.by_path.insert(Text::from(path), account);
        }
        let Some(account) = self.by_path.get_mut(path) else { return };
        match account.members.iter_mut().find(|(member, _)| *member == group) {
            Some((_, processes)) => *processes = processes.saturating_add(1),
            None => account.members.push((group, 1)),
        }
    }

    /// There is a control group of this path, so those above it have more than their own.
    fn know(&mut self, path: &[u8]) {
        // One that is outside of what the reader's namespace shows is not below its root.
        let (mut path, is_outside) = (path, path.starts_with(b"/.."));
        while path.len() > 1
            && let Some(slash) = path.iter().rposition(|byte| *byte == b'/')
        {
            path = path.get(..slash.max(1)).unwrap_or_default();
            if self.above.contains(path) || (is_outside && path == b"/") {
                return;
            }
            self.above.insert(Text::from(path));
            if let Some(account) = self.by_path.get_mut(path) {
                account.has_below = true;
            }
        }
    }

    /// It is not there any more.
    pub(super) fn leave(&mut self, path: &Text, group: u32) {
        let Some(account) = self.by_path.get_mut(without_mark(path)) else { return };
        if let Some((_, processes)) = account.members.iter_mut().find(|(member, _)| *member == group) {
            *processes = processes.saturating_sub(1);
            self.left |= *processes == 0;
        }
    }

    /// Takes over what the control groups used. What one used before that is first known does not count: whether it is new, or had
    /// no processes for a while, nobody can tell.
    pub(super) fn read(&mut self, usages: &[ControlGroupUsage]) {
        self.is_on |= !usages.is_empty();
        for usage in usages {
            let path = without_mark(&usage.path);
            self.know(path);
            // One without processes that are seen is nobody's.
            let Some(account) = self.by_path.get_mut(path) else { continue };
            let mut usage_ns = usage.usage_usec.saturating_mul(1000).saturating_add(account.removed_ns);
            if let Some(before) = account.usage_ns.filter(|before| usage_ns < *before) {
                // What one used never falls: this is another one, all of which counts.
                usage_ns = usage_ns.saturating_sub(account.removed_ns).saturating_add(before);
                account.removed_ns = before;
            }
            if account.usage_ns.is_none() {
                account.base_ns = usage_ns.saturating_sub(account.paid_ns);
                account.attributed_ns = account.paid_ns;
            }
            account.usage_ns = Some(usage_ns);
        }
    }

    /// Counts what a process of a control group used, or its children; returns what of it is to be credited to its group here.
    pub(super) fn attribute(&mut self, path: Option<&Text>, group: u32, mut counts: Counts) -> Counts {
        let Some(account) = path.and_then(|path| self.by_path.get_mut(without_mark(path))) else { return counts };
        let total = counts.get(TOTAL);
        account.attributed_ns = account.attributed_ns.saturating_add(total);
        if account.owner() == Some(group) {
            // The kernel's own account of all of it will do.
            counts.set(TOTAL, 0);
        } else {
            account.paid_ns = account.paid_ns.saturating_add(total);
        }
        counts
    }

    /// What a group owes of what was credited to it by `attribute`.
    pub(super) fn take_back(&mut self, path: Option<&Text>, group: u32, mut owed: Counts) -> Counts {
        let Some(account) = path.and_then(|path| self.by_path.get_mut(without_mark(path))) else { return owed };
        let total = owed.get(TOTAL);
        account.attributed_ns = account.attributed_ns.saturating_sub(total);
        if account.owner() == Some(group) {
            owed.set(TOTAL, 0);
        } else {
            account.paid_ns = account.paid_ns.saturating_sub(total);
        }
        owed
    }

    /// Credits what control groups used to the groups that have all their processes.
    pub(super) fn settle<K: Ord + std::hash::Hash + Clone>(&mut self, groups: &mut Groups<K>) {
        if !self.is_on {
            return;
        }
        for account in self.by_path.values_mut() {
            let (Some(group), Some(usage)) = (account.owner(), account.usage_ns) else { continue };
            let over = usage.saturating_sub(account.base_ns).saturating_sub(account.paid_ns);
            if over > 0 {
                let mut counts = Counts::default();
                counts.set(TOTAL, over);
                groups.credit(group, &counts, false);
                account.paid_ns = account.paid_ns.saturating_add(over);
            }
        }
    }

    /// Says of the usages what no process had, and nobody's children.
    pub(super) fn say(&mut self, usages: &mut [ControlGroupUsage]) {
        for usage in usages {
            let account = self.by_path.get(without_mark(&usage.path)).filter(|account| !account.has_below);
            usage.unattributed_ns = account.and_then(|account| {
                let used = account.usage_ns?.saturating_sub(account.base_ns);
                Some(used.saturating_sub(account.attributed_ns))
            });
        }
    }

    /// Forgets who left, and control groups in which nobody was for long.
    pub(super) fn forget(&mut self) {
        if !std::mem::take(&mut self.left) {
            return;
        }
        let mut left = false;
        self.by_path.retain(|_, account| {
            account.members.retain(|(_, processes)| *processes > 0);
            let is_empty = account.members.is_empty();
            account.empty_for = if is_empty { account.empty_for.saturating_add(1) } else { 0 };
            left |= is_empty;
            account.empty_for < REMEMBERED
        });
        self.left = left;
        if self.above.len() > self.by_path.len().saturating_mul(8).max(1024) {
            self.above.clear();
            let paths: Vec<Text> = self.by_path.keys().cloned().collect();
            paths.iter().for_each(|path| self.know(path.as_bytes()));
        }
    }
}

fn without_mark(path: &Text) -> &[u8] {
    path.as_bytes().strip_suffix(b" (deleted)").unwrap_or(path.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(paths: &[&str], usages: &[(&str, u64)]) -> Audit {
        let mut audit = Audit::default();
        for (group, path) in (0..).zip(paths) {
            audit.join(&Text::from(*path), group);
        }
        for (path, usage_usec) in usages {
            audit.read(&[ControlGroupUsage::new(*path, *usage_usec)]);
        }
        audit
    }

    #[test]
    fn what_others_are_below_is_nobodys_own() {
        let usages = [("/", 9), ("/a", 5), ("/a/b", 3), ("/c", 1)];
        let audit = audit(&["/", "/a", "/a/b", "/c"], &usages);
        let owners = ["/", "/a", "/a/b", "/c"].map(|path| audit.by_path[path.as_bytes()].owner());
        assert_eq!(owners, [None, None, Some(2), Some(3)]);
    }

    #[test]
    fn what_is_outside_of_the_namespace_is_not_below_its_root() {
        let usages = [("/", 9), ("/../a", 5), ("/../a/b", 3)];
        let audit = audit(&["/", "/../a", "/../a/b"], &usages);
        let owners = ["/", "/../a", "/../a/b"].map(|path| audit.by_path[path.as_bytes()].owner());
        assert_eq!(owners, [Some(0), None, Some(2)]);
    }

    #[test]
    fn one_that_is_made_again_goes_on_from_there() {
        let audit = audit(&["/a"], &[("/a", 10), ("/a", 15), ("/a", 2), ("/a", 3), ("/a", 1), ("/a", 4)]);
        let account = &audit.by_path[&b"/a"[..]];
        assert_eq!(account.usage_ns, Some((15 + 3 + 4) * 1_000));
    }
}
