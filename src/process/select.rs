//! Which processes: a selection, as builders and as text.

mod ancestry;
mod apply;
mod branch;
mod condition;
mod decide;
mod display;
mod expression;
mod judge;
mod parse;
mod pattern;
mod pid_file;
mod rejudge;
mod subject;
mod value;
mod wire;

use std::ops::{BitAnd, BitOr, Not};
use std::path::PathBuf;
use std::time::Duration;

use super::{Fields, ProcessInfo};
use crate::{Result, Text};

pub(crate) use ancestry::Family;
use condition::{Condition, Function, NumberField, TextField};
use expression::{ALL_GENERATIONS, Expression, Group, TreeFunction};
pub(crate) use judge::Verdict;
pub use pattern::Pattern;
pub(crate) use pid_file::PidFiles;
pub(crate) use subject::{Knowledge, Subject, age};

/// Which processes: conditions, combined with `&`, `|` and `!`.
///
/// It is built in code, or read from text, as a configuration file or a command line has it; its serde form is that
/// text.
///
/// ```
/// use appmon::Select;
/// use appmon::process::Pattern;
///
/// let built = (Select::name("postgres").with_descendants() | Select::cmdline(Pattern::contains("celery worker")))
///     & !Select::user("root");
/// let text = "(with_descendants(name=postgres) | cmdline*='celery worker') & !user=root";
/// assert_eq!(built, text.parse::<Select>()?);
///
/// let error = "name=postgres & usr=root".parse::<Select>().unwrap_err();
/// assert!(error.to_string().contains("column 17: there is no field `usr`; did you mean `user`?"));
/// # Ok::<(), appmon::Error>(())
/// ```
///
/// # The text form
///
/// It is [`Select::GRAMMAR`] too, for the help of a program:
///
#[doc = concat!("```text\n", include_str!("select/grammar.txt"), "```")]
///
/// The operators of the text fields are those of [`Pattern`]; for the others see [`Select::unit`], [`Select::pid_file`] and their
/// neighbours. Groups and functions go 128 deep at most: a text that goes deeper is an error. One that is built in code can still be
/// combined when it is too deep; it is an error ([`is_config`](crate::Error::is_config)) at the first tick of its source, and in every
/// other use.
///
/// # Undecided processes
///
/// A field, or a pid file, that was not reached within its tick's budget ([`Reading::Skipped`](crate::Reading::Skipped))
/// decides nothing: the process is not selected by it, and is not selected by the negation either, until the field is there. So
/// an exclusion never lets a process through because its command line came late.
///
/// A field that cannot be had (denied, meaningless as a kernel thread's executable, or not to be read: a working directory
/// longer than `PATH_MAX`) does not match: without the permission to see it, `exe=/bin/sh` selects nothing and `!exe=/bin/sh`
/// everything.
#[derive(Clone, PartialEq, Eq)]
pub struct Select(Expression);

impl Select {
    /// The text form in a few lines, for the `--help` of a program that takes a selection.
    pub const GRAMMAR: &'static str = include_str!("select/grammar.txt").trim_ascii_end();

    /// Selects every process.
    #[must_use]
    pub fn all() -> Self {
        Self(Expression::empty(Group::All))
    }

    /// Selects no process: the start of a fold, as in `pids.into_iter().map(Select::pid).fold(Select::none(), |a, b| a | b)`.
    #[must_use]
    pub fn none() -> Self {
        Self(Expression::empty(Group::Any))
    }

    /// Selects by the command name (`comm`), at most 15 bytes unless it is a kernel thread's.
    #[must_use]
    pub fn name(pattern: impl Into<Pattern>) -> Self {
        Self::text(TextField::Name, pattern.into())
    }

    /// Selects by the path of the executable. One that was removed or replaced since counts by the path it had.
    #[must_use]
    pub fn exe(pattern: impl Into<Pattern>) -> Self {
        Self::text(TextField::Exe, pattern.into())
    }

    /// Selects by the command line: the arguments, program first, joined by single spaces.
    ///
    /// It is read in the slow pool: see [`Fields::CMDLINE`].
    #[must_use]
    pub fn cmdline(pattern: impl Into<Pattern>) -> Self {
        Self::text(TextField::Cmdline, pattern.into())
    }

    /// Selects by the working directory: this one, not those below it. The glob for both is `/srv/app{,/**}`.
    #[must_use]
    pub fn cwd(pattern: impl Into<Pattern>) -> Self {
        Self::text(TextField::Cwd, pattern.into())
    }

    /// Selects by the name of the effective user.
    #[must_use]
    pub fn user(pattern: impl Into<Pattern>) -> Self {
        Self::text(TextField::User, pattern.into())
    }

    /// Selects by the name of the effective group.
    #[must_use]
    pub fn group(pattern: impl Into<Pattern>) -> Self {
        Self::text(TextField::Group, pattern.into())
    }

    /// Selects by the whole path of the control group, as in [`ProcessInfo::cgroup`](crate::process::ProcessInfo::cgroup). One that was
    /// removed since counts by the path it had.
    #[must_use]
    pub fn cgroup(pattern: impl Into<Pattern>) -> Self {
        Self::text(TextField::Cgroup, pattern.into())
    }

    /// Selects by the id of the container that the path of the control group names: [`ProcessInfo::container`](crate::process::ProcessInfo::container).
    /// It is the whole id; by the first digits of one it is a glob, as in `container=4f1c09*`. A process in no container does not match.
    #[must_use]
    pub fn container(pattern: impl Into<Pattern>) -> Self {
        Self::text(TextField::Container, pattern.into())
    }

    /// Selects by the uid of the Kubernetes pod that the container is in, with hyphens: [`Container::pod_uid`](crate::cgroup::Container::pod_uid).
    /// A process in no pod does not match.
    #[must_use]
    pub fn pod(pattern: impl Into<Pattern>) -> Self {
        Self::text(TextField::Pod, pattern.into())
    }

    /// Selects by the effective user id.
    #[must_use]
    pub fn uid(uid: u32) -> Self {
        Self::number(NumberField::Uid, uid)
    }

    /// Selects by the effective group id.
    #[must_use]
    pub fn gid(gid: u32) -> Self {
        Self::number(NumberField::Gid, gid)
    }

    /// Selects the process of this pid, whichever it is at the time: see [`pid_file`](Self::pid_file) for one that is checked.
    #[must_use]
    pub fn pid(pid: u32) -> Self {
        Self::number(NumberField::Pid, pid)
    }

    /// Selects the children of this pid.
    #[must_use]
    pub fn ppid(ppid: u32) -> Self {
        Self::number(NumberField::Ppid, ppid)
    }

    /// Selects the process that a pid file names, if it started before the file was written (give or take 2 s): a stale file never selects
    /// another process that got the same pid.
    ///
    /// The file is read again at every tick, beside it; its first line is the pid. A file that is missing, denied, not a
    /// regular file or not a pid selects nothing. One that does not answer within the
    /// [budget](crate::Processes::slow_budget) of the tick, or cannot be read for another reason, decides nothing in it.
    /// At most 64 files that do not answer are waited for at a time. The time of writing is the wall clock's, so a clock that is set by more than those 2 s after
    /// the file was written can hide the process.
    #[must_use]
    pub fn pid_file(path: impl Into<PathBuf>) -> Self {
        Self::is(Condition::PidFile(path.into()))
    }

    /// Selects the processes of a systemd unit, those in control groups below it included: a component of the control group's path is this
    /// unit. `.service` is added to a name without the suffix of a unit, so `nginx` will do; `user.slice` has the sessions of all users.
    #[must_use]
    pub fn unit(name: impl Into<Text>) -> Self {
        Self::is(Condition::unit(name.into()))
    }

    /// Selects the threads of the kernel.
    #[must_use]
    pub fn kernel_threads() -> Self {
        Self::is(Condition::KernelThread)
    }

    /// Processes that started longer ago than this.
    #[must_use]
    pub fn older_than(age: Duration) -> Self {
        Self::is(Condition::OlderThan(age))
    }

    /// Processes that started less long ago than this.
    #[must_use]
    pub fn younger_than(age: Duration) -> Self {
        Self::is(Condition::YoungerThan(age))
    }

    /// Selects by a function of your own. It has no text form, and cannot be serialised.
    ///
    /// The argument has the fields of [`Fields::INFO`]; the command line only where [`Fields::CMDLINE`] is requested too.
    ///
    /// ```
    /// use appmon::Select;
    ///
    /// let people = Select::matching(|process| process.uid >= 1000);
    /// ```
    #[must_use]
    pub fn matching(function: impl Fn(&ProcessInfo) -> bool + Send + Sync + 'static) -> Self {
        Self::is(Condition::Function(Function::new(function)))
    }

    /// Adds all processes below the selected ones.
    #[must_use]
    pub fn with_descendants(self) -> Self {
        self.with_descendants_to(ALL_GENERATIONS)
    }

    /// Adds the processes below the selected ones, so many generations deep: 1 for the children.
    #[must_use]
    pub fn with_descendants_to(self, depth: u32) -> Self {
        Self(self.0.within(TreeFunction::WithDescendants(depth)))
    }

    /// Keeps the selected processes that have no ancestor, near or far, that is selected: the roots of the selected trees.
    #[must_use]
    pub fn topmost(self) -> Self {
        Self(self.0.within(TreeFunction::Topmost))
    }

    /// Fails where it was built too deep.
    pub(crate) fn check(&self) -> Result<()> {
        self.0.check()
    }

    /// The fields that must be read of a process, and of its ancestors where [`is_tree`](Self::is_tree), before it can be decided.
    pub(crate) fn needs(&self) -> Fields {
        self.conditions().into_iter().map(Condition::needs).fold(Fields::empty(), |all, needs| all | needs)
    }

    /// Whether the ancestors of a process count.
    pub(crate) fn is_tree(&self) -> bool {
        self.0.has_trees()
    }

    /// Whether the age of a process counts: it can be decided otherwise at a later tick.
    pub(crate) fn uses_age(&self) -> bool {
        self.has(|condition| matches!(condition, Condition::OlderThan(_) | Condition::YoungerThan(_)))
    }

    /// Whether a function of the caller's decides.
    pub(crate) fn has_function(&self) -> bool {
        self.has(|condition| matches!(condition, Condition::Function(_)))
    }

    /// Whether it names a pid file.
    pub(crate) fn uses_pid_files(&self) -> bool {
        self.has(|condition| matches!(condition, Condition::PidFile(_)))
    }

    /// Whether it is [`Select::all`], so that no field is needed.
    pub(crate) fn is_all(&self) -> bool {
        self.0.is_empty(Group::All)
    }

    fn has(&self, is: impl Fn(&Condition) -> bool) -> bool {
        self.conditions().into_iter().any(is)
    }

    fn conditions(&self) -> Vec<&Condition> {
        self.0.conditions()
    }

    fn is(condition: Condition) -> Self {
        Self(Expression::new(condition))
    }

    fn text(field: TextField, pattern: Pattern) -> Self {
        Self::is(Condition::Text(field, pattern))
    }

    fn number(field: NumberField, number: u32) -> Self {
        Self::is(Condition::Number(field, number))
    }
}

/// Everything, as [`Select::all`].
impl Default for Select {
    fn default() -> Self {
        Self::all()
    }
}

impl BitAnd for Select {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0.join(Group::All, other.0))
    }
}

impl BitOr for Select {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0.join(Group::Any, other.0))
    }
}

impl Not for Select {
    type Output = Self;

    fn not(self) -> Self {
        Self(self.0.negate())
    }
}
