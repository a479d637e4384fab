//! Whether a process is selected, in three values: yes, no, and not known yet.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::{Condition, NumberField, Op, PidFiles, Select, TextField};
use crate::process::cgroup::without_mark;
use crate::process::{ProcessId, ProcessInfo};
use crate::{Cancel, Reading, Result};

/// A process as far as it decides whether it is selected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) id: ProcessId,
    pub(crate) ppid: u32,
    pub(crate) info: &'a ProcessInfo,
    /// How much of `info` is of this process.
    pub(crate) knowledge: Knowledge,
    /// `None` where it is not known.
    pub(crate) age: Option<Duration>,
}

/// How much is known of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knowledge {
    /// All that was read of it.
    All,
    /// Its name, and which process it is.
    Name,
    /// Which process it is: it was over before anything could be read.
    Identity,
}

/// All processes there are, by numbers from 0.
pub(crate) trait Family {
    /// How many numbers there are.
    fn count(&self) -> usize;

    /// The process of this number; `None` where there is none that could be decided about.
    fn subject(&self, nth: usize) -> Option<Subject<'_>>;

    /// The number of the process of a pid.
    fn find(&self, pid: u32) -> Option<usize>;

    /// What was decided about a process before, where nothing of its own changed since that a condition could ask for.
    fn earlier(&self, nth: usize) -> Option<&Verdict>;
}

/// What was decided about a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict {
    /// Whether it is selected; `None` when a field that decides it is not there yet.
    pub(crate) selected: Option<bool>,
    /// For each function over trees, inner ones first.
    branches: Vec<Branch>,
}

/// What was decided about all processes.
#[derive(Debug)]
pub(crate) struct Verdicts {
    selected: Vec<Option<bool>>,
    /// For each process, and in that for each function over trees.
    branches: Vec<Branch>,
    width: usize,
}

impl Verdicts {
    /// Whether a process is selected.
    pub(crate) fn selected(&self, nth: usize) -> Option<bool> {
        self.selected.get(nth).copied().flatten()
    }

    /// Keeps what was decided about a process, for the next time.
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
    pub(crate) fn matches(&self, subject: &Subject<'_>, pid_files: &PidFiles) -> Option<bool> {
        self.decide(0, subject, &[], &[], pid_files)
    }

    /// Decides about all processes at once, in a time that grows with their number and not with how deep they are below
    /// each other: anybody can make them deep. What was decided before is not asked again where nothing changed.
    pub(crate) fn judge(&self, family: &impl Family, pid_files: &PidFiles, cancel: &Cancel) -> Result<Verdicts> {
        let (trees, count) = (self.trees(), family.count());
        let order = parents_first(family, cancel)?;
        let width = trees.len();
        let mut verdicts = Verdicts {
            selected: vec![None; count],
            branches: vec![Branch::default(); count.saturating_mul(width)],
            width,
        };
        // Whether the conditions asked so far have the same values as before.
        let mut same: Vec<bool> =
            (0..count).map(|nth| family.earlier(nth).is_some_and(|earlier| earlier.branches.len() == width)).collect();
        let earlier = |nth: usize, same: &[bool]| {
            let is_same = same.get(nth).copied().unwrap_or(false);
            is_same.then(|| family.earlier(nth)).flatten()
        };
        // From the oldest ancestors down, each function over trees keeps what it saw above. Inner ones come first, so that
        // outer ones find their value.
        for (nth_tree, tree) in trees.iter().enumerate() {
            for (nth, parent) in &order {
                cancel.check()?;
                let before = earlier(*nth, &same).and_then(|earlier| earlier.branches.get(nth_tree));
                let operand = match before {
                    Some(before) => before.operand,
                    None => family.subject(*nth).and_then(|subject| {
                        self.decide(tree.at.saturating_add(1), &subject, &trees, verdicts.branches(*nth), pid_files)
                    }),
                };
                let above = parent.and_then(|parent| verdicts.branches(parent).get(nth_tree));
                let branch = Branch::below(above, operand, tree.depth);
                if before.is_none_or(|before| before.value != branch.value)
                    && let Some(same) = same.get_mut(*nth)
                {
                    *same = false;
                }
                if let Some(slot) = verdicts.branch_mut(*nth, nth_tree) {
                    *slot = branch;
                }
            }
        }
        for (nth, _) in &order {
            cancel.check()?;
            let selected = match earlier(*nth, &same) {
                Some(earlier) => earlier.selected,
                None => family
                    .subject(*nth)
                    .and_then(|subject| self.decide(0, &subject, &trees, verdicts.branches(*nth), pid_files)),
            };
            if let Some(slot) = verdicts.selected.get_mut(*nth) {
                *slot = selected;
            }
        }
        Ok(verdicts)
    }

    /// The functions over trees, inner ones before outer ones.
    fn trees(&self) -> Vec<Tree> {
        let tree = |(at, node): (usize, &super::Node)| match node.op {
            Op::WithDescendants(depth) => Some(Tree { at, depth: Some(depth) }),
            Op::Topmost => Some(Tree { at, depth: None }),
            _ => None,
        };
        self.nodes.iter().enumerate().rev().filter_map(tree).collect()
    }

    /// The value of the expression whose root is at `root`, for one process, with the functions over trees decided.
    fn decide(
        &self,
        root: usize,
        subject: &Subject<'_>,
        trees: &[Tree],
        branches: &[Branch],
        pid_files: &PidFiles,
    ) -> Option<bool> {
        let mut groups: Vec<Group> = Vec::new();
        let mut at = root;
        loop {
            let node = self.nodes.get(at)?;
            let mut end = at.saturating_add(node.span);
            let value = match &node.op {
                Op::And | Op::Or if node.span > 1 => {
                    let decisive = matches!(node.op, Op::Or);
                    groups.push(Group { decisive, negated: node.negated, value: Some(!decisive), end });
                    at = at.saturating_add(1);
                    continue;
                }
                Op::And => Some(true),
                Op::Or => Some(false),
                Op::WithDescendants(_) | Op::Topmost => value_of(trees, branches, at),
                Op::Is(condition) => condition.test(subject, pid_files),
            };
            let mut value = negate(value, node.negated);
            // The value goes to the group it is in, and where it was the last operand that counts, that group's to the
            // next one out.
            loop {
                let Some(group) = groups.last_mut() else { return value };
                group.add(value);
                if !group.is_decided() && end < group.end {
                    at = end;
                    break;
                }
                value = negate(group.value, group.negated);
                end = group.end;
                groups.pop();
            }
        }
    }
}

/// An `&` or `|` with operands still to come.
struct Group {
    /// The operand that decides it alone: false of an `&`, true of an `|`.
    decisive: bool,
    negated: bool,
    /// Of the operands so far.
    value: Option<bool>,
    /// Where its operands end.
    end: usize,
}

impl Group {
    fn add(&mut self, operand: Option<bool>) {
        self.value = match operand {
            Some(decided) if decided == self.decisive => operand,
            Some(_) => self.value,
            None => None,
        };
    }

    fn is_decided(&self) -> bool {
        self.value == Some(self.decisive)
    }
}

/// A function over trees.
#[derive(Debug)]
struct Tree {
    /// Which node it is.
    at: usize,
    /// How far below its operand it selects; `None` for the topmost.
    depth: Option<u32>,
}

/// A function over trees, at one process.
#[derive(Clone, Copy, Debug, Default)]
struct Branch {
    /// The value of its operand for the process alone.
    operand: Option<bool>,
    /// Its own.
    value: Option<bool>,
    /// How many generations ago its operand was true, and how many ago it was not known.
    since_true: Option<u32>,
    since_unknown: Option<u32>,
}

impl Branch {
    /// That of a child of `above`, of which the operand is this.
    fn below(above: Option<&Self>, operand: Option<bool>, depth: Option<u32>) -> Self {
        let within = |since: Option<u32>, depth| since.is_some_and(|generations| generations <= depth);
        let any = |since_true, since_unknown, depth| match (within(since_true, depth), within(since_unknown, depth)) {
            (true, _) => Some(true),
            (false, true) => None,
            (false, false) => Some(false),
        };
        let (true_above, unknown_above) = above.map_or((None, None), |above| (above.since_true, above.since_unknown));
        let ancestors = any(true_above, unknown_above, u32::MAX);
        let next = |since: Option<u32>| since.map(|generations| generations.saturating_add(1));
        let since_true = if operand == Some(true) { Some(0) } else { next(true_above) };
        let since_unknown = if operand.is_none() { Some(0) } else { next(unknown_above) };
        let value = match depth {
            Some(depth) => any(since_true, since_unknown, depth),
            None => match (operand, ancestors) {
                (Some(false), _) | (_, Some(true)) => Some(false),
                (Some(true), Some(false)) => Some(true),
                _ => None,
            },
        };
        Self { operand, value, since_true, since_unknown }
    }
}

fn value_of(trees: &[Tree], branches: &[Branch], at: usize) -> Option<bool> {
    let nth = trees.binary_search_by(|tree| at.cmp(&tree.at)).ok()?;
    branches.get(nth)?.value
}

fn negate(value: Option<bool>, negated: bool) -> Option<bool> {
    value.map(|value| value != negated)
}

/// All processes with their parents, each after its parent.
///
/// The data of a hostile tree may hold cycles. Those in one come twice, the first time as if it had a beginning: so each is
/// seen below all others.
fn parents_first(family: &impl Family, cancel: &Cancel) -> Result<Vec<(usize, Option<usize>)>> {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Seen {
        No,
        /// It is on the way up from where this walk began, so many steps from there.
        After(usize),
        Yes,
    }
    let mut seen = vec![Seen::No; family.count()];
    let mut order = Vec::with_capacity(family.count());
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
    Ok(order)
}

/// The number of a process's parent. One that started after its child is a stranger with the pid of a parent that is gone.
fn parent(family: &impl Family, of: &Subject<'_>) -> Option<usize> {
    if of.ppid == 0 || of.ppid == of.id.pid {
        return None;
    }
    let nth = family.find(of.ppid)?;
    family.subject(nth).filter(|parent| parent.id.may_be_parent_of(of.id)).map(|_| nth)
}

impl Condition {
    fn test(&self, subject: &Subject<'_>, pid_files: &PidFiles) -> Option<bool> {
        let info = subject.info;
        let is_identity = matches!(
            self,
            Self::Number(NumberField::Pid | NumberField::Ppid, _)
                | Self::PidFile(_)
                | Self::OlderThan(_)
                | Self::YoungerThan(_)
        );
        match subject.knowledge {
            Knowledge::All => {}
            Knowledge::Name if is_identity || matches!(self, Self::Text(TextField::Name, _)) => {}
            Knowledge::Identity if is_identity => {}
            Knowledge::Name | Knowledge::Identity => return None,
        }
        match self {
            Self::Text(TextField::Name, pattern) => Some(pattern.matches(info.name.as_bytes())),
            Self::Text(TextField::Exe, pattern) => decide(&info.exe, |exe| matches_marked(bytes_of(exe), pattern)),
            Self::Text(TextField::Cwd, pattern) => decide(&info.cwd, |cwd| matches_marked(bytes_of(cwd), pattern)),
            Self::Text(TextField::User, pattern) => decide(&info.user, |user| pattern.matches(user.as_bytes())),
            Self::Text(TextField::Group, pattern) => decide(&info.group, |group| pattern.matches(group.as_bytes())),
            Self::Text(TextField::Cgroup, pattern) => {
                decide(&info.cgroup, |cgroup| matches_marked(cgroup.as_bytes(), pattern))
            }
            Self::Text(TextField::Cmdline, pattern) => {
                decide(&info.cmdline, |arguments| pattern.matches(&arguments.join(&b' ')))
            }
            Self::Number(NumberField::Pid, pid) => Some(subject.id.pid == *pid),
            Self::Number(NumberField::Ppid, ppid) => Some(subject.ppid == *ppid),
            Self::Number(NumberField::Uid, uid) => Some(info.uid == *uid),
            Self::Number(NumberField::Gid, gid) => Some(info.gid == *gid),
            Self::Unit(unit) => decide(&info.cgroup, |cgroup| is_in_unit(cgroup.as_bytes(), unit.as_bytes())),
            Self::PidFile(path) => pid_files.names(path, subject.id),
            Self::KernelThread => Some(info.kernel_thread),
            Self::OlderThan(age) => subject.age.map(|known| known > *age),
            Self::YoungerThan(age) => subject.age.map(|known| known < *age),
            Self::Closure(function) => Some(function(info)),
        }
    }
}

/// What cannot be had does not match; what may still come is not known.
fn decide<T>(reading: &Reading<T>, test: impl FnOnce(&T) -> bool) -> Option<bool> {
    match reading {
        Reading::Value(value) => Some(test(value)),
        Reading::Denied | Reading::Unsupported | Reading::NotApplicable | Reading::Failed => Some(false),
        Reading::Skipped | Reading::NotRequested => None,
    }
}

fn bytes_of(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// A path of proc(5), with or without what the kernel adds to the path of what was removed.
fn matches_marked(path: &[u8], pattern: &super::Pattern) -> bool {
    pattern.matches_path(path) || pattern.matches_path(without_mark(path))
}

/// Whether a component of the path is this unit. systemd puts a `_` before a name that means something to the kernel.
fn is_in_unit(cgroup: &[u8], unit: &[u8]) -> bool {
    without_mark(cgroup)
        .split(|byte| *byte == b'/')
        .any(|component| component == unit || component.strip_prefix(b"_").is_some_and(|escaped| escaped == unit))
}

#[cfg(test)]
mod tests;
