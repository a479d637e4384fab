//! Whether a process is selected, in three values: yes, no, and not known yet.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::{Condition, NumberField, Op, PidFiles, Select, TextField};
use crate::Reading;
use crate::process::cgroup::without_mark;
use crate::process::{ProcessId, ProcessInfo};

/// How many ancestors are looked at, the nearest first. The tables of a hostile tree may hold a cycle.
const MAX_ANCESTORS: usize = 4096;

/// A process as far as it decides whether it is selected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) id: ProcessId,
    pub(crate) ppid: u32,
    pub(crate) info: &'a ProcessInfo,
    pub(crate) age: Duration,
}

/// Where the parents of processes are looked up.
pub(crate) trait Relatives {
    /// The process whose pid is the subject's `ppid`, where it is known.
    fn parent<'a>(&'a self, of: &Subject<'a>) -> Option<Subject<'a>>;
}

impl Select {
    /// Whether the process is selected; `None` when a field that decides it is not there yet.
    pub(crate) fn matches(
        &self,
        subject: &Subject<'_>,
        relatives: &dyn Relatives,
        pid_files: &PidFiles,
    ) -> Option<bool> {
        let mut trees = self.trees();
        if trees.is_empty() {
            return self.decide(0, subject, &trees, pid_files);
        }
        // From the oldest ancestor down to the subject, each function over trees keeps what it saw above. Inner ones come
        // first, so that outer ones find their value; each condition is asked at most once of each process.
        for member in lineage(subject, relatives).iter().rev() {
            for nth in 0..trees.len() {
                let Some(at) = trees.get(nth).map(|tree| tree.at) else { break };
                let operand = self.decide(at.saturating_add(1), member, &trees, pid_files);
                if let Some(tree) = trees.get_mut(nth) {
                    tree.descend(operand);
                }
            }
        }
        self.decide(0, subject, &trees, pid_files)
    }

    /// The functions over trees, inner ones before outer ones.
    fn trees(&self) -> Vec<Tree> {
        let tree = |(at, node): (usize, &super::Node)| match node.op {
            Op::WithDescendants(depth) => Some(Tree::new(at, Some(depth))),
            Op::Topmost => Some(Tree::new(at, None)),
            _ => None,
        };
        self.nodes.iter().enumerate().rev().filter_map(tree).collect()
    }

    /// The value of the expression whose root is at `root`, for one process, with the functions over trees decided.
    fn decide(&self, root: usize, subject: &Subject<'_>, trees: &[Tree], pid_files: &PidFiles) -> Option<bool> {
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
                Op::WithDescendants(_) | Op::Topmost => value_of(trees, at),
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

/// A function over trees, on its way down from the oldest ancestor to the process.
struct Tree {
    /// Which node it is.
    at: usize,
    /// How far below its operand it selects; `None` for the topmost.
    depth: Option<u32>,
    /// Its value for the process it is at.
    value: Option<bool>,
    /// How many generations ago its operand was true, and how many ago it was not known.
    since_true: Option<u32>,
    since_unknown: Option<u32>,
}

impl Tree {
    fn new(at: usize, depth: Option<u32>) -> Self {
        Self { at, depth, value: None, since_true: None, since_unknown: None }
    }

    /// Goes to a child, of which the operand is this.
    fn descend(&mut self, operand: Option<bool>) {
        let within = |since: Option<u32>, depth| since.is_some_and(|generations| generations <= depth);
        let any = |since_true, since_unknown, depth| match (within(since_true, depth), within(since_unknown, depth)) {
            (true, _) => Some(true),
            (false, true) => None,
            (false, false) => Some(false),
        };
        let above = any(self.since_true, self.since_unknown, u32::MAX);
        let next = |since: Option<u32>| since.map(|generations| generations.saturating_add(1));
        self.since_true = if operand == Some(true) { Some(0) } else { next(self.since_true) };
        self.since_unknown = if operand.is_none() { Some(0) } else { next(self.since_unknown) };
        self.value = match self.depth {
            Some(depth) => any(self.since_true, self.since_unknown, depth),
            None => match (operand, above) {
                (Some(false), _) | (_, Some(true)) => Some(false),
                (Some(true), Some(false)) => Some(true),
                _ => None,
            },
        };
    }
}

fn value_of(trees: &[Tree], at: usize) -> Option<bool> {
    let nth = trees.binary_search_by(|tree| at.cmp(&tree.at)).ok()?;
    trees.get(nth)?.value
}

fn negate(value: Option<bool>, negated: bool) -> Option<bool> {
    value.map(|value| value != negated)
}

/// The process and its ancestors, the nearest first.
fn lineage<'a>(subject: &Subject<'a>, relatives: &'a dyn Relatives) -> Vec<Subject<'a>> {
    let mut lineage = vec![*subject];
    let mut child = *subject;
    while child.ppid != 0 && lineage.len() <= MAX_ANCESTORS {
        // A parent that started after its child is a stranger with the pid of a parent that is gone.
        let parent = relatives.parent(&child).filter(|parent| parent.id.start_ticks <= child.id.start_ticks);
        let Some(parent) = parent.filter(|parent| parent.id.pid != child.id.pid) else { break };
        lineage.push(parent);
        child = parent;
    }
    lineage
}

impl Condition {
    fn test(&self, subject: &Subject<'_>, pid_files: &PidFiles) -> Option<bool> {
        let info = subject.info;
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
            Self::OlderThan(age) => Some(subject.age > *age),
            Self::YoungerThan(age) => Some(subject.age < *age),
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
