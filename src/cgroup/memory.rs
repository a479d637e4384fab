//! The memory of a control group.

use serde::{Deserialize, Serialize};

use super::keyed::numbers;
use crate::Reading;

/// The memory that is charged to a control group and those below it. Each page counts once, for the group that touched it first: so the sum
/// over groups is right where that over processes counts shared pages again and again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ControlGroupMemory {
    /// All of it, the page cache included (`memory.current`).
    pub current_bytes: u64,
    /// The most of it since the group was made, or since somebody reset it (`memory.peak`, since Linux 5.19).
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub peak_bytes: Reading<u64>,
    /// In swap (`memory.swap.current`). `Unsupported` where the kernel does not account swap.
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub swap_bytes: Reading<u64>,
    /// How often limits were met (`memory.events`).
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub events: Reading<MemoryEvents>,
    /// Its parts (`memory.stat`).
    #[serde(default, skip_serializing_if = "Reading::is_not_requested")]
    pub stat: Reading<MemoryStat>,
}

impl ControlGroupMemory {
    /// Returns the memory that cannot be had back easily, as Kubernetes counts it: all but the page cache that was not used lately
    /// (`inactive_file`). `None` where `memory.stat` was not read.
    #[must_use]
    pub fn working_set_bytes(&self) -> Option<u64> {
        let inactive = self.stat.value()?.inactive_file_bytes?;
        Some(self.current_bytes.saturating_sub(inactive))
    }
}

/// How often the limits of a control group, and those of the groups below it, were met: totals, from `memory.events`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemoryEvents {
    /// It was reclaimed from though it was below `memory.low`.
    pub low: u64,
    /// It went above `memory.high`, and was throttled and reclaimed from.
    pub high: u64,
    /// It was about to go above `memory.max`.
    pub max: u64,
    /// It was at its limit and allocation was about to fail.
    pub oom: u64,
    /// Processes killed by the OOM killer, that of the whole machine included.
    pub oom_kill: u64,
    /// Times that all of the group was killed (`memory.oom.group`). Since Linux 5.17.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_group_kill: Option<u64>,
}

impl MemoryEvents {
    /// Reads `memory.events` or `memory.events.local`; `None` where it is not such a file.
    pub(super) fn parse(file: &[u8]) -> Option<Self> {
        let (mut events, mut oom_kill) = (Self::default(), None);
        for (name, number) in numbers(file) {
            match name {
                b"low" => events.low = number,
                b"high" => events.high = number,
                b"max" => events.max = number,
                b"oom" => events.oom = number,
                b"oom_kill" => oom_kill = Some(number),
                b"oom_group_kill" => events.oom_group_kill = Some(number),
                _ => {}
            }
        }
        Some(Self { oom_kill: oom_kill?, ..events })
    }
}

/// The parts of a control group's memory that are asked for most, in bytes, and its page faults: from `memory.stat`. A line that the kernel
/// does not have is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemoryStat {
    /// Anonymous memory, such as heaps and stacks (`anon`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anon_bytes: Option<u64>,
    /// The page cache, `tmpfs` and shared memory included (`file`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_bytes: Option<u64>,
    /// All memory of the kernel's own (`kernel`, since Linux 5.18).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_bytes: Option<u64>,
    /// Slabs, those that can be reclaimed and those that cannot (`slab`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slab_bytes: Option<u64>,
    /// Buffers of sockets (`sock`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sock_bytes: Option<u64>,
    /// `tmpfs` and shared memory (`shmem`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shmem_bytes: Option<u64>,
    /// Page cache that waits to be written (`file_dirty`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_dirty_bytes: Option<u64>,
    /// Page cache that is being written (`file_writeback`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_writeback_bytes: Option<u64>,
    /// Page cache that was used lately (`active_file`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_file_bytes: Option<u64>,
    /// Page cache that was not used lately (`inactive_file`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inactive_file_bytes: Option<u64>,
    /// Memory that cannot be reclaimed (`unevictable`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unevictable_bytes: Option<u64>,
    /// Page faults (`pgfault`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faults: Option<u64>,
    /// Page faults that loaded a page from disk (`pgmajfault`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major_faults: Option<u64>,
    /// Pages that were reclaimed and needed again soon after: of anonymous memory and of files together (`workingset_refault_anon` and
    /// `workingset_refault_file`, since Linux 5.9; `workingset_refault` before).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refaults: Option<u64>,
}

impl MemoryStat {
    /// Reads the file; `None` where it has none of the lines.
    pub(super) fn parse(file: &[u8]) -> Option<Self> {
        let mut stat = Self::default();
        for (name, number) in numbers(file) {
            let line = match name {
                b"anon" => &mut stat.anon_bytes,
                b"file" => &mut stat.file_bytes,
                b"kernel" => &mut stat.kernel_bytes,
                b"slab" => &mut stat.slab_bytes,
                b"sock" => &mut stat.sock_bytes,
                b"shmem" => &mut stat.shmem_bytes,
                b"file_dirty" => &mut stat.file_dirty_bytes,
                b"file_writeback" => &mut stat.file_writeback_bytes,
                b"active_file" => &mut stat.active_file_bytes,
                b"inactive_file" => &mut stat.inactive_file_bytes,
                b"unevictable" => &mut stat.unevictable_bytes,
                b"pgfault" => &mut stat.faults,
                b"pgmajfault" => &mut stat.major_faults,
                b"workingset_refault" | b"workingset_refault_anon" | b"workingset_refault_file" => {
                    stat.refaults = Some(stat.refaults.unwrap_or(0).saturating_add(number));
                    continue;
                }
                _ => continue,
            };
            *line = Some(number);
        }
        (stat != Self::default()).then_some(stat)
    }
}
