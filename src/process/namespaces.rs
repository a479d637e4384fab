//! `/proc/PID/ns`: which namespaces a process is in.

use serde::{Deserialize, Serialize};

use crate::number::decimal;

/// The namespaces of a process. Two processes are in the same one where the inode numbers are equal.
///
/// `None` where the link could not be read, or the kernel does not have that kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Namespaces {
    /// Control groups; since Linux 4.6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<u64>,
    /// System V IPC and POSIX message queues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipc: Option<u64>,
    /// Mounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mnt: Option<u64>,
    /// Network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub net: Option<u64>,
    /// Process ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u64>,
    /// Process ids, for children to come; since Linux 4.12.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid_for_children: Option<u64>,
    /// Offsets of the monotonic clocks; since Linux 5.6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<u64>,
    /// Offsets of the monotonic clocks, for children to come; since Linux 5.6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_for_children: Option<u64>,
    /// User and group ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u64>,
    /// Host and domain name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uts: Option<u64>,
    /// The pid in the reader's pid namespace, and then in each one nested in it, down to the process's own: `NSpid` of
    /// `/proc/PID/status`; since Linux 4.1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ns_pids: Vec<u32>,
}

impl Namespaces {
    /// Takes in one entry of `/proc/PID/ns`: its name, and where the link points to. Returns whether both were understood.
    ///
    /// ```
    /// let mut namespaces = appmon::process::Namespaces::default();
    /// assert!(namespaces.set(b"pid_for_children", b"pid:[4026531836]"));
    /// assert_eq!(namespaces.pid_for_children, Some(4026531836));
    /// ```
    pub fn set(&mut self, name: &[u8], link: &[u8]) -> bool {
        let field = match name {
            b"cgroup" => &mut self.cgroup,
            b"ipc" => &mut self.ipc,
            b"mnt" => &mut self.mnt,
            b"net" => &mut self.net,
            b"pid" => &mut self.pid,
            b"pid_for_children" => &mut self.pid_for_children,
            b"time" => &mut self.time,
            b"time_for_children" => &mut self.time_for_children,
            b"user" => &mut self.user,
            b"uts" => &mut self.uts,
            _ => return false,
        };
        let inode = Self::parse_link(link);
        *field = inode.or(*field);
        inode.is_some()
    }

    /// Returns the inode number in the target of such a link, `pid:[4026531836]`.
    #[must_use]
    pub fn parse_link(link: &[u8]) -> Option<u64> {
        let bracket = link.iter().position(|byte| *byte == b'[')?;
        let (kind, inode) = link.split_at_checked(bracket)?;
        kind.strip_suffix(b":")?;
        decimal(inode.strip_prefix(b"[")?.strip_suffix(b"]")?)
    }
}
