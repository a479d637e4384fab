//! The result of one tick of a source.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Serialize};

use crate::events::{ConnectorObstacle, EventMethod};
use crate::text::Escaped;
use crate::time::nanos;
use crate::{Error, Monotonic, Result, Text, Timestamp};

pub use crate::lives::{ControlGroupUsage, Exit, Lives, Reaper};

/// The result of one reading of a source, and how the reading went.
///
/// It is the item of every stream of this crate, because only a whole tick shows which subjects are gone. Iterate it by reference or by
/// value for its samples.
///
/// In the wire form `at` is an integer of nanoseconds since the start of the machine, and `took` and `lag` are integers
/// of nanoseconds.
///
/// ```
/// let snapshot: appmon::Snapshot<u32> = [3, 4].into_iter().collect();
/// assert_eq!((&snapshot).into_iter().sum::<u32>(), 7);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Snapshot<T> {
    /// Which host it is from, where it came from another one; `None` from a source of this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Arc<str>>,
    /// The name of its stream, where it came from a broker and has another name than the kind of its samples: see
    /// `Forwarder::feed`. `None` from a source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<Arc<str>>,
    /// The number of the tick in its stream, from 0. Ticks that were missed or failed have numbers too, so a gap is a
    /// tick without a snapshot.
    pub seq: u64,
    /// Which start of the machine `at` counts from.
    pub boot_id: BootId,
    /// When the reading began, by the wall clock.
    pub time: Timestamp,
    /// When the reading began, by the monotonic clock. Nanoseconds in the wire form.
    pub at: Monotonic,
    /// How long the reading took. Nanoseconds in the wire form.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub took: Duration,
    /// How long after its scheduled time the reading began, on its thread: grows when the consumer, the runtime, or its pool
    /// of blocking threads is busy. Nanoseconds in the wire form.
    #[serde(with = "nanos")]
    #[cfg_attr(feature = "schema", schemars(with = "u64"))]
    pub lag: Duration,
    /// When the list of all subjects was last known to be complete, by the monotonic clock: listed, or counted and found to be as many.
    /// `None` from a source that always knows all. Every subject that existed by then is in `samples`, counted in `skipped`, or not
    /// selected. A subject that only a listing can find may be missing if it came later: for processes see
    /// [`Processes::list_every`](crate::Processes::list_every). Nanoseconds in the wire form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_at: Option<Monotonic>,
    /// The subjects that are missing from `samples`, counted by reason.
    pub skipped: Skipped,
    /// The limits of every reading of this source, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
    /// The processes that lived and ended since the snapshot before, where the source was configured to report them. Combinators keep it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lives: Option<Arc<Lives>>,
    /// The samples of this tick.
    pub samples: Vec<T>,
}

/// The subjects that a reading left out, counted by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Skipped {
    /// Ended between being found and being read. Not a loss: they are not there any more.
    pub vanished: u64,
    /// Could not be read for lack of permission.
    pub denied: u64,
    /// Was read, but could not be parsed.
    pub malformed: u64,
    /// Could not be read for another reason: an I/O error, no file descriptor left.
    pub failed: u64,
    /// Single fields that could not be reached within the tick's budget, read, or understood, while the rest of their
    /// sample is there: the fields of these samples that are [`Reading::Skipped`](crate::Reading::Skipped) or
    /// [`Reading::Failed`](crate::Reading::Failed), in each snapshot that shows them.
    pub fields: u64,
    /// Undecided, because a selection needs fields that were not read within the tick's budget: they are decided about at a later tick. Or
    /// because the snapshot lacks these fields, where a selection is applied to one that was read before
    /// ([`Select::apply`](crate::Select::apply)). They are not in the samples.
    #[serde(default)]
    pub undecided: u64,
    /// Events that the kernel announced and that were lost: there was no room for them, in its buffer or here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Skipped {
    /// Adds the counts of another part of the same reading.
    pub fn add(&mut self, other: Self) {
        self.vanished = self.vanished.saturating_add(other.vanished);
        self.denied = self.denied.saturating_add(other.denied);
        self.malformed = self.malformed.saturating_add(other.malformed);
        self.failed = self.failed.saturating_add(other.failed);
        self.fields = self.fields.saturating_add(other.fields);
        self.undecided = self.undecided.saturating_add(other.undecided);
        self.lost = self.lost.saturating_add(other.lost);
    }
}

/// A permanent limit on the subjects that a source can see.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum Notice {
    /// The mount of /proc hides the processes of other users (`hidepid=1` or `noaccess`: their files; `hidepid=2` or
    /// `invisible`, and `hidepid=4` or `ptraceable`: them altogether), and the thread that reads is not exempt, as far as is
    /// known. Exempt is who is in the group that the mount names, or may trace every process (`CAP_SYS_PTRACE`); in another
    /// user namespace than the first of the machine that right may not hold for all processes, and does not count.
    HidePid {
        /// The value of the mount option; `noaccess` or `invisible`, as it acts, where the mount is in another mount namespace.
        hidepid: String,
    },
    /// The mount of /proc shows processes and nothing else (`subset=pid`).
    SubsetPid,
    /// The CPU clocks of the processes cannot be read: they are in another pid namespace, or under another root. Everything is read at
    /// every tick. The samples are the same.
    NoPulse,
    /// The mount of `/` is not in the mount table of this process, as after a `chroot(2)`: of file systems, only those that
    /// are mounted below its root can be seen.
    NoRootMount,
    /// How the source of events detects them.
    ProcessEvents {
        /// By which method.
        by: EventMethod,
        /// Why not by the process connector.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        no_connector: Option<ConnectorObstacle>,
    },
    /// These snapshots are not recorded at the moment ([`record`](crate::stream)): the disk is full, or gives errors.
    NotRecorded {
        /// The last error.
        error: String,
    },
    /// The snapshots have no [`lives`](Snapshot::lives): totals of groups have the usage of their members as it was seen, the usage of
    /// children that were waited for comes a tick later, and a process that leaves the selection counts as ended.
    NoLives,
    /// Controllers that are bound to hierarchies of control groups of version 1: their numbers are not in the samples of control groups.
    ControllersInVersion1 {
        /// Their names, in alphabetical order.
        controllers: Vec<Text>,
    },
    /// Control groups that the kernel does not report changes of, for want of inotify watches or instances, or of permission. Each tick
    /// compares their number of links and reads their state; a group that replaces another one between two ticks is found by the next
    /// walk.
    UnwatchedControlGroups {
        /// How many.
        count: u64,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HidePid { hidepid } => {
                write!(f, "processes of other users are hidden (hidepid={})", Escaped(hidepid.as_bytes()))
            }
            Self::SubsetPid => f.write_str("only processes are visible in this /proc (subset=pid)"),
            Self::NoPulse => f.write_str("no CPU clocks for this /proc: everything is read at every tick"),
            Self::ProcessEvents { by: EventMethod::Connector, .. } => f.write_str("events by the process connector"),
            Self::ProcessEvents { by: EventMethod::Polling, no_connector } => {
                f.write_str("events by comparing ticks: a process that lives shorter is not seen")?;
                no_connector.map_or(Ok(()), |obstacle| write!(f, " (no process connector: {obstacle})"))
            }
            Self::NoLives => {
                f.write_str("totals of groups lack processes that lived between two ticks only: see `Processes::lives`")
            }
            Self::ControllersInVersion1 { controllers } => {
                f.write_str("control groups lack the controllers that are used in version 1:")?;
                controllers.iter().try_for_each(|name| write!(f, " {name}"))
            }
            Self::UnwatchedControlGroups { count } => {
                write!(f, "no inotify watches for {count} control groups: they are compared at each tick")
            }
            Self::NotRecorded { error } => write!(f, "not recorded: {}", Escaped(error.as_bytes())),
            Self::NoRootMount => f.write_str("only mounts below the root of this process are visible (chroot)"),
        }
    }
}

/// The kernel's random id of this start of the machine: `/proc/sys/kernel/random/boot_id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(u128);

impl BootId {
    /// Returns the id of the running machine; nil where it cannot be read.
    #[must_use]
    pub fn current() -> Self {
        // It does not change, and is read at every tick.
        static CURRENT: OnceLock<BootId> = OnceLock::new();
        if let Some(current) = CURRENT.get() {
            return *current;
        }
        let read = std::fs::read("/proc/sys/kernel/random/boot_id").ok().and_then(|text| Self::parse(&text));
        read.map_or_else(Self::default, |read| *CURRENT.get_or_init(|| read))
    }

    /// The id written as a UUID; `None` for anything else.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut id = 0_u128;
        let mut digits = 0_u32;
        for byte in text.trim_ascii() {
            let Some(digit) = (*byte as char).to_digit(16) else {
                if *byte == b'-' {
                    continue;
                }
                return None;
            };
            id = (id << 4) | u128::from(digit);
            digits = digits.saturating_add(1);
        }
        (digits == 32).then_some(Self(id))
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.0;
        write!(
            f,
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            id >> 96,
            (id >> 80) & 0xffff,
            (id >> 64) & 0xffff,
            (id >> 48) & 0xffff,
            id & 0xffff_ffff_ffff
        )
    }
}

/// A UUID, as [`Display`](fmt::Display) shows it; white space around it and hyphens elsewhere do not matter.
impl FromStr for BootId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text.as_bytes()).ok_or_else(|| Error::config(format!("not a boot id: {text:?}; it is a UUID")))
    }
}

impl Serialize for BootId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BootId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for BootId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BootId".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "uuid" })
    }
}

impl<T> Snapshot<T> {
    /// Returns the number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Returns an iterator over the samples.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.samples.iter()
    }

    /// Returns whether it has no samples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// Starts a reading of this machine: drops the samples and counts of the last one, keeping their memory, and stamps the snapshot with
    /// the time and the machine's [`BootId`]. `seq` and `lag` are left as they are.
    pub(crate) fn begin(&mut self) {
        self.host = None;
        self.stream = None;
        self.boot_id = BootId::current();
        self.time = Timestamp::now();
        self.at = Monotonic::now();
        self.took = Duration::ZERO;
        self.complete_at = None;
        self.skipped = Skipped::default();
        self.notices.clear();
        self.lives = None;
        self.samples.clear();
    }

    /// Ends a reading: records how long it took.
    pub(crate) fn end(&mut self) {
        self.took = Monotonic::now().since(self.at).unwrap_or_default();
    }

    /// Returns the same snapshot with other samples: the output of a combinator.
    pub fn with_samples<U>(self, convert: impl FnOnce(Vec<T>) -> Vec<U>) -> Snapshot<U> {
        let mut snapshot = self.head();
        snapshot.samples = convert(self.samples);
        snapshot
    }

    /// A copy of all but the samples.
    pub(crate) fn head<U>(&self) -> Snapshot<U> {
        Snapshot {
            host: self.host.clone(),
            stream: self.stream.clone(),
            seq: self.seq,
            boot_id: self.boot_id,
            time: self.time,
            at: self.at,
            took: self.took,
            lag: self.lag,
            complete_at: self.complete_at,
            skipped: self.skipped,
            notices: self.notices.clone(),
            lives: self.lives.clone(),
            samples: Vec::new(),
        }
    }
}

impl<T> Default for Snapshot<T> {
    fn default() -> Self {
        Self {
            host: None,
            stream: None,
            seq: 0,
            boot_id: BootId::default(),
            time: Timestamp::default(),
            at: Monotonic::default(),
            took: Duration::ZERO,
            lag: Duration::ZERO,
            complete_at: None,
            skipped: Skipped::default(),
            notices: Vec::new(),
            lives: None,
            samples: Vec::new(),
        }
    }
}

impl<T> FromIterator<T> for Snapshot<T> {
    fn from_iter<I: IntoIterator<Item = T>>(samples: I) -> Self {
        Self { samples: samples.into_iter().collect(), ..Self::default() }
    }
}

impl<T> IntoIterator for Snapshot<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.samples.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Snapshot<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.samples.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_begins_with_nothing_of_the_last_one() {
        let mut snapshot: Snapshot<u32> = [3, 4].into_iter().collect();
        assert_eq!((snapshot.len(), snapshot.is_empty()), (2, false));
        (snapshot.host, snapshot.took) = (Some("elsewhere".into()), Duration::from_secs(7));
        snapshot.notices.push(Notice::NoPulse);
        snapshot.skipped.denied = 1;
        snapshot.begin();
        assert_eq!((snapshot.len(), snapshot.is_empty()), (0, true));
        assert_eq!((&snapshot.host, snapshot.took), (&None, Duration::ZERO));
        assert_eq!((snapshot.notices.len(), snapshot.skipped), (0, Skipped::default()));
        assert_eq!(snapshot.boot_id, BootId::current());
        assert!(snapshot.at > Monotonic::default() && snapshot.time > Timestamp::default());
    }

    #[test]
    fn boot_id_is_a_uuid_both_ways() {
        let text = "0d1c7a1e-9f2b-4c3d-8e4f-0123456789ab";
        assert_eq!(BootId::parse(format!("{text}\n").as_bytes()).unwrap().to_string(), text);
        assert_eq!(text.parse::<BootId>().unwrap().to_string(), text);
        let error = "not a uuid".parse::<BootId>().unwrap_err();
        assert!(error.is_config());
        assert_eq!(error.to_string(), "not a boot id: \"not a uuid\"; it is a UUID");
        assert_ne!(BootId::current(), BootId::default());
    }
}
