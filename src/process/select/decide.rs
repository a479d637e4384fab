//! Whether a process is selected, in three values: yes, no, and not known yet.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::branch::Branch;
use super::condition::{Condition, NumberField, TextField};
use super::expression::{Group, Node};
use super::pattern::Pattern;
use super::pid_file::PidFiles;
use super::subject::{CommandLine, Knowledge, Subject};
use crate::process::cgroup::without_mark;
use crate::{Cancel, Reading, Result};

/// One process to decide about, with the data known of it.
pub(super) struct Evaluation<'a> {
    subject: Subject<'a>,
    /// The values of the functions over trees for this process, by their numbers.
    branches: &'a [Branch],
    pid_files: &'a PidFiles,
    command_line: CommandLine,
    cancel: &'a Cancel,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(
        subject: Subject<'a>,
        branches: &'a [Branch],
        pid_files: &'a PidFiles,
        cancel: &'a Cancel,
    ) -> Self {
        Self { subject, branches, pid_files, command_line: CommandLine::default(), cancel }
    }
}

impl Node {
    /// The value of the expression. Once an operand decides a group, the others are not evaluated.
    pub(super) fn decide(&self, evaluation: &Evaluation<'_>) -> Result<Option<bool>> {
        evaluation.cancel.check()?;
        match self {
            Self::Is(condition) => condition.test(evaluation),
            Self::Group(group, operands) => {
                let decisive = *group == Group::Any;
                let mut value = Some(!decisive);
                for operand in operands {
                    match operand.decide(evaluation)? {
                        Some(decided) if decided == decisive => return Ok(Some(decisive)),
                        Some(_) => {}
                        None => value = None,
                    }
                }
                Ok(value)
            }
            Self::Not(operand) => Ok(operand.decide(evaluation)?.map(|value| !value)),
            Self::Tree(tree) => Ok(evaluation.branches.get(tree.number).and_then(|branch| branch.value)),
            Self::TooDeep => Ok(None),
        }
    }
}

impl Condition {
    fn test(&self, evaluation: &Evaluation<'_>) -> Result<Option<bool>> {
        let subject = &evaluation.subject;
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
            Knowledge::Name | Knowledge::Identity => return Ok(None),
        }
        Ok(match self {
            Self::Text(TextField::Name, pattern) => Some(pattern.matches(info.name.as_bytes())),
            Self::Text(TextField::Exe, pattern) => decide(&info.exe, |exe| matches_marked(bytes_of(exe), pattern)),
            Self::Text(TextField::Cwd, pattern) => decide(&info.cwd, |cwd| matches_marked(bytes_of(cwd), pattern)),
            Self::Text(TextField::User, pattern) => decide(&info.user, |user| pattern.matches(user.as_bytes())),
            Self::Text(TextField::Group, pattern) => decide(&info.group, |group| pattern.matches(group.as_bytes())),
            Self::Text(TextField::Cgroup, pattern) => {
                decide(&info.cgroup, |cgroup| matches_marked(cgroup.as_bytes(), pattern))
            }
            // Both follow from the path alone, and nothing more is known of them.
            Self::Text(TextField::Container, pattern) => decide(&info.cgroup, |_| {
                info.container.as_ref().is_some_and(|container| pattern.matches(container.id.as_bytes()))
            }),
            Self::Text(TextField::Pod, pattern) => decide(&info.cgroup, |_| {
                let pod = info.container.as_ref().and_then(|container| container.pod_uid.as_ref());
                pod.is_some_and(|pod| pattern.matches(pod.as_bytes()))
            }),
            Self::Text(TextField::Cmdline, pattern) => match &info.cmdline {
                Reading::Value(arguments) => {
                    Some(pattern.matches(evaluation.command_line.joined(arguments, evaluation.cancel)?))
                }
                missing => decide(missing, |_| false),
            },
            Self::Number(NumberField::Pid, pid) => Some(subject.id.pid == *pid),
            Self::Number(NumberField::Ppid, ppid) => Some(subject.ppid == *ppid),
            Self::Number(NumberField::Uid, uid) => Some(info.uid == *uid),
            Self::Number(NumberField::Gid, gid) => Some(info.gid == *gid),
            Self::Unit(unit) => decide(&info.cgroup, |cgroup| is_in_unit(cgroup.as_bytes(), unit.as_bytes())),
            Self::PidFile(path) => evaluation.pid_files.names(path, subject.id),
            Self::KernelThread => Some(info.kernel_thread),
            Self::OlderThan(age) => subject.age.map(|known| known > *age),
            Self::YoungerThan(age) => subject.age.map(|known| known < *age),
            Self::Function(function) => Some(function.call(info)),
        })
    }
}

/// A value that cannot be read does not match; a value that may still come is unknown.
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

/// A path of proc(5), with or without the mark that the kernel adds to a removed path.
fn matches_marked(path: &[u8], pattern: &Pattern) -> bool {
    pattern.matches_path(path) || pattern.matches_path(without_mark(path))
}

/// Whether a component of the path is this unit. systemd puts a `_` before a name that means something to the kernel.
fn is_in_unit(cgroup: &[u8], unit: &[u8]) -> bool {
    without_mark(cgroup)
        .split(|byte| *byte == b'/')
        .any(|component| component == unit || component.strip_prefix(b"_").is_some_and(|escaped| escaped == unit))
}
