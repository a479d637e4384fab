//! The conditions on a single process.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::pattern::Pattern;
use crate::Text;
use crate::process::{Fields, ProcessInfo};

/// A condition on a single process.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Condition {
    Text(TextField, Pattern),
    Number(NumberField, u32),
    /// The whole name of the unit.
    Unit(Text),
    PidFile(PathBuf),
    KernelThread,
    OlderThan(Duration),
    YoungerThan(Duration),
    Function(Function),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TextField {
    Name,
    Exe,
    Cmdline,
    Cwd,
    User,
    Group,
    Cgroup,
    Container,
    Pod,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberField {
    Pid,
    Ppid,
    Uid,
    Gid,
}

/// A function of the caller's. Clones are the same function; another is another, whatever it does.
#[derive(Clone)]
pub(super) struct Function(Arc<dyn Fn(&ProcessInfo) -> bool + Send + Sync>);

impl Function {
    pub(super) fn new(function: impl Fn(&ProcessInfo) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(function))
    }

    pub(super) fn call(&self, info: &ProcessInfo) -> bool {
        (self.0)(info)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.0), Arc::as_ptr(&other.0))
    }
}

impl Eq for Function {}

impl Condition {
    /// The processes of this unit; `.service` is added to a name without the suffix of a unit.
    pub(super) fn unit(name: Text) -> Self {
        let is_whole = has_unit_suffix(name.as_bytes());
        Self::Unit(if is_whole { name } else { Text::from([name.as_bytes(), b".service"].concat()) })
    }

    /// The fields that must be read of a process before it can be decided.
    pub(super) fn needs(&self) -> Fields {
        match self {
            Self::Text(TextField::Name, _) => Fields::empty(),
            Self::Text(TextField::Exe, _) => Fields::EXE,
            Self::Text(TextField::Cmdline, _) => Fields::CMDLINE,
            Self::Text(TextField::Cwd, _) => Fields::CWD,
            Self::Text(TextField::User | TextField::Group, _) => Fields::USER,
            Self::Text(TextField::Cgroup | TextField::Container | TextField::Pod, _) | Self::Unit(_) => Fields::CGROUP,
            Self::Function(_) => Fields::INFO,
            Self::Number(..) | Self::PidFile(_) | Self::KernelThread | Self::OlderThan(_) | Self::YoungerThan(_) => {
                Fields::empty()
            }
        }
    }
}

impl TextField {
    pub(super) const ALL: [Self; 9] = [
        Self::Name,
        Self::Exe,
        Self::Cmdline,
        Self::Cwd,
        Self::User,
        Self::Group,
        Self::Cgroup,
        Self::Container,
        Self::Pod,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Exe => "exe",
            Self::Cmdline => "cmdline",
            Self::Cwd => "cwd",
            Self::User => "user",
            Self::Group => "group",
            Self::Cgroup => "cgroup",
            Self::Container => "container",
            Self::Pod => "pod",
        }
    }
}

impl NumberField {
    pub(super) const ALL: [Self; 4] = [Self::Pid, Self::Ppid, Self::Uid, Self::Gid];

    pub(super) fn name(self) -> &'static str {
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
