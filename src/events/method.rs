//! How events are found out, and why not by a better way.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a source detects starts and ends, the better ways first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum EventMethod {
    /// By the kernel's process connector: every start, exec and end as it happens, with its exit status, however short the life.
    Connector,
    /// By comparing two ticks: a process that lives only in between is not seen, and the exit status is known only of processes that have
    /// not been waited for yet.
    Polling,
}

/// Why the process connector is not in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum ConnectorObstacle {
    /// It was disabled ([`ProcessEvents::connector`](crate::events::ProcessEvents::connector)).
    TurnedOff,
    /// This process is not in the first pid namespace: the kernel sends the pids of the machine.
    PidNamespace,
    /// This process is not in the first user namespace: the kernel does not listen to it.
    UserNamespace,
    /// This process is not in the first network namespace, where the kernel sends.
    NetworkNamespace,
    /// This process is not in the first time namespace: the kernel stamps with the machine's clock.
    TimeNamespace,
    /// The /proc that is read is not that of this process's pid namespace.
    OtherProc,
    /// The kernel refused it: before Linux 6.6 it takes `CAP_NET_ADMIN`.
    Denied,
    /// This kernel does not have it (`CONFIG_PROC_EVENTS`).
    Unsupported,
    /// The kernel did not acknowledge that it sends.
    NotAcknowledged,
    /// No file descriptor or no thread was left, or the socket failed. It is tried again at the next tick.
    Failed,
}

impl fmt::Display for ConnectorObstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TurnedOff => "it is turned off",
            Self::PidNamespace => "not in the first pid namespace",
            Self::UserNamespace => "not in the first user namespace",
            Self::NetworkNamespace => "not in the first network namespace",
            Self::TimeNamespace => "not in the first time namespace",
            Self::OtherProc => "another /proc than that of this pid namespace",
            Self::Denied => "permission denied: before Linux 6.6 it takes CAP_NET_ADMIN",
            Self::Unsupported => "this kernel does not support it",
            Self::NotAcknowledged => "not acknowledged by the kernel",
            Self::Failed => "no file descriptor or thread was left, or its socket failed",
        })
    }
}
