//! Which processes: a selection, as builders and as text.

mod display;
mod eval;
mod fault;
mod parse;
mod pattern;
mod pid_file;

use std::fmt;
use std::ops::{BitAnd, BitOr, Not};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Fields, ProcessInfo};
use crate::Text;

pub(crate) use eval::{Family, Knowledge, Subject, Verdict};
pub use pattern::Pattern;
pub(crate) use pid_file::PidFiles;

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
/// assert_eq!(built.to_string(), text.parse::<Select>()?.to_string());
///
/// let error = "name=postgres & usr=root".parse::<Select>().unwrap_err();
/// assert!(error.to_string().contains("column 17: there is no field `usr`; did you mean `user`?"));
/// # Ok::<(), appmon::Error>(())
/// ```
///
/// # The text form
///
/// | written | selects |
/// |---|---|
/// | `name`, `exe`, `cmdline`, `cwd`, `user`, `group`, `cgroup` | with one of these operators: |
/// | `name=nginx` | what is exactly this; a [glob](Pattern::glob) when it has any of `* ? [ {`, as in `exe=/usr/lib/*/bin/*` |
/// | `exe==/opt/a[1]/b` | what is exactly this, whatever characters it has |
/// | `cmdline*=--config` | what has this in it |
/// | `user~^app[0-9]` | what this [regular expression](Pattern::regex) matches |
/// | `pid=1`, `ppid=1`, `uid=0`, `gid=0` | the number |
/// | `unit=nginx` | the processes of a systemd unit: [`Select::unit`] |
/// | `pid_file=/run/nginx.pid` | the process a pid file names: [`Select::pid_file`] |
/// | `age>5m`, `age<1h30m` | what is older, or younger |
/// | `kernel_thread` | threads of the kernel |
/// | `all`, `none` | everything, nothing |
/// | `with_descendants(X)`, `with_descendants(X, 1)` | X and all below it, or so many generations of it |
/// | `topmost(X)` | what X selects and has no ancestor that X selects |
/// | `!X`, `not X`, `name!=X`, `name!~X` | everything else |
/// | `X & Y`, `X and Y` | both |
/// | `X \| Y`, `X or Y` | either |
/// | `(X)` | `!` binds tighter than `&`, and `&` tighter than `\|` |
///
/// A value ends at white space or one of `& | ( ) , " '`. One that has these stands in quotes: as it is in `'…'`, and in
/// `"…"` with the escapes `\"`, `\\` and `\xHH`, any byte. Parentheses go 128 deep at most.
///
/// # What is not known
///
/// A field, or a pid file, that was not reached within its tick's budget ([`Reading::Skipped`](crate::Reading::Skipped))
/// decides nothing: the process is not selected by it, and is not selected by the negation either, until the field is there. So
/// an exclusion never lets a process through because its command line came late.
///
/// A field that cannot be had (denied, meaningless as a kernel thread's executable, or not to be read: a working directory
/// longer than `PATH_MAX`) does not match: without the permission to see it, `exe=/bin/sh` selects nothing and `!exe=/bin/sh`
/// everything.
#[derive(Clone)]
pub struct Select {
    /// The expression in prefix order: each group and each function is followed by its operands. A flat list needs no
    /// recursion to be read, shown or dropped, however deep it is.
    nodes: Vec<Node>,
}

#[derive(Clone)]
struct Node {
    op: Op,
    negated: bool,
    /// How many nodes the expression it is the root of has; never 0.
    span: usize,
}

#[derive(Clone)]
enum Op {
    /// All of its operands; true when there are none.
    And,
    /// Any of its operands; false when there are none.
    Or,
    /// Its operand, or an ancestor of at most this distance.
    WithDescendants(u32),
    /// Its operand, and no ancestor.
    Topmost,
    Is(Condition),
}

/// What can be said of a single process.
#[derive(Clone)]
enum Condition {
    Text(TextField, Pattern),
    Number(NumberField, u32),
    /// The whole name of the unit.
    Unit(Text),
    PidFile(PathBuf),
    KernelThread,
    OlderThan(Duration),
    YoungerThan(Duration),
    Closure(Arc<dyn Fn(&ProcessInfo) -> bool + Send + Sync>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum TextField {
    Name,
    Exe,
    Cmdline,
    Cwd,
    User,
    Group,
    Cgroup,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum NumberField {
    Pid,
    Ppid,
    Uid,
    Gid,
}

/// As many generations as there are.
const ALL_GENERATIONS: u32 = u32::MAX;

impl Select {
    /// Every process.
    #[must_use]
    pub fn all() -> Self {
        Self::leaf(Op::And)
    }

    /// No process: what to fold a list from, as in `pids.into_iter().map(Select::pid).fold(Select::none(), |a, b| a | b)`.
    #[must_use]
    pub fn none() -> Self {
        Self::leaf(Op::Or)
    }

    /// By the command name (`comm`), at most 15 bytes unless it is a kernel thread's.
    #[must_use]
    pub fn name(pattern: impl Into<Pattern>) -> Self {
        Self::text(TextField::Name, pattern.into())
    }

    /// By the path of the executable. One that was removed or replaced since counts by the path it had.
    #[must_use]
    pub fn exe(pattern: impl Into<Pattern>) -> Self {
        Self::text(TextField::Exe, pattern.into())
    }

    /// By the command line: the arguments, program first, joined by single spaces.
    ///
    /// It is read in the slow pool: see [`Fields::CMDLINE`].
    #[must_use]
    pub fn cmdline(pattern: impl Into<Pattern>) -> Self {
        Self::text(TextField::Cmdline, pattern.into())
    }

    /// By the working directory: this one, not those below it. The glob for both is `/srv/app{,/**}`.
    #[must_use]
    pub fn cwd(pattern: impl Into<Pattern>) -> Self {
        Self::text(TextField::Cwd, pattern.into())
    }

    /// By the name of the effective user.
    #[must_use]
    pub fn user(pattern: impl Into<Pattern>) -> Self {
        Self::text(TextField::User, pattern.into())
    }

    /// By the name of the effective group.
    #[must_use]
    pub fn group(pattern: impl Into<Pattern>) -> Self {
        Self::text(TextField::Group, pattern.into())
    }

    /// By the whole path of the control group, as in [`ProcessInfo::cgroup`](crate::process::ProcessInfo::cgroup). One that was removed
    /// since counts by the path it had.
    #[must_use]
    pub fn cgroup(pattern: impl Into<Pattern>) -> Self {
        Self::text(TextField::Cgroup, pattern.into())
    }

    /// By the effective user id.
    #[must_use]
    pub fn uid(uid: u32) -> Self {
        Self::number(NumberField::Uid, uid)
    }

    /// By the effective group id.
    #[must_use]
    pub fn gid(gid: u32) -> Self {
        Self::number(NumberField::Gid, gid)
    }

    /// The process of this pid, whichever it is at the time: see [`pid_file`](Self::pid_file) for one that is checked.
    #[must_use]
    pub fn pid(pid: u32) -> Self {
        Self::number(NumberField::Pid, pid)
    }

    /// The children of this pid.
    #[must_use]
    pub fn ppid(ppid: u32) -> Self {
        Self::number(NumberField::Ppid, ppid)
    }

    /// The process a pid file names, if it started before the file was written (give or take 2 s): a stale file never
    /// selects a stranger that got the same pid.
    ///
    /// The file is read again at every tick, beside it; its first line is the pid. A file that is missing, denied, not a
    /// regular file or not a pid selects nothing. One that does not answer within the
    /// [budget](crate::Processes::slow_budget) of the tick, or cannot be read for another reason, decides nothing in it.
    /// At most 64 files that do not answer are waited for at a time. The time of writing is the wall clock's, so a clock that is set by more than those 2 s after
    /// the file was written can hide the process.
    #[must_use]
    pub fn pid_file(path: impl Into<PathBuf>) -> Self {
        Self::leaf(Op::Is(Condition::PidFile(path.into())))
    }

    /// The processes of a systemd unit, those in control groups below it included: a component of the control group's path
    /// is this unit. `.service` is added to a name without the suffix of a unit, so `nginx` will do; `user.slice` is
    /// everybody's sessions.
    #[must_use]
    pub fn unit(name: impl Into<Text>) -> Self {
        let name = name.into();
        let whole =
            if has_unit_suffix(name.as_bytes()) { name } else { Text::from([name.as_bytes(), b".service"].concat()) };
        Self::leaf(Op::Is(Condition::Unit(whole)))
    }

    /// The threads of the kernel.
    #[must_use]
    pub fn kernel_threads() -> Self {
        Self::leaf(Op::Is(Condition::KernelThread))
    }

    /// Processes that started longer ago than this.
    #[must_use]
    pub fn older_than(age: Duration) -> Self {
        Self::leaf(Op::Is(Condition::OlderThan(age)))
    }

    /// Processes that started less long ago than this.
    #[must_use]
    pub fn younger_than(age: Duration) -> Self {
        Self::leaf(Op::Is(Condition::YoungerThan(age)))
    }

    /// By a function of your own. It has no text form, and cannot be serialised.
    ///
    /// It is given what [`Fields::INFO`] names; the command line only where [`Fields::CMDLINE`] is asked for too.
    ///
    /// ```
    /// use appmon::Select;
    ///
    /// let people = Select::matching(|process| process.uid >= 1000);
    /// ```
    #[must_use]
    pub fn matching(function: impl Fn(&ProcessInfo) -> bool + Send + Sync + 'static) -> Self {
        Self::leaf(Op::Is(Condition::Closure(Arc::new(function))))
    }

    /// What is selected, and all processes below it.
    #[must_use]
    pub fn with_descendants(self) -> Self {
        self.wrap(Op::WithDescendants(ALL_GENERATIONS))
    }

    /// What is selected, and so many generations below it: 1 for the children.
    #[must_use]
    pub fn with_descendants_to(self, depth: u32) -> Self {
        self.wrap(Op::WithDescendants(depth))
    }

    /// What is selected and has no ancestor, near or far, that is selected: the roots of the selected trees.
    #[must_use]
    pub fn topmost(self) -> Self {
        self.wrap(Op::Topmost)
    }

    /// What must be read of a process, and of its ancestors where [`is_tree`](Self::is_tree), before it can be decided.
    pub(crate) fn needs(&self) -> Fields {
        self.conditions().map(Condition::needs).fold(Fields::empty(), |all, needs| all | needs)
    }

    /// Whether the ancestors of a process count.
    pub(crate) fn is_tree(&self) -> bool {
        self.nodes.iter().any(|node| matches!(node.op, Op::WithDescendants(_) | Op::Topmost))
    }

    /// Whether the age of a process counts: it can be decided otherwise at a later tick.
    pub(crate) fn uses_age(&self) -> bool {
        self.conditions().any(|condition| matches!(condition, Condition::OlderThan(_) | Condition::YoungerThan(_)))
    }

    /// Whether a function of the caller's decides.
    pub(crate) fn has_closure(&self) -> bool {
        self.conditions().any(|condition| matches!(condition, Condition::Closure(_)))
    }

    /// Whether it names a pid file.
    pub(crate) fn uses_pid_files(&self) -> bool {
        self.conditions().any(|condition| matches!(condition, Condition::PidFile(_)))
    }

    /// Whether it is [`Select::all`], so that nothing need be asked.
    pub(crate) fn is_all(&self) -> bool {
        self.nodes.first().is_some_and(|root| matches!(root.op, Op::And) && !root.negated && root.span == 1)
    }

    fn conditions(&self) -> impl Iterator<Item = &Condition> {
        self.nodes.iter().filter_map(|node| match &node.op {
            Op::Is(condition) => Some(condition),
            _ => None,
        })
    }

    fn leaf(op: Op) -> Self {
        Self { nodes: vec![Node { op, negated: false, span: 1 }] }
    }

    fn text(field: TextField, pattern: Pattern) -> Self {
        Self::leaf(Op::Is(Condition::Text(field, pattern)))
    }

    fn number(field: NumberField, number: u32) -> Self {
        Self::leaf(Op::Is(Condition::Number(field, number)))
    }

    /// The expression as the first operand of `op`.
    fn wrap(mut self, op: Op) -> Self {
        self.nodes.insert(0, Node { op, negated: false, span: self.nodes.len().saturating_add(1) });
        self
    }

    /// Both under one group, which is never the direct child of a group of its kind: a list of ten thousand pids is one
    /// group of ten thousand.
    fn join(self, group: Op, other: Self) -> Self {
        // The empty group is the neutral element.
        if self.is_group(&group) && self.nodes.len() == 1 {
            return other;
        }
        if other.is_group(&group) && other.nodes.len() == 1 {
            return self;
        }
        let operands_of_other = usize::from(other.is_group(&group));
        let mut joined = if self.is_group(&group) { self } else { self.wrap(group) };
        joined.nodes.extend(other.nodes.into_iter().skip(operands_of_other));
        let span = joined.nodes.len();
        if let Some(root) = joined.nodes.first_mut() {
            root.span = span;
        }
        joined
    }

    fn is_group(&self, group: &Op) -> bool {
        self.nodes
            .first()
            .is_some_and(|root| !root.negated && std::mem::discriminant(&root.op) == std::mem::discriminant(group))
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
        self.join(Op::And, other)
    }
}

impl BitOr for Select {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.join(Op::Or, other)
    }
}

impl Not for Select {
    type Output = Self;

    fn not(mut self) -> Self {
        if let Some(root) = self.nodes.first_mut() {
            match root.op {
                Op::And if root.span == 1 => root.op = Op::Or,
                Op::Or if root.span == 1 => root.op = Op::And,
                _ => root.negated = !root.negated,
            }
        }
        self
    }
}

impl fmt::Debug for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Select({self})")
    }
}

impl Condition {
    fn needs(&self) -> Fields {
        match self {
            Self::Text(TextField::Name, _) => Fields::empty(),
            Self::Text(TextField::Exe, _) => Fields::EXE,
            Self::Text(TextField::Cmdline, _) => Fields::CMDLINE,
            Self::Text(TextField::Cwd, _) => Fields::CWD,
            Self::Text(TextField::User | TextField::Group, _) => Fields::USER,
            Self::Text(TextField::Cgroup, _) | Self::Unit(_) => Fields::CGROUP,
            Self::Closure(_) => Fields::INFO,
            Self::Number(..) | Self::PidFile(_) | Self::KernelThread | Self::OlderThan(_) | Self::YoungerThan(_) => {
                Fields::empty()
            }
        }
    }
}

impl TextField {
    const ALL: [Self; 7] = [Self::Name, Self::Exe, Self::Cmdline, Self::Cwd, Self::User, Self::Group, Self::Cgroup];

    fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Exe => "exe",
            Self::Cmdline => "cmdline",
            Self::Cwd => "cwd",
            Self::User => "user",
            Self::Group => "group",
            Self::Cgroup => "cgroup",
        }
    }
}

impl NumberField {
    const ALL: [Self; 4] = [Self::Pid, Self::Ppid, Self::Uid, Self::Gid];

    fn name(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::Ppid => "ppid",
            Self::Uid => "uid",
            Self::Gid => "gid",
        }
    }
}

/// Whether a name ends as systemd.unit(5) has units end.
fn has_unit_suffix(name: &[u8]) -> bool {
    const SUFFIXES: [&[u8]; 11] = [
        b".service",
        b".scope",
        b".slice",
        b".socket",
        b".mount",
        b".automount",
        b".swap",
        b".device",
        b".target",
        b".timer",
        b".path",
    ];
    SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}
