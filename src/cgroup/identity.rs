//! Whose a control group is, by the form of its path.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Text;

/// Whose a control group is: the systemd unit, the container and the pod that its path names.
///
/// Only the exact forms count that service managers, container runtimes and Kubernetes give their control groups. Anything
/// else names nothing, however much a part of it looks like an id.
///
/// The path is as `/proc/PID/cgroup` has it, in any hierarchy. The mark ` (deleted)` and the `/..` of a group outside of the
/// reader's cgroup namespace are passed over. A process in a cgroup namespace of its own sees itself at `/`, which names
/// nothing: containers are recognised from outside.
///
/// ```
/// use appmon::cgroup::{Identity, Runtime};
///
/// let id = "4f".repeat(32);
/// let identity = Identity::of(format!("/system.slice/docker-{id}.scope").as_bytes());
/// let container = identity.container.unwrap();
/// assert_eq!((container.runtime, container.id.to_str()), (Some(Runtime::Docker), Some(id.as_str())));
///
/// let identity = Identity::of(b"/user.slice/user-1000.slice/session-2.scope");
/// assert_eq!((identity.unit.unwrap(), identity.container), ("session-2.scope".into(), None));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Identity {
    /// The slice of systemd that the unit is in, the innermost one: `system.slice`, `user-1000.slice`.
    pub slice: Option<Text>,
    /// The unit of the system's systemd: the first component after the slices, where it is a unit.
    pub unit: Option<Text>,
    /// The unit of a user's systemd: the same below `user@UID.service`.
    pub user_unit: Option<Text>,
    /// The innermost container.
    pub container: Option<Container>,
}

/// A container, as the path of its control group names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Container {
    /// What runs it; `None` where the path has an id and not whose it is, as where Kubernetes names control groups without
    /// systemd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// The id, all of it: 64 hexadecimal digits; for LXC the name of the container, for ECS on Fargate the id of the task, a
    /// hyphen and a number.
    pub id: Text,
    /// The uid of its Kubernetes pod, with hyphens: a UUID, or 32 hexadecimal digits for a static pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<Text>,
}

/// What runs a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Runtime {
    /// Docker Engine.
    #[serde(rename = "docker")]
    Docker,
    /// containerd, by its plugin for Kubernetes.
    #[serde(rename = "containerd")]
    Containerd,
    /// CRI-O.
    #[serde(rename = "cri-o")]
    CriO,
    /// Podman.
    #[serde(rename = "podman")]
    Podman,
    /// nerdctl, over containerd.
    #[serde(rename = "nerdctl")]
    Nerdctl,
    /// LXC, and Incus, LXD and Proxmox, which use it.
    #[serde(rename = "lxc")]
    Lxc,
    /// Amazon ECS.
    #[serde(rename = "ecs")]
    Ecs,
}

impl Identity {
    /// Reads the path of a control group.
    #[must_use]
    pub fn of(path: &[u8]) -> Self {
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        let parts: Vec<&[u8]> =
            path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b"..").collect();
        let Units { slice, unit, below } = units(&parts);
        let user_unit = if unit.is_some_and(is_user_manager) { units(below).unit } else { None };
        Self {
            slice: slice.map(|slice| without_escape(slice).into()),
            unit: unit.map(|unit| without_escape(unit).into()),
            user_unit: user_unit.map(|unit| without_escape(unit).into()),
            container: Container::in_path(&parts),
        }
    }
}

impl Container {
    /// The innermost one of a path.
    fn in_path(parts: &[&[u8]]) -> Option<Self> {
        (0..parts.len()).rev().find_map(|at| {
            let (above, rest) = parts.split_at_checked(at)?;
            let (part, _) = rest.split_first()?;
            let (runtime, id) = container(above, part)?;
            Some(Self { runtime, id: id.into(), pod_uid: pod_uid(above, part) })
        })
    }
}

impl Runtime {
    /// Its name, as in the wire form and in OpenTelemetry's `container.runtime`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Podman => "podman",
            Self::Nerdctl => "nerdctl",
            Self::Lxc => "lxc",
            Self::Ecs => "ecs",
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// As Kubernetes writes it: `docker://ID`; the id alone where the runtime is not known.
impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(runtime) = self.runtime {
            write!(f, "{runtime}://")?;
        }
        self.id.fmt(f)
    }
}

/// systemd puts a `_` before a name that means something to the kernel.
fn without_escape(part: &[u8]) -> &[u8] {
    part.strip_prefix(b"_").unwrap_or(part)
}

/// What systemd made of a path.
struct Units<'a, 'b> {
    /// The innermost of the slices it begins with.
    slice: Option<&'a [u8]>,
    /// What comes after them, if it is a unit, and what is below that.
    unit: Option<&'a [u8]>,
    below: &'b [&'a [u8]],
}

/// As `sd_pid_get_slice(3)` and `sd_pid_get_unit(3)` have them.
fn units<'a, 'b>(parts: &'b [&'a [u8]]) -> Units<'a, 'b> {
    let slices = parts.iter().take_while(|part| is_named(part, b".slice")).count();
    let (slices, rest) = parts.split_at_checked(slices).unwrap_or((parts, &[]));
    let (unit, below) = match rest.split_first() {
        Some((unit, below)) if is_unit(unit) => (Some(*unit), below),
        _ => (None, &[][..]),
    };
    Units { slice: slices.last().copied(), unit, below }
}

/// The units beside slices that have a control group.
fn is_unit(part: &[u8]) -> bool {
    const SUFFIXES: [&[u8]; 5] = [b".service", b".scope", b".socket", b".mount", b".swap"];
    SUFFIXES.iter().any(|suffix| is_named(part, suffix))
}

fn is_named(part: &[u8], suffix: &[u8]) -> bool {
    // A colon is in no name of a unit: it is how a runtime writes a slice, a prefix and an id where there is no systemd.
    part.strip_suffix(suffix).is_some_and(|name| !name.is_empty() && !name.contains(&b':'))
}

fn is_user_manager(unit: &[u8]) -> bool {
    let uid = unit.strip_prefix(b"user@").and_then(|rest| rest.strip_suffix(b".service"));
    uid.is_some_and(|uid| !uid.is_empty() && uid.iter().all(u8::is_ascii_digit))
}

/// The container that a component is of, where the components `above` it are such that it is one.
fn container<'a>(above: &[&'a [u8]], part: &'a [u8]) -> Option<(Option<Runtime>, &'a [u8])> {
    if let Some(found) = with_prefix(part).or_else(|| with_colons(part)) {
        return Some(found);
    }
    if let Some(name) = part.strip_prefix(b"lxc.payload.").filter(|name| !name.is_empty()) {
        return Some((Some(Runtime::Lxc), name));
    }
    let parent = above.last()?;
    match *parent {
        b"docker" if is_id(part) => Some((Some(Runtime::Docker), part)),
        // LXC before version 4.
        b"lxc" | b"lxc.payload" if above.len() == 1 => Some((Some(Runtime::Lxc), part)),
        b"ecs" if is_id_of_fargate(part) => Some((Some(Runtime::Ecs), part)),
        // On EC2 the cluster may be before the task.
        _ if above.iter().rev().skip(1).take(2).any(|part| *part == b"ecs") && is_task(parent) => {
            (is_id(part) || is_id_of_fargate(part)).then_some((Some(Runtime::Ecs), part))
        }
        _ if is_id(part) && pod_of(parent).is_some() => Some((None, part)),
        _ => None,
    }
}

/// `docker-ID.scope` and its like; without the suffix where no systemd is asked.
fn with_prefix(part: &[u8]) -> Option<(Option<Runtime>, &[u8])> {
    const PREFIXES: [(&[u8], Runtime); 6] = [
        (b"docker-", Runtime::Docker),
        (b"cri-containerd-", Runtime::Containerd),
        (b"crio-", Runtime::CriO),
        (b"libpod-payload-", Runtime::Podman),
        (b"libpod-", Runtime::Podman),
        (b"nerdctl-", Runtime::Nerdctl),
    ];
    let name = part.strip_suffix(b".scope").unwrap_or(part);
    PREFIXES.iter().find_map(|(prefix, runtime)| {
        // All of what is left: `crio-conmon-ID` is what watches over a container.
        let id = name.strip_prefix(*prefix).filter(|id| is_id(id))?;
        Some((Some(*runtime), id))
    })
}

/// `SLICE:PREFIX:ID`: what systemd would make a scope of, where the runtime does not ask it.
fn with_colons(part: &[u8]) -> Option<(Option<Runtime>, &[u8])> {
    let mut fields = part.split(|byte| *byte == b':');
    let (slice, prefix, id) = (fields.next()?, fields.next()?, fields.next()?);
    let runtime = match prefix {
        b"docker" => Runtime::Docker,
        b"cri-containerd" => Runtime::Containerd,
        b"crio" => Runtime::CriO,
        b"libpod" => Runtime::Podman,
        b"nerdctl" => Runtime::Nerdctl,
        _ => return None,
    };
    (fields.next().is_none() && is_named(slice, b".slice") && is_id(id)).then_some((Some(runtime), id))
}

/// The uid of the pod that a container is in: the innermost one.
fn pod_uid(above: &[&[u8]], part: &[u8]) -> Option<Text> {
    let slice = part.split(|byte| *byte == b':').next().filter(|slice| slice.len() < part.len());
    slice.and_then(pod_of).or_else(|| above.iter().rev().find_map(|part| pod_of(part)))
}

/// The pod whose control group a component is: `podUID`, or `kubepods-burstable-podUID.slice`, also below slices of others.
/// systemd takes a hyphen for a slice in a slice, so those of the uid are underscores then.
fn pod_of(part: &[u8]) -> Option<Text> {
    if let Some(uid) = part.strip_prefix(b"pod") {
        return is_pod_uid(uid).then(|| uid.into());
    }
    const POD: &[u8] = b"-pod";
    let name = part.strip_suffix(b".slice")?;
    let at = name.windows(POD.len()).rposition(|window| window == POD)?;
    let (slices, uid) = name.split_at_checked(at)?;
    let mut uid = uid.strip_prefix(POD)?.to_vec();
    uid.iter_mut().filter(|byte| **byte == b'_').for_each(|byte| *byte = b'-');
    let of_kubernetes = slices.split(|byte| *byte == b'-').any(|slice| slice == b"kubepods");
    (of_kubernetes && is_pod_uid(&uid)).then(|| uid.into())
}

fn is_pod_uid(uid: &[u8]) -> bool {
    is_uuid(uid) || is_hex(uid, 32)
}

fn is_id(id: &[u8]) -> bool {
    is_hex(id, 64)
}

/// The id of a task of ECS.
fn is_task(part: &[u8]) -> bool {
    is_uuid(part) || is_hex(part, 32)
}

/// The id of a container on Fargate: that of the task, and a number.
fn is_id_of_fargate(part: &[u8]) -> bool {
    let Some((task, number)) = part.split_at_checked(32) else { return false };
    let digits = number.strip_prefix(b"-").unwrap_or_default();
    is_hex(task, 32) && !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

fn is_uuid(text: &[u8]) -> bool {
    let mut groups = text.split(|byte| *byte == b'-');
    [8, 4, 4, 4, 12].into_iter().all(|digits| groups.next().is_some_and(|group| is_hex(group, digits)))
        && groups.next().is_none()
}

fn is_hex(text: &[u8], digits: usize) -> bool {
    text.len() == digits && text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
